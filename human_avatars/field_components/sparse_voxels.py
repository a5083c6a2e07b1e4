"""Voxels that a posed body fills at each level of Neural Body's code diffusion, and which feeds which (Sec. 3.2)."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int, Int32, Int64, Shaped
from torch import Tensor

KERNEL_VOLUME = 27
"""Weights of a 3x3x3 kernel; number k = 9 kz + 3 ky + kx reads the input voxel at the offset (kz, ky, kx) - 1."""
CENTRE = 13
"""The weight that meets the output voxel itself."""
NUM_STRIDED = 4
"""Halvings of the grid in Neural Body's network."""
MAX_GRID_CELLS = 2**28
"""Cells of the largest index grid that is still built: 1 GB of rows."""


@dataclass(frozen=True)
class VoxelGrid:
    """The grid around a body in its root frame: where it starts, its cell size and its cell counts."""

    minimum: Float[Tensor, "3"]
    """Corner (x, y, z) at which voxel 0 is centred, in metres."""
    voxel_size: float
    """Edge of a voxel, in metres."""
    shape: tuple[int, int, int]
    """Voxels along depth, height and width: z, y, x."""

    @classmethod
    def around(
        cls, vertices: Float[Tensor, "vertices 3"], box_padding: tuple[float, float, float], voxel_size: float
    ) -> "VoxelGrid":
        """The grid of Neural Body around vertices in the root frame.

        Args:
            vertices: Body vertices, in metres.
            box_padding: Margin added on both sides of each axis, in metres.
            voxel_size: Edge of a voxel, in metres.

        Raises:
            ValueError: The vertices are not finite, or span more voxels than a body can.
        """
        padding = vertices.new_tensor(box_padding)
        minimum = vertices.amin(dim=0) - padding
        extent = ((vertices.amax(dim=0) + padding - minimum) / voxel_size).tolist()
        if not all(math.isfinite(voxels) for voxels in extent):
            raise ValueError("The body's vertices are not finite: look for NaN in its pose, translation or shape.")
        # Counts are padded to a multiple of 32; one that already is gains another 32, as in the original.
        width, height, depth = ((math.ceil(voxels) | 31) + 1 for voxels in extent)
        # The finest grid that is stored is the half-resolution one.
        if depth * height * width // 8 > MAX_GRID_CELLS:
            raise ValueError(
                f"The body spans {width} x {height} x {depth} voxels of {voxel_size} m: too many to diffuse codes in. "
                "Are its vertices in metres? If they are, choose larger voxels."
            )
        return cls(minimum=minimum, voxel_size=voxel_size, shape=(depth, height, width))

    def coordinates(self, vertices: Float[Tensor, "vertices 3"]) -> Int64[Tensor, "vertices 3"]:
        """Voxel (z, y, x) whose centre is nearest to each vertex (x, y, z)."""
        return ((vertices - self.minimum) / self.voxel_size).round().flip(-1).long()

    def unit_points(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """Points (x, y, z) as fractions of the grid's edges: 0 at the minimum, 1 at `shape` voxels from it."""
        edges = points.new_tensor(self.shape[::-1])
        return (points - self.minimum) / self.voxel_size / edges


@dataclass(frozen=True)
class KernelMap:
    """Pairs (input voxel, output voxel) that meet under each weight of a 3x3x3 kernel, one list after the other."""

    input_rows: Int32[Tensor, "pairs"]
    output_rows: Int32[Tensor, "pairs"]
    counts: tuple[int, ...]
    """Pairs under each of the 27 weights, which is also their order."""
    num_inputs: int
    num_outputs: int
    is_submanifold: bool
    """The outputs are the inputs: the centre pairs each voxel with itself and weight 26 - k undoes weight k."""

    @cached_property
    def neighbour_table(self) -> Int64[Tensor, "outputs 27"]:
        """Input row under each weight for every output voxel; `num_inputs` where there is none."""
        return self._table(self.output_rows, self.input_rows, self.num_outputs, self.num_inputs)

    @cached_property
    def transposed_table(self) -> Int64[Tensor, "inputs 27"]:
        """Output row under each weight for every input voxel; `num_outputs` where there is none."""
        return self._table(self.input_rows, self.output_rows, self.num_inputs, self.num_outputs)

    def _table(
        self, rows: Int32[Tensor, "pairs"], entries: Int32[Tensor, "pairs"], num_rows: int, empty: int
    ) -> Int64[Tensor, "rows 27"]:
        weights = torch.arange(KERNEL_VOLUME, device=rows.device)
        weights = weights.repeat_interleave(torch.tensor(self.counts, device=rows.device), output_size=len(rows))
        table = torch.full((num_rows, KERNEL_VOLUME), empty, dtype=torch.int64, device=rows.device)
        table[rows.long(), weights] = entries.long()
        return table


@dataclass(frozen=True)
class VoxelLevel:
    """The filled voxels of one resolution, in ascending order of depth, height, width."""

    shape: tuple[int, int, int]
    """Voxels along depth, height and width."""
    keys: Int64[Tensor, "voxels"]
    """Cell of each voxel in the flattened grid with an empty border one voxel wide."""
    index_grid: Int32[Tensor, "cells"] | None
    """Row of the voxel in each cell of that grid, the number of voxels where it is empty; None at full resolution,
    where it would be large and is never read."""

    @property
    def num_voxels(self) -> int:
        """Filled voxels."""
        return len(self.keys)

    def coordinates(self) -> Int64[Tensor, "voxels 3"]:
        """Voxel coordinates (z, y, x)."""
        _, height, width = self.shape
        slices, rest = self.keys // ((height + 2) * (width + 2)), self.keys % ((height + 2) * (width + 2))
        return torch.stack([slices, rest // (width + 2), rest % (width + 2)], dim=-1) - 1


@dataclass(frozen=True)
class SparseVoxels:
    """The rulebook of one posed body: a function of its voxel coordinates alone."""

    voxel_of_vertex: Int64[Tensor, "vertices"]
    """Full-resolution voxel of each vertex; several vertices may share one."""
    levels: tuple[VoxelLevel, ...]
    """Full resolution first, then each halving."""
    submanifold_maps: tuple[KernelMap, ...]
    """Kernel within each level."""
    strided_maps: tuple[KernelMap, ...]
    """Kernel from each level to the next."""

    @classmethod
    def from_coordinates(cls, coordinates: Int[Tensor, "vertices 3"], shape: tuple[int, int, int]) -> "SparseVoxels":
        """Fill the voxels of the vertices and follow them through the halvings.

        The lists are built on the CPU, in a few milliseconds for a body, and then moved to the coordinates' device.

        Args:
            coordinates: Voxel (z, y, x) of each vertex.
            shape: Voxels along depth, height and width.
        """
        from human_avatars.field_components import sparse_kernels

        device = coordinates.device
        keys, voxel_of_vertex = torch.unique(_padded_keys(coordinates.cpu().long(), shape), return_inverse=True)
        level = VoxelLevel(shape=shape, keys=keys, index_grid=None)
        levels, submanifold_maps, strided_maps = [level], [_submanifold_map(level)], []
        for _ in range(NUM_STRIDED):
            *arrays, counts = sparse_kernels.pair_strided(level.coordinates().numpy(), level.shape)
            keys, grid, inputs, outputs = (torch.from_numpy(array) for array in arrays)
            depth, height, width = ((size + 1) // 2 for size in level.shape)
            strided_maps.append(
                KernelMap(inputs, outputs, tuple(counts.tolist()), level.num_voxels, len(keys), is_submanifold=False)
            )
            level = VoxelLevel(shape=(depth, height, width), keys=keys, index_grid=grid)
            levels.append(level)
            submanifold_maps.append(_submanifold_map(level))
        return cls(
            voxel_of_vertex=voxel_of_vertex.to(device),
            levels=tuple(_level_to(level, device) for level in levels),
            submanifold_maps=tuple(_map_to(kernel_map, device) for kernel_map in submanifold_maps),
            strided_maps=tuple(_map_to(kernel_map, device) for kernel_map in strided_maps),
        )

    def sum_codes(self, codes: Shaped[Tensor, "vertices channels"]) -> Shaped[Tensor, "voxels channels"]:
        """Full-resolution voxel features: the sum of the codes of the vertices in each voxel."""
        return codes.new_zeros(self.levels[0].num_voxels, codes.shape[1]).index_add(0, self.voxel_of_vertex, codes)


def _padded_keys(coordinates: Int64[Tensor, "voxels 3"], shape: tuple[int, int, int]) -> Int64[Tensor, "voxels"]:
    _, height, width = shape
    z, y, x = (coordinates + 1).unbind(dim=-1)
    return (z * (height + 2) + y) * (width + 2) + x


def _submanifold_map(level: VoxelLevel) -> KernelMap:
    from human_avatars.field_components import sparse_kernels

    offsets = torch.cartesian_prod(*[torch.arange(-1, 2)] * 3)
    # Keys are linear in the coordinates, so an offset between voxels is an offset between keys.
    key_offsets = _padded_keys(offsets - 1, level.shape)
    inputs, outputs, counts = sparse_kernels.pair_neighbours(level.keys.numpy(), key_offsets.numpy())
    return KernelMap(
        input_rows=torch.from_numpy(inputs),
        output_rows=torch.from_numpy(outputs),
        counts=tuple(counts.tolist()),
        num_inputs=level.num_voxels,
        num_outputs=level.num_voxels,
        is_submanifold=True,
    )


def _level_to(level: VoxelLevel, device: torch.device) -> VoxelLevel:
    grid = None if level.index_grid is None else level.index_grid.to(device)
    return VoxelLevel(shape=level.shape, keys=level.keys.to(device), index_grid=grid)


def _map_to(kernel_map: KernelMap, device: torch.device) -> KernelMap:
    return replace(
        kernel_map, input_rows=kernel_map.input_rows.to(device), output_rows=kernel_map.output_rows.to(device)
    )
