"""Trilinear reading of the diffused codes at any point, without ever making a dense volume (Neural Body, Sec. 3.3)."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Int32
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from human_avatars.field_components.sparse_voxels import VoxelLevel

NUM_CORNERS = 8


def find_corners(
    level: VoxelLevel, unit_points: Float[Tensor, "points 3"]
) -> tuple[Int32[Tensor, "points 8"], Float[Tensor, "points 8"]]:
    """Voxels around each point and their trilinear weights, as `grid_sample(align_corners=True)` places them.

    The fraction u of the grid's edge lies at u (size - 1) voxels of this level. That is up to one voxel off where the
    strided convolutions put the feature, and kept, because published weights were trained with it.

    Args:
        level: A level with an index grid.
        unit_points: Points (x, y, z) as fractions of the grid's edges.

    Returns:
        Rows of the eight voxels, `level.num_voxels` where a voxel is empty or outside, and the weights.
    """
    assert level.index_grid is not None, "Codes are read below full resolution only."
    if level.index_grid.device.type == "cpu" and not (torch.is_grad_enabled() and unit_points.requires_grad):
        from human_avatars.field_components import sparse_kernels

        points = unit_points.detach().contiguous()
        rows = torch.empty(len(points), NUM_CORNERS, dtype=torch.int32)
        weights = points.new_empty(len(points), NUM_CORNERS)
        sparse_kernels.find_corners(
            points.numpy(), level.index_grid.numpy(), level.shape, rows.numpy(), weights.numpy()
        )
        return rows, weights
    return find_corners_reference(level, unit_points)


def find_corners_reference(
    level: VoxelLevel, unit_points: Float[Tensor, "points 3"]
) -> tuple[Int32[Tensor, "points 8"], Float[Tensor, "points 8"]]:
    """`find_corners` in PyTorch: on any device, and differentiable in the points."""
    assert level.index_grid is not None, "Codes are read below full resolution only."
    sizes = torch.tensor(level.shape, device=unit_points.device)
    positions = unit_points.flip(-1) * (sizes - 1)
    base = positions.floor()
    fractions = positions - base
    # A cell at -1 still touches voxel 0; the grid's border holds both ends.
    inside = ((base >= -1) & (base < sizes)).all(dim=-1, keepdim=True)
    z, y, x = torch.where(inside, base, -1).long().unbind(dim=-1)
    row_stride = level.shape[2] + 2
    slice_stride = (level.shape[1] + 2) * row_stride
    corners = torch.cartesian_prod(*[torch.arange(2, device=unit_points.device)] * 3)
    steps = corners @ torch.tensor([slice_stride, row_stride, 1], device=unit_points.device)
    cells = ((z + 1) * slice_stride + (y + 1) * row_stride + x + 1)[:, None] + steps
    # Cell 0 is a corner of the border and always empty.
    rows = level.index_grid[torch.where(inside, cells, 0)]
    weights = torch.where(corners == 1, fractions[:, None], 1 - fractions[:, None]).prod(dim=-1)
    return rows, weights


def sum_corners(
    features: tuple[Float[Tensor, "_ _"], ...],
    rows: tuple[Int[Tensor, "points 8"], ...],
    weights: tuple[Float[Tensor, "points 8"], ...],
) -> Float[Tensor, "points channels"]:
    """Weighted sums of the corners' features, the levels side by side.

    Args:
        features: Voxel features of each level.
        rows: Corners of the points in each level, as `find_corners` gives them.
        weights: Their trilinear weights.
    """
    on_cpu = features[0].device.type == "cpu"
    if on_cpu and not any(weight.requires_grad for weight in weights):
        return _SumCorners.apply(rows, weights, *features)
    return sum_corners_reference(features, rows, weights)


def sum_corners_reference(
    features: tuple[Float[Tensor, "_ _"], ...],
    rows: tuple[Int[Tensor, "points 8"], ...],
    weights: tuple[Float[Tensor, "points 8"], ...],
) -> Float[Tensor, "points channels"]:
    """`sum_corners` in PyTorch: on any device, and differentiable in the weights."""
    sums = [
        F.embedding_bag(
            level_rows.long(), F.pad(level_features, (0, 0, 0, 1)), per_sample_weights=level_weights, mode="sum"
        )
        for level_features, level_rows, level_weights in zip(features, rows, weights, strict=True)
    ]
    return torch.cat(sums, dim=-1)


class _SumCorners(torch.autograd.Function):
    """All levels into one array, so that nothing is copied to put them side by side."""

    @staticmethod
    def forward(ctx: Any, rows: tuple[Tensor, ...], weights: tuple[Tensor, ...], *features: Tensor) -> Tensor:
        from human_avatars.field_components import sparse_kernels

        ctx.rows, ctx.weights = rows, weights
        ctx.sizes = [(len(level), level.shape[1]) for level in features]
        output = features[0].new_empty(len(rows[0]), sum(level.shape[1] for level in features))
        first = 0
        for level, level_rows, level_weights in zip(features, rows, weights, strict=True):
            sparse_kernels.sum_corners(
                level.contiguous().numpy(), level_rows.numpy(), level_weights.numpy(), output.numpy(), first
            )
            first += level.shape[1]
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        from human_avatars.field_components import sparse_kernels

        gradient = grad_output.contiguous().numpy()
        gradients = [grad_output.new_zeros(size) for size in ctx.sizes]
        first = 0
        for level_gradient, level_rows, level_weights in zip(gradients, ctx.rows, ctx.weights, strict=True):
            sparse_kernels.scatter_corners(
                gradient, first, level_rows.numpy(), level_weights.numpy(), level_gradient.numpy()
            )
            first += level_gradient.shape[1]
        return None, None, *gradients


def touches(rows: Int[Tensor, "points 8"], level: VoxelLevel) -> Bool[Tensor, "points"]:
    """Whether any of the corners of each point holds a filled voxel."""
    return (rows < level.num_voxels).any(dim=-1)
