"""Submanifold and strided sparse convolution, and the 17-layer network that diffuses Neural Body's codes (Sec. 3.2).

Two kernels compute the same function. "pairs" walks the pair list of each kernel weight with small matrix products
whose operands stay in cache: the one for CPU. "table" gathers all 27 neighbours of every voxel for one large product
and never scatters, backward included: the one for CUDA, and deterministic there.
"""

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from typing_extensions import assert_never

from human_avatars.field_components.frame_batch_norm import BatchNormEval, FrameBatchNorm
from human_avatars.field_components.sparse_voxels import CENTRE, KERNEL_VOLUME, KernelMap, SparseVoxels
from human_avatars.one_thread import SMALL_PRODUCTS_ON_ONE_THREAD

BATCH_NORM_EPS = 1e-3
BATCH_NORM_MOMENTUM = 0.01
LEVELS: tuple[tuple[int, int], ...] = ((16, 2), (32, 2), (64, 3), (128, 3), (128, 3))
"""Channels and submanifold layers of each level, full resolution first; one strided layer leads to each next level."""

Kernel = Literal["pairs", "table"]
"""How a sparse convolution is computed; see the head of this file."""


def sparse_convolution(
    features: Float[Tensor, "inputs in_channels"],
    weight: Float[Tensor, "27 in_channels out_channels"],
    kernel_map: KernelMap,
    kernel: Kernel | None = None,
) -> Float[Tensor, "outputs out_channels"]:
    """Convolve voxel features with a 3x3x3 kernel, at the output voxels only.

    Args:
        features: One row for each input voxel.
        weight: Kernel weights in the order of `KernelMap.counts`.
        kernel_map: Which voxels meet.
        kernel: "pairs" (on the CPU only) or "table"; by default the one made for the features' device.
    """
    kernel = kernel or ("pairs" if features.device.type == "cpu" else "table")
    if kernel == "pairs":
        return _PairConvolution.apply(features, weight, kernel_map)
    if kernel == "table":
        return _TableConvolution.apply(features, weight, kernel_map)
    assert_never(kernel)


class _PairConvolution(torch.autograd.Function):
    """For each kernel weight: gather the inputs of its pairs, multiply, add to the outputs."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, kernel_map: KernelMap) -> Tensor:
        from human_avatars.field_components.sparse_kernels import gather_rows, scatter_add_rows

        features, weight = features.contiguous(), weight.contiguous()
        ctx.save_for_backward(features, weight)
        ctx.kernel_map = kernel_map
        features, weight = features.detach(), weight.detach()
        output = _centre_product(features, weight[CENTRE], kernel_map.num_outputs, kernel_map)
        # Buffers for all weights: their pages stay mapped and mostly in cache.
        most = max(kernel_map.counts)
        gathered, products = features.new_empty(most, features.shape[1]), features.new_empty(most, weight.shape[2])
        feature_rows, gathered_rows = features.numpy(), gathered.numpy()
        product_rows, output_rows = products.numpy(), output.numpy()
        with SMALL_PRODUCTS_ON_ONE_THREAD:
            for k, inputs, outputs in _pair_lists(kernel_map):
                count = len(inputs)
                gather_rows(feature_rows, inputs, gathered_rows[:count])
                torch.mm(gathered[:count], weight[k], out=products[:count])
                scatter_add_rows(product_rows[:count], outputs, output_rows)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        from human_avatars.field_components.sparse_kernels import gather_rows, scatter_add_rows

        features, weight = ctx.saved_tensors
        kernel_map: KernelMap = ctx.kernel_map
        grad_output = grad_output.contiguous()
        grad_features = _centre_product(grad_output, weight[CENTRE].t(), kernel_map.num_inputs, kernel_map)
        grad_weight = torch.zeros_like(weight)
        if kernel_map.is_submanifold:
            torch.mm(features.t(), grad_output, out=grad_weight[CENTRE])
        most = max(kernel_map.counts)
        inputs, outputs = features.new_empty(most, features.shape[1]), features.new_empty(most, weight.shape[2])
        products = torch.empty_like(inputs)
        feature_rows, grad_rows, input_rows = features.numpy(), grad_output.numpy(), inputs.numpy()
        output_rows, product_rows, grad_feature_rows = outputs.numpy(), products.numpy(), grad_features.numpy()
        with SMALL_PRODUCTS_ON_ONE_THREAD:
            for k, pair_inputs, pair_outputs in _pair_lists(kernel_map):
                count = len(pair_inputs)
                gather_rows(feature_rows, pair_inputs, input_rows[:count])
                gather_rows(grad_rows, pair_outputs, output_rows[:count])
                torch.mm(inputs[:count].t(), outputs[:count], out=grad_weight[k])
                torch.mm(outputs[:count], weight[k].t(), out=products[:count])
                scatter_add_rows(product_rows[:count], pair_inputs, grad_feature_rows)
        return grad_features, grad_weight, None


def _centre_product(rows: Tensor, centre_weight: Tensor, num_results: int, kernel_map: KernelMap) -> Tensor:
    """The part of the result that needs no gather: under a submanifold's centre every voxel meets itself."""
    if kernel_map.is_submanifold:
        return rows @ centre_weight
    return rows.new_zeros(num_results, centre_weight.shape[1])


def _pair_lists(kernel_map: KernelMap) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Each weight with pairs, but a submanifold's centre, and their input and output rows."""
    inputs, outputs = kernel_map.input_rows.numpy(), kernel_map.output_rows.numpy()
    start = 0
    for k, count in enumerate(kernel_map.counts):
        if count and not (kernel_map.is_submanifold and k == CENTRE):
            yield k, inputs[start : start + count], outputs[start : start + count]
        start += count


class _TableConvolution(torch.autograd.Function):
    """Gather every output's 27 neighbours side by side, then one matrix product."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, kernel_map: KernelMap) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.kernel_map = kernel_map
        return _gather_table(features, kernel_map.neighbour_table) @ weight.flatten(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        features, weight = ctx.saved_tensors
        kernel_map: KernelMap = ctx.kernel_map
        grad_weight = _gather_table(features, kernel_map.neighbour_table).t() @ grad_output
        transposed = weight.transpose(1, 2)
        if kernel_map.is_submanifold:
            # The neighbour opposite to k sees this voxel under k: the same table serves with the kernel flipped.
            table, transposed = kernel_map.neighbour_table, transposed.flip(0)
        else:
            table = kernel_map.transposed_table
        grad_features = _gather_table(grad_output, table) @ transposed.flatten(0, 1)
        return grad_features, grad_weight.view_as(weight), None


def _gather_table(rows: Tensor, table: Tensor) -> Tensor:
    """Rows of each table line side by side, zeros where the entry is one past the last row."""
    padded = torch.cat([rows, rows.new_zeros(1, rows.shape[1])])
    return padded[table].flatten(1)


class SparseConvLayer(nn.Module):
    """Sparse convolution without bias, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, bn_eval: BatchNormEval) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(KERNEL_VOLUME, in_channels, out_channels))
        self.norm = FrameBatchNorm(out_channels, bn_eval, BATCH_NORM_EPS, BATCH_NORM_MOMENTUM)
        bound = 1 / math.sqrt(KERNEL_VOLUME * in_channels)
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(
        self, features: Float[Tensor, "inputs in_channels"], kernel_map: KernelMap, kernel: Kernel | None = None
    ) -> Float[Tensor, "outputs out_channels"]:
        """One layer; arguments as for `sparse_convolution`."""
        return F.relu(self.norm(sparse_convolution(features, self.weight, kernel_map, kernel)), inplace=True)


class SparseConvNet(nn.Module):
    """Neural Body's SparseConvNet: codes on the surface voxels become features of the space around the body.

    Args:
        code_dim: Channels that come in.
        bn_eval: Statistics of batch norm in evaluation.
    """

    def __init__(self, code_dim: int = LEVELS[0][0], bn_eval: BatchNormEval = "frame") -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        """Submanifold layers of each level."""
        self.strides = nn.ModuleList()
        """The layer into each level but the first."""
        previous = code_dim
        for level, (channels, num_layers) in enumerate(LEVELS):
            if level > 0:
                self.strides.append(SparseConvLayer(previous, channels, bn_eval))
                previous = channels
            layers = [SparseConvLayer(previous if i == 0 else channels, channels, bn_eval) for i in range(num_layers)]
            self.levels.append(nn.ModuleList(layers))
            previous = channels

    def forward(
        self, features: Float[Tensor, "voxels channels"], voxels: SparseVoxels, kernel: Kernel | None = None
    ) -> tuple[Float[Tensor, "_ _"], ...]:
        """Features of the filled voxels of every level below full resolution.

        Args:
            features: Summed codes of the full-resolution voxels.
            voxels: The rulebook.
            kernel: How convolutions are computed; by default as made for the device.
        """
        outputs = []
        # Half precision would mix types between the products and the gathers.
        with torch.autocast(features.device.type, enabled=False):
            for level, layers in enumerate(self.levels):
                if level > 0:
                    features = self.strides[level - 1](features, voxels.strided_maps[level - 1], kernel)
                assert isinstance(layers, nn.ModuleList)
                for layer in layers:
                    features = layer(features, voxels.submanifold_maps[level], kernel)
                if level > 0:
                    outputs.append(features)
        return tuple(outputs)
