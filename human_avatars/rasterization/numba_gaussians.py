"""The CPU rasteriser: its compiled loops, forward and backward, as one differentiable function."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from human_avatars.compiled_loops import run_in_parts
from human_avatars.rasterization.gaussians import (
    FIELD_MARGIN,
    NEAR_PLANE,
    Gaussians,
    PinholeCamera,
    Rendering,
)

NUM_CHUNKS = 8
"""Runs of Gaussians that are listed independently; a fixed number, so that nothing depends on that of the threads."""


def rasterize_on_cpu(
    gaussians: Gaussians, camera: PinholeCamera, background: Float[Tensor, " channels"], dilation: float
) -> Rendering:
    """`gaussians.rasterize` for float32 tensors on the CPU.

    The very first call compiles for about a minute; later processes find the result on disk. Any number of Python
    threads may call at once.
    """
    colors, alpha, depth = _Rasterization.apply(
        gaussians.means, gaussians.covariances, gaussians.opacities, gaussians.colors, background, camera, dilation
    )
    return Rendering(colors, alpha, depth)


class _Rasterization(torch.autograd.Function):
    """Means, covariances, opacities, colours and background to picture, alpha and depth."""

    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        covariances: Tensor,
        opacities: Tensor,
        colors: Tensor,
        background: Tensor,
        camera: PinholeCamera,
        dilation: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        from human_avatars.rasterization.compositing_kernels import composite

        ctx.set_materialize_grads(False)
        inputs = [tensor.detach().contiguous() for tensor in (means, covariances, opacities, colors, background)]
        lists = _list_tiles(*(tensor.numpy() for tensor in inputs[:4]), camera, dilation)
        shape = (camera.height, camera.width)
        picture = means.new_empty(*shape, colors.shape[1]), means.new_empty(*shape, 1), means.new_empty(*shape, 1)
        num_tiles = len(lists.tile_starts) - 1
        lights, lasts = np.empty((2, num_tiles, lists.pixels_per_tile), np.float32)
        outputs = [tensor.numpy() for tensor in picture]
        run_in_parts(
            composite, lists.tile_starts, lists.entries, lists.splats, lists.features, inputs[4].numpy(), *outputs,
            lights, lasts,
        )  # fmt: skip
        ctx.save_for_backward(means, covariances, opacities, colors, background, *picture)
        ctx.lists, ctx.lights, ctx.lasts = lists, lights, lasts
        return picture

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad_colors: Tensor | None, grad_alpha: Tensor | None, grad_depth: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        from human_avatars.rasterization.compositing_kernels import composite_backward
        from human_avatars.rasterization.projection_kernels import gather_gradients

        saved = [tensor.detach().contiguous() for tensor in ctx.saved_tensors]
        means, covariances, opacities, _, background, colors, alpha, depth = saved
        lists: _TileLists = ctx.lists
        grad_colors = torch.zeros_like(colors) if grad_colors is None else grad_colors.contiguous()
        grad_alpha = torch.zeros_like(alpha) if grad_alpha is None else grad_alpha.contiguous()
        grad_depth = alpha.new_empty(0, 0, 1) if grad_depth is None else grad_depth.contiguous()
        rows = np.empty((len(lists.entries), 6 + lists.features.shape[1]), np.float32)
        run_in_parts(
            composite_backward, lists.tile_starts, lists.entries, lists.splats, lists.features, background.numpy(),
            alpha.numpy(), depth.numpy(), ctx.lights, ctx.lasts, grad_colors.numpy(), grad_alpha.numpy(),
            grad_depth.numpy(), rows,
        )  # fmt: skip
        gradients = [torch.zeros_like(tensor) for tensor in saved[:4]]
        run_in_parts(
            gather_gradients, lists.order, lists.slot_starts, lists.slots, rows, means.numpy(), covariances.numpy(),
            opacities.numpy(), lists.camera, lists.splats, *(gradient.numpy() for gradient in gradients),
        )  # fmt: skip
        grad_background = None
        if ctx.needs_input_grad[4]:
            # NumPy sums in one order, whatever the number of threads.
            grad_background = torch.from_numpy(((1 - alpha.numpy()) * grad_colors.numpy()).sum((0, 1)))
        return *gradients, grad_background, None, None


@dataclass(frozen=True)
class _TileLists:
    """Which Gaussians touch which tile, and all that compositing needs of them; see the kernels for the layouts."""

    camera: np.ndarray
    splats: np.ndarray
    features: np.ndarray
    order: np.ndarray
    slot_starts: np.ndarray
    slots: np.ndarray
    tile_starts: np.ndarray
    entries: np.ndarray
    pixels_per_tile: int


def _list_tiles(
    means: np.ndarray,
    covariances: np.ndarray,
    opacities: np.ndarray,
    colors: np.ndarray,
    camera: PinholeCamera,
    dilation: float,
) -> _TileLists:
    """Project the Gaussians, sort them by depth and list those of each tile."""
    from human_avatars.rasterization.compositing_kernels import BLOCK
    from human_avatars.rasterization.projection_kernels import TILE_HEIGHT, TILE_WIDTH, project
    from human_avatars.rasterization.tile_kernels import fill_lists, find_spans, find_starts, sort_by_depth

    num_gaussians, num_channels = colors.shape
    size = (camera.width, camera.height)
    numbers = _camera_numbers(camera)
    splats = np.empty((num_gaussians, 8), np.float32)
    # Whole blocks of channels, depth among them.
    features = np.zeros((num_gaussians, (num_channels // BLOCK + 1) * BLOCK), np.float32)
    columns = np.empty((num_gaussians, 2), np.int32)
    run_in_parts(
        project, means, covariances, opacities, colors, numbers, size, dilation, NEAR_PLANE, splats, features, columns
    )
    order, span_starts = sort_by_depth(features, num_channels, columns)
    num_columns, num_rows = -(-camera.width // TILE_WIDTH), -(-camera.height // TILE_HEIGHT)
    spans = np.empty((span_starts[-1], 2), np.int32)
    slot_starts, counts = np.zeros(len(order) + 1, np.int64), np.zeros((NUM_CHUNKS, num_columns * num_rows), np.int64)
    run_in_parts(find_spans, order, span_starts, splats, columns, size, spans, slot_starts, counts)
    tile_starts = find_starts(counts, slot_starts)
    entries, slots = np.empty((tile_starts[-1], 3), np.int32), np.empty(tile_starts[-1], np.int32)
    run_in_parts(fill_lists, order, span_starts, columns, spans, slot_starts, counts, num_columns, entries, slots)
    return _TileLists(
        numbers, splats, features, order, slot_starts, slots, tile_starts, entries, TILE_WIDTH * TILE_HEIGHT
    )


def _camera_numbers(camera: PinholeCamera) -> np.ndarray:
    """The camera as `projection_kernels.project` reads it."""
    pose = camera.world_to_camera.detach().to("cpu", torch.float64).numpy()[:3].ravel()
    intrinsics = camera.intrinsics.detach().to("cpu", torch.float64).numpy()
    focal, principal = intrinsics.diagonal()[:2], intrinsics[:2, 2]
    size = np.array([camera.width, camera.height])
    margin = FIELD_MARGIN * 0.5 * size / focal
    low, high = -principal / focal - margin, (size - principal) / focal + margin
    return np.array([*pose, *focal, *principal, low[0], high[0], low[1], high[1]])
