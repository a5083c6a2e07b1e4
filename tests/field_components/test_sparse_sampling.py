"""Sparse trilinear reading against `grid_sample` on the dense volume."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from human_avatars.field_components.sparse_sampling import (
    find_corners,
    find_corners_reference,
    sum_corners,
    sum_corners_reference,
    touches,
)
from human_avatars.field_components.sparse_voxels import SparseVoxels, VoxelLevel

SHAPE = (16, 22, 12)
CHANNELS = (3, 5, 2, 4)


@pytest.fixture(scope="module")
def levels() -> tuple[VoxelLevel, ...]:
    """The four levels that are read."""
    torch.manual_seed(0)
    coordinates = torch.cat([torch.randint(size, (30, 1)) for size in SHAPE], dim=1)
    return SparseVoxels.from_coordinates(coordinates, SHAPE).levels[1:]


@pytest.fixture(scope="module")
def unit_points() -> Tensor:
    """Points in the grid, on its faces, just outside, far outside and nowhere."""
    torch.manual_seed(1)
    special = torch.tensor(
        [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [-0.02, 0.5, 0.5], [1.01, 0.5, 0.5], [0.5, 30.0, 0.5], [-1e30, 0.5, 0.5]]
    )
    return torch.cat([torch.rand(400, 3) * 1.4 - 0.2, special]).double()


def _dense(levels: tuple[VoxelLevel, ...], features: tuple[Tensor, ...], unit_points: Tensor) -> Tensor:
    sampled = []
    for level, rows in zip(levels, features, strict=True):
        volume = rows.new_zeros(*level.shape, rows.shape[1])
        volume = volume.index_put(level.coordinates().unbind(-1), rows).movedim(-1, 0)[None]
        grid = (unit_points * 2 - 1)[None, None, None]
        read = F.grid_sample(volume, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
        sampled.append(read[0, :, 0, 0].t())
    return torch.cat(sampled, dim=-1)


def _features(levels: tuple[VoxelLevel, ...]) -> tuple[Tensor, ...]:
    torch.manual_seed(2)
    return tuple(
        torch.randn(level.num_voxels, channels, dtype=torch.float64, requires_grad=True)
        for level, channels in zip(levels, CHANNELS, strict=True)
    )


@pytest.mark.parametrize("corners", [find_corners, find_corners_reference])
@pytest.mark.parametrize("read", [sum_corners, sum_corners_reference])
def test_reading_equals_grid_sample(
    levels: tuple[VoxelLevel, ...], unit_points: Tensor, corners: Callable, read: Callable
) -> None:
    features = _features(levels)
    rows, weights = zip(*(corners(level, unit_points) for level in levels), strict=True)
    sparse, dense = read(features, rows, weights), _dense(levels, features, unit_points)
    assert_close(sparse, dense)
    upstream = torch.randn_like(dense)
    assert_close(torch.autograd.grad(sparse, features, upstream), torch.autograd.grad(dense, features, upstream))


def test_gradients_reach_the_points_where_they_are_asked_for(
    levels: tuple[VoxelLevel, ...], unit_points: Tensor
) -> None:
    features = _features(levels)
    points = unit_points[:400].clone().requires_grad_()
    rows, weights = zip(*(find_corners(level, points) for level in levels), strict=True)
    sparse, dense = sum_corners(features, rows, weights), _dense(levels, features, points)
    upstream = torch.randn_like(dense)
    assert_close(torch.autograd.grad(sparse, points, upstream), torch.autograd.grad(dense, points, upstream))


def test_the_compiled_search_finds_what_the_reference_finds(
    levels: tuple[VoxelLevel, ...], unit_points: Tensor
) -> None:
    for level in levels:
        rows, weights = find_corners(level, unit_points.float())
        reference_rows, reference_weights = find_corners_reference(level, unit_points.float())
        assert torch.equal(rows, reference_rows)
        filled = rows < level.num_voxels
        assert_close(weights[filled], reference_weights[filled])


def test_points_that_touch_no_voxel_read_zeros(levels: tuple[VoxelLevel, ...], unit_points: Tensor) -> None:
    for level in levels:
        rows, weights = find_corners(level, unit_points)
        read = sum_corners((torch.ones(level.num_voxels, 1, dtype=torch.float64),), (rows,), (weights,))
        reached = touches(rows, level)
        assert 0 < reached.sum() < len(reached)
        assert (read[~reached] == 0).all()
        assert (read[reached] >= 0).all()


def test_a_point_that_is_no_number_touches_nothing(levels: tuple[VoxelLevel, ...]) -> None:
    nowhere = torch.full((1, 3), float("nan"))
    for corners in (find_corners, find_corners_reference):
        rows, _ = corners(levels[0], nowhere)
        assert not touches(rows, levels[0]).any()


def test_no_points_read_nothing(levels: tuple[VoxelLevel, ...]) -> None:
    features = _features(levels)
    rows, weights = zip(*(find_corners(level, torch.zeros(0, 3).double()) for level in levels), strict=True)
    assert sum_corners(features, rows, weights).shape == (0, sum(CHANNELS))
