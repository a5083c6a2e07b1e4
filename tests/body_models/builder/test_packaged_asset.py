"""Laws of the packaged open body and its surface maps, as `human-avatars build-body` makes them."""

import numpy as np
import pytest
import torch
from jaxtyping import Float
from numpy import ndarray

from human_avatars.body_models.builder.body_files import OpenBody
from human_avatars.body_models.builder.build import NUM_FACES, PELVIS
from human_avatars.body_models.builder.compare import joints
from human_avatars.body_models.builder.landmarks import LANDMARK_VERTICES
from human_avatars.body_models.builder.shape_space import MAX_INFLUENCES, NUM_BETAS
from human_avatars.body_models.builder.smpl_skeleton import JOINTS, PARENTS
from human_avatars.body_models.mesh_queries import Mesh
from human_avatars.body_models.surface_map import PACKAGED_SIZES, SurfaceMap

NAMES = [name for name, _, _ in JOINTS]


@pytest.fixture(scope="module")
def template(packaged: OpenBody) -> Mesh:
    return Mesh(packaged.arrays["v_template"].astype(np.float64), packaged.arrays["f"].astype(np.int64))


def test_the_surface_is_closed_and_of_smpls_size(template: Mesh) -> None:
    assert len(template.faces) == NUM_FACES
    directed = np.concatenate([template.faces[:, [0, 1]], template.faces[:, [1, 2]], template.faces[:, [2, 0]]])
    # Every edge is walked once in each direction: by exactly two triangles, wound alike.
    assert len(np.unique(directed, axis=0)) == len(directed)
    _, counts = np.unique(np.sort(directed, axis=1), axis=0, return_counts=True)
    assert (counts == 2).all()
    assert len(template.vertices) - len(counts) + len(template.faces) == 2
    np.testing.assert_array_equal(np.unique(template.faces), np.arange(len(template.vertices)))


def test_triangles_face_outwards(template: Mesh) -> None:
    corners = template.vertices[template.faces]
    volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    # An adult's volume, in cubic metres.
    assert 0.05 < volume < 0.12


def test_the_body_stands_upright_with_its_arms_out(template: Mesh) -> None:
    width, height, depth = np.ptp(template.vertices, axis=0)
    assert 1.5 < height < 1.9
    assert 0.9 < width / height < 1.1
    assert depth < 0.5
    top, bottom = template.vertices[:, 1].argmax(), template.vertices[:, 1].argmin()
    assert abs(template.vertices[top, 0]) < 0.05
    assert abs(template.vertices[bottom, 0]) > 0.05


def test_weights_sum_to_one_over_few_joints(packaged: OpenBody) -> None:
    weights = packaged.arrays["weights"].astype(np.float64)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=MAX_INFLUENCES * float(np.finfo(np.float16).eps) / 2)
    assert (weights > 0).sum(axis=1).max() <= MAX_INFLUENCES
    # The collar bones share the shoulder with the chest and the arm.
    assert (weights.max(axis=0) > 0.4).all()


def test_the_skeleton_is_smpls(packaged: OpenBody) -> None:
    parents, numbers = packaged.arrays["kintree"]
    assert parents.astype(np.int32).tolist() == list(PARENTS)
    np.testing.assert_array_equal(numbers, np.arange(len(JOINTS)))


def test_joints_are_convex_combinations_of_vertices(packaged: OpenBody) -> None:
    rows, values = packaged.arrays["J_regressor_nz"][0], packaged.arrays["J_regressor_val"]
    assert (values > 0).all()
    np.testing.assert_allclose(np.bincount(rows, values, minlength=len(JOINTS)), 1, atol=1e-5)


def test_left_joints_lie_on_the_left_and_mirror_the_right_ones(packaged: OpenBody) -> None:
    positions = joints(packaged)
    np.testing.assert_allclose(positions[0], PELVIS, atol=0.01)
    for joint, name in enumerate(NAMES):
        if name.startswith("left_"):
            mirrored = positions[NAMES.index(name.replace("left", "right"))] * [-1, 1, 1]
            assert positions[joint, 0] > 0.01
            np.testing.assert_allclose(positions[joint], mirrored, atol=0.01)


def test_joints_lie_in_their_order_of_height(packaged: OpenBody) -> None:
    heights = dict(zip(NAMES, joints(packaged)[:, 1], strict=True))
    spine = ["left_foot", "left_ankle", "left_knee", "left_hip", "spine1", "spine2", "spine3", "neck", "head"]
    assert sorted(spine, key=lambda name: heights[name]) == spine
    assert abs(heights["left_shoulder"] - heights["left_wrist"]) < 0.05


def test_landmarks_are_where_smpls_numbers_say(packaged: OpenBody, template: Mesh) -> None:
    assert {name: int(vertex) for name, vertex in packaged.arrays["landmarks"]} == LANDMARK_VERTICES
    place = {name: template.vertices[vertex] for name, vertex in LANDMARK_VERTICES.items()}
    positions = dict(zip(NAMES, joints(packaged), strict=True))
    assert place["nose"][2] > place["leye"][2] > place["lear"][2]
    assert place["lear"][0] > place["leye"][0] > 0 > place["reye"][0] > place["rear"][0]
    for finger in ("thumb", "index", "middle", "ring", "pinky"):
        assert np.linalg.norm(place["l" + finger] - positions["left_hand"]) < 0.15
        assert np.linalg.norm(place["r" + finger] - positions["right_hand"]) < 0.15
    assert place["lindex"][2] > place["lpinky"][2]
    assert place["LBigToe"][2] > positions["left_ankle"][2] > place["LHeel"][2]
    assert 0 < place["LBigToe"][0] < place["LSmallToe"][0]


def test_shapes_are_ordered_and_the_first_is_height(packaged: OpenBody, template: Mesh) -> None:
    directions = packaged.arrays["shapedirs"].astype(np.float64)
    assert directions.shape == (len(template.vertices), 3, NUM_BETAS)
    norms = np.linalg.norm(directions.reshape(-1, NUM_BETAS), axis=0)
    assert (np.diff(norms) < 0).all()
    gram = directions.reshape(-1, NUM_BETAS) / norms
    np.testing.assert_allclose(gram.T @ gram, np.eye(NUM_BETAS), atol=2e-3)
    top, bottom = template.vertices[:, 1].argmax(), template.vertices[:, 1].argmin()
    growth = directions[top, 1, 0] - directions[bottom, 1, 0]
    assert 0.03 < growth < 0.2


def position_image(surface_map: SurfaceMap, template: Mesh) -> Float[ndarray, "size size 3"]:
    """Where the texels lie; not a number beside the body."""
    image = np.full((surface_map.size, surface_map.size, 3), np.nan)
    image[surface_map.mask.numpy()] = surface_map.points().interpolate(torch.from_numpy(template.vertices))
    return image


@pytest.mark.parametrize("size", PACKAGED_SIZES)
def test_surface_maps_lie_on_the_body(packaged: OpenBody, template: Mesh, size: int) -> None:
    surface_map = packaged.surface_maps[size]
    assert surface_map.mask.shape == (size, size)
    assert 0.5 < surface_map.mask.double().mean() < 0.8
    assert len(surface_map.triangles) == len(surface_map.barycentric) == surface_map.mask.sum()
    assert surface_map.triangles.max() < len(template.faces)
    np.testing.assert_array_equal(surface_map.corners, template.faces[surface_map.triangles])


@pytest.mark.parametrize("size", PACKAGED_SIZES)
def test_neighbouring_texels_are_neighbours_on_the_body(packaged: OpenBody, template: Mesh, size: int) -> None:
    surface_map = packaged.surface_maps[size]
    image = position_image(surface_map, template)
    steps = np.linalg.norm(np.diff(image, axis=1), axis=-1)
    steps = steps[np.isfinite(steps)]
    # The texture's side spans some two metres of body; only texels across a seam lie far apart.
    assert np.median(steps) < 3.0 / size
    assert (steps > 15.0 / size).mean() < 0.02


def test_surface_maps_of_all_sizes_show_the_same_places(packaged: OpenBody, template: Mesh) -> None:
    small, large = (packaged.surface_maps[size] for size in (128, 256))
    images = [position_image(surface_map, template) for surface_map in (small, large)]
    # Each texel of the small map is the corner shared by four of the large one.
    blocks = images[1].reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))
    distances = np.linalg.norm(images[0] - blocks, axis=-1)
    distances = distances[np.isfinite(distances)]
    assert np.median(distances) < 1e-3
    assert np.quantile(distances, 0.95) < 5e-3
