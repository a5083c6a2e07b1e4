"""The dressed actor: complete, closed to view, outside its body, and repeatable."""

from typing import Any

import numpy as np
import open3d
import pytest
import torch

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.capture.actor import ClothedActor
from human_avatars.capture.textures import Material, OutfitName
from human_avatars.capture.wardrobe import dress

RANDOM_POSE = np.random.default_rng(5).normal(scale=0.3, size=(24, 3))


@pytest.fixture(scope="module")
def actor(open_body: BodyModel) -> ClothedActor:
    return dress(open_body.with_shape(torch.zeros(open_body.num_betas)), "stripes", wrinkles=1.0, seed=0)


def identity_bones(num_joints: int) -> np.ndarray:
    return np.tile(np.eye(4, dtype=np.float32), (num_joints, 1, 1))


def test_every_piece_is_there(actor: ClothedActor) -> None:
    assert set(actor.face_materials) == {int(material) for material in Material}
    assert actor.faces.max() == len(actor.surface.rest_points) - 1
    np.testing.assert_allclose(np.asarray(actor.surface.weights.sum(1)), 1, atol=1e-5)


def test_zero_pose_returns_the_rest_actor(actor: ClothedActor) -> None:
    posed = actor.posed_vertices(np.zeros((24, 3)), identity_bones(24))
    np.testing.assert_allclose(posed, actor.surface.rest_points, atol=1e-6)


def test_without_wrinkles_the_cloth_is_the_smooth_garment(open_body: BodyModel, actor: ClothedActor) -> None:
    smooth = dress(open_body.with_shape(torch.zeros(open_body.num_betas)), "stripes", wrinkles=0.0, seed=0)
    bones = identity_bones(24)
    np.testing.assert_allclose(smooth.posed_vertices(RANDOM_POSE, bones), smooth.surface.posed(bones), atol=1e-6)
    np.testing.assert_array_equal(smooth.surface.rest_points, actor.surface.rest_points)
    folds = np.linalg.norm(actor.posed_vertices(RANDOM_POSE, bones) - actor.surface.rest_points, axis=1)
    assert 0.002 < folds.max() < 0.03


@pytest.mark.parametrize("material", [Material.SHIRT, Material.TROUSERS, Material.SHOES])
def test_clothes_lie_outside_the_body(open_body: BodyModel, actor: ClothedActor, material: Material) -> None:
    tensor: Any = open3d.core.Tensor
    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(tensor(open_body.rest_template.numpy()), tensor(open_body.faces.numpy().astype(np.uint32)))
    worn = np.unique(actor.faces[actor.face_materials == material])
    distance = scene.compute_signed_distance(tensor(actor.surface.rest_points[worn])).numpy()
    assert np.quantile(distance, 0.02) > -0.002, "cloth must not sink into the body"
    assert 0.004 < np.median(distance) < 0.03
    assert distance.max() < 0.06


@pytest.mark.parametrize("shape", [(2.0, 0.0), (-2.0, 1.5)])
def test_other_bodies_can_be_dressed(open_body: BodyModel, shape: tuple[float, float]) -> None:
    betas = torch.zeros(open_body.num_betas)
    betas[:2] = torch.tensor(shape)
    worn = dress(open_body.with_shape(betas), "checks", wrinkles=1.0, seed=0)
    assert np.isfinite(worn.surface.rest_points).all()
    assert set(worn.face_materials) == {int(material) for material in Material}


@pytest.mark.parametrize("outfit", ["stripes", "checks"])
def test_the_seed_only_changes_the_mottling(open_body: BodyModel, outfit: OutfitName) -> None:
    shaped = open_body.with_shape(torch.zeros(open_body.num_betas))
    first, again, other = (dress(shaped, outfit, wrinkles=1.0, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.texture_points, again.texture_points)
    np.testing.assert_array_equal(first.texture_points[:, :4], other.texture_points[:, :4])
    assert (first.texture_points[:, 4] != other.texture_points[:, 4]).any()
    np.testing.assert_allclose(first.texture_points[:, 4].mean(), 1, atol=0.05)
    np.testing.assert_array_equal(first.surface.rest_points, other.surface.rest_points)
