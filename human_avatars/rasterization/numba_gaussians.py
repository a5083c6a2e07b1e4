"""The CPU rasteriser: its compiled loops, forward and backward, as one differentiable function."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from human_avatars.compiled_loops import run_in_parts
from human_avatars.rasterization.gaussians import FIELD_MARGIN, NEAR_PLANE, Gaussians, PinholeCamera, Rendering

NUM_CHUNKS = 8
"""Runs of Gaussians that are listed independently; a fixed number, so that nothing depends on that of the threads."""


def rasterize_on_cpu(
    gaussians: Gaussians, camera: PinholeCamera, background: Float[Tensor, " channels"], dilation: float
) -> Rendering:
    """`gaussians.rasterize` for float32 tensors on the CPU.

    The first call on a machine compiles for some twenty seconds; later processes find the result on disk. Any number
    of Python threads may call at once.
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
        from human_avatars.rasterization.compositing_kernels import PIXELS, composite

        ctx.set_materialize_grads(False)
        gaussians = _arrays(means, covariances, opacities, colors)
        lists = _list_tiles(gaussians, camera, dilation)
        shape = (camera.height, camera.width)
        picture = means.new_empty(*shape, colors.shape[1]), means.new_empty(*shape, 1), means.new_empty(*shape, 1)
        lights, lasts = np.empty((2, len(lists.tile_starts) - 1, PIXELS), np.float32)
        run_in_parts(composite, lists.tiles, *_arrays(background), _arrays(*picture), (lights, lasts))
        ctx.save_for_backward(means, covariances, opacities, colors, background, *picture)
        ctx.lists, ctx.kept = lists, (lights, lasts)
        return picture

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad_colors: Tensor | None, grad_alpha: Tensor | None, grad_depth: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        from human_avatars.rasterization.gradient_kernels import FIRST_CHANNEL, composite_backward, gather_gradients

        lists: _TileLists = ctx.lists
        saved = ctx.saved_tensors
        background, colors, alpha, depth = _arrays(*saved[4:])
        grad_picture = _arrays(
            torch.zeros_like(saved[5]) if grad_colors is None else grad_colors,
            torch.zeros_like(saved[6]) if grad_alpha is None else grad_alpha,
            saved[7].new_empty(0, 0, 1) if grad_depth is None else grad_depth,
        )
        rows = np.empty((len(lists.entries), FIRST_CHANNEL + lists.features.shape[1]), np.float32)
        run_in_parts(composite_backward, lists.tiles, background, (colors, alpha, depth), ctx.kept, grad_picture, rows)
        gradients = [torch.empty(tensor.shape) for tensor in saved[:4]]
        run_in_parts(
            gather_gradients, lists.slot_starts, rows, _arrays(*saved[:3]), lists.camera, lists.splats,
            _arrays(*gradients),
        )  # fmt: skip
        # NumPy sums in one order, whatever the number of threads.
        wanted = ctx.needs_input_grad[4]
        grad_background = torch.from_numpy(((1 - alpha) * grad_picture[0]).sum((0, 1))) if wanted else None
        return *gradients, grad_background, None, None


def _arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """Tensors as the kernels take them; copied only where they do not lie row by row."""
    return tuple(tensor.detach().contiguous().numpy() for tensor in tensors)


@dataclass(frozen=True)
class _TileLists:
    """Which Gaussians touch which tile, and all that compositing needs of them; see the kernels for the layouts."""

    camera: np.ndarray
    splats: np.ndarray
    features: np.ndarray
    slot_starts: np.ndarray
    tile_starts: np.ndarray
    entries: np.ndarray

    @property
    def tiles(self) -> tuple[np.ndarray, ...]:
        """What compositing reads."""
        return self.tile_starts, self.entries, self.splats, self.features


def _list_tiles(gaussians: tuple[np.ndarray, ...], camera: PinholeCamera, dilation: float) -> _TileLists:
    """Project the Gaussians, sort them by depth and list those of each tile."""
    from human_avatars.rasterization.compositing_kernels import BLOCK
    from human_avatars.rasterization.projection_kernels import TILE_HEIGHT, TILE_WIDTH, project
    from human_avatars.rasterization.tile_kernels import fill_lists, find_spans, find_starts, sort_by_depth

    num_gaussians, num_channels = gaussians[3].shape
    size, numbers = (camera.width, camera.height), _camera_numbers(camera)
    splats = np.empty((num_gaussians, 8), np.float32)
    # Whole blocks of channels, depth among them.
    features = np.zeros((num_gaussians, (num_channels // BLOCK + 1) * BLOCK), np.float32)
    columns = np.empty((num_gaussians, 2), np.int32)
    run_in_parts(project, gaussians, numbers, size, dilation, NEAR_PLANE, splats, features, columns)
    order, span_starts = sort_by_depth(features, num_channels, columns)
    num_columns, num_rows = -(-camera.width // TILE_WIDTH), -(-camera.height // TILE_HEIGHT)
    spans, slot_starts = np.empty((span_starts[-1], 2), np.int32), np.zeros(num_gaussians + 1, np.int64)
    counts = np.zeros((NUM_CHUNKS, num_columns * num_rows), np.int64)
    run_in_parts(find_spans, order, span_starts, splats, columns, size, spans, slot_starts, counts)
    tile_starts = find_starts(counts, slot_starts)
    entries = np.empty((tile_starts[-1], 4), np.int32)
    run_in_parts(fill_lists, order, span_starts, columns, spans, slot_starts, counts, num_columns, entries)
    return _TileLists(numbers, splats, features, slot_starts, tile_starts, entries)


def _camera_numbers(camera: PinholeCamera) -> np.ndarray:
    """The camera as `projection_kernels.project` reads it."""
    pose = camera.world_to_camera.detach().to("cpu", torch.float64).numpy()[:3].ravel()
    intrinsics = camera.intrinsics.detach().to("cpu", torch.float64).numpy()
    focal, principal = intrinsics.diagonal()[:2], intrinsics[:2, 2]
    size = np.array([camera.width, camera.height])
    margin = FIELD_MARGIN * 0.5 * size / focal
    low, high = -principal / focal - margin, (size - principal) / focal + margin
    return np.array([*pose, *focal, *principal, low[0], high[0], low[1], high[1]])
