"""Laws of surface maps: gathering and scattering, their files, and maps of other sizes."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel, map_tensors
from human_avatars.body_models.surface_map import PACKAGED_SIZES, SurfaceMap, load_packaged_surface_map

FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])


def small_map() -> SurfaceMap:
    """Three texels of a square of two triangles."""
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[0, 2] = mask[1, 0] = mask[3, 3] = True
    triangles = torch.tensor([1, 0, 1])
    barycentric = torch.tensor([[1.0, 0, 0], [0.2, 0.2, 0.6], [0, 0.4, 0.6]])
    return SurfaceMap(mask, triangles, barycentric, FACES[triangles])


@pytest.fixture(scope="module", params=[*PACKAGED_SIZES, 32, 64, 100])
def packaged_map(request: pytest.FixtureRequest, open_body: BodyModel) -> SurfaceMap:
    return load_packaged_surface_map(request.param, open_body.faces)


def position_image(surface_map: SurfaceMap, vertices: Tensor) -> Tensor:
    """Where the texels lie, (size size 3); not a number beside the body."""
    image = surface_map.scatter(surface_map.points().interpolate(vertices)).permute(1, 2, 0)
    return torch.where(surface_map.mask[..., None], image, torch.nan)


def test_a_map_by_hand() -> None:
    surface_map = small_map()
    vertices = torch.tensor([[0.0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0]])
    image = surface_map.scatter(surface_map.points().interpolate(vertices))
    assert image.shape == (3, 4, 4)
    assert_close(image[:, 0, 2], vertices[0])
    assert_close(image[:, 1, 0], torch.tensor([8.0, 6, 0]))
    assert_close(image[:, 3, 3], torch.tensor([4.0, 10, 0]))
    assert image[:, ~surface_map.mask].abs().sum() == 0
    assert_close(surface_map.uvs, torch.tensor([[0, 2], [1, 0], [3, 3]]) / 3)


def test_reading_a_scattered_image_gives_the_values_back() -> None:
    surface_map = small_map()
    values = torch.arange(6.0).reshape(3, 2).requires_grad_()
    image = surface_map.scatter(values)
    assert_close(image[:, surface_map.mask].t(), values)
    image.square().sum().backward()
    assert_close(values.grad, 2 * values.detach())


def test_the_stored_arrays_give_the_map_back() -> None:
    surface_map = small_map()
    arrays = surface_map.arrays()
    assert arrays["mask"].nbytes == 2
    assert arrays["tri"].dtype == np.uint16
    restored = SurfaceMap.from_arrays(arrays, FACES)
    assert_close(restored.mask, surface_map.mask)
    assert_close(restored.triangles, surface_map.triangles)
    assert_close(restored.corners, surface_map.corners)
    # Steps of 1/255; multiples of 1/5 are whole steps.
    assert_close(restored.barycentric, surface_map.barycentric)


@pytest.mark.parametrize("size", [4, 5, 6, 7, 9, 33])
def test_masks_of_any_size_come_back(size: int) -> None:
    mask = torch.rand(size, size, generator=torch.Generator().manual_seed(size)) > 0.5
    triangles = torch.zeros(int(mask.sum()), dtype=torch.int64)
    surface_map = SurfaceMap(mask, triangles, torch.eye(3)[triangles], FACES[triangles])
    assert_close(SurfaceMap.from_arrays(surface_map.arrays(), FACES).mask, mask)


def test_bodies_of_many_triangles_keep_their_numbers() -> None:
    faces = FACES.repeat(50_000, 1)
    surface_map = small_map()
    surface_map = SurfaceMap(
        surface_map.mask, torch.tensor([0, 65_536, 99_999]), torch.eye(3), torch.zeros(3, 3).long()
    )
    assert_close(SurfaceMap.from_arrays(surface_map.arrays(), faces).triangles, surface_map.triangles)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tri": np.array([0, 1], np.uint16)}, "3 texels, 2 triangles"),
        ({"bary": np.zeros((3, 3), np.uint8)}, r"coordinates \(3, 3\)"),
        ({"tri": np.array([0, 2, 1], np.uint16)}, "triangle 2 of a body of 2"),
        ({"mask": np.zeros(2, np.uint8)}, "0 texels"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SurfaceMap.from_arrays(small_map().arrays() | changes, FACES)
    with pytest.raises(ValueError, match="no tri, bary"):
        SurfaceMap.from_arrays({"mask": np.zeros(2, np.uint8)}, FACES)


def test_packaged_maps_lie_inside_their_triangles(packaged_map: SurfaceMap, open_body: BodyModel) -> None:
    assert packaged_map.points().num_points == packaged_map.mask.sum()
    assert_close(packaged_map.corners, open_body.faces[packaged_map.triangles])
    assert (packaged_map.barycentric >= 0).all()
    assert_close(packaged_map.barycentric.sum(-1), torch.ones(len(packaged_map.triangles)))
    assert packaged_map.mask.double().mean().item() == pytest.approx(0.6, abs=0.05)


def test_texels_at_the_same_place_show_the_same_place(packaged_map: SurfaceMap, open_body: BodyModel) -> None:
    finest = load_packaged_surface_map(512, open_body.faces)
    expected = position_image(finest, open_body.rest_template)
    centres = (torch.arange(packaged_map.size) + 0.5) / packaged_map.size
    nearest = (centres * finest.size).long()
    expected = expected[nearest[:, None], nearest]
    distances = (position_image(packaged_map, open_body.rest_template) - expected).norm(dim=-1)
    both = distances.isfinite()
    assert (both == packaged_map.mask).double().mean() > 0.98
    # The texture's side spans some two metres of body; a texel's centre is at most one finest texel off.
    assert distances[both].median() < 2.0 / finest.size


def test_a_position_map_follows_the_body(open_body: BodyModel) -> None:
    surface_map = load_packaged_surface_map(128, open_body.faces)
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    moved = position_image(surface_map, open_body.rest_template @ turn.t() + 2)
    rest = position_image(surface_map, open_body.rest_template)
    assert_close(moved, rest @ turn.t() + 2, equal_nan=True)


@pytest.mark.parametrize("size", [-1, 0, 3, 513])
def test_sizes_that_are_not_to_be_had_are_named(size: int, open_body: BodyModel) -> None:
    with pytest.raises(ValueError, match=rf"of {size} texels.*expected 4 to 512"):
        load_packaged_surface_map(size, open_body.faces)


def test_a_map_moves_as_a_whole() -> None:
    moved = map_tensors(small_map(), lambda tensor: tensor.to("meta"))
    assert {moved.mask.device.type, moved.barycentric.device.type, moved.points().corners.device.type} == {"meta"}
