"""Voxels and their neighbours against hand-worked coordinates, pooled masks and brute force."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from human_avatars.field_components.sparse_voxels import CENTRE, SparseVoxels, VoxelGrid

SHAPE = (9, 12, 7)
OFFSETS = torch.cartesian_prod(*[torch.arange(-1, 2)] * 3)


@pytest.fixture(scope="module")
def voxels() -> SparseVoxels:
    """Voxels of 40 vertices, some of which share one, with the grid's faces among them."""
    torch.manual_seed(0)
    inner = torch.cat([torch.randint(size, (38, 1)) for size in SHAPE], dim=1)
    return SparseVoxels.from_coordinates(
        torch.cat([inner, torch.zeros(1, 3).long(), torch.tensor([[8, 11, 6]])]), SHAPE
    )


def test_coordinates_by_hand() -> None:
    vertices = torch.tensor([[0.0, 0.0, 0.0], [0.104, 0.2, 0.03], [0.036, 0.05, 0.012]])
    grid = VoxelGrid.around(vertices, box_padding=(0.0, 0.0, 0.05), voxel_size=0.01)
    assert_close(grid.minimum, torch.tensor([0.0, 0.0, -0.05]))
    # z first, from 5 cm below the body: (0 + .05) / .01 = 5, .08 / .01 = 8, .062 / .01 = 6.2.
    assert grid.coordinates(vertices).tolist() == [[5, 0, 0], [8, 20, 10], [6, 5, 4]]
    assert grid.shape == (32, 32, 32)
    assert_close(grid.unit_points(torch.tensor([[0.16, 0.08, 0.27]])), torch.tensor([[0.5, 0.25, 1.0]]))


def test_counts_are_padded_past_the_next_multiple_of_32() -> None:
    vertices = torch.tensor([[0.0, 0.0, 0.0], [8.0, 7.75, 8.25]])
    grid = VoxelGrid.around(vertices, box_padding=(0.0, 0.0, 0.0), voxel_size=0.25)
    # 33, 31 and 32 voxels along z, y, x: a count that already is a multiple gains another 32.
    assert grid.shape == (64, 32, 64)


def test_a_half_is_rounded_to_the_even_voxel() -> None:
    grid = VoxelGrid(minimum=torch.zeros(3), voxel_size=0.5, shape=(32, 32, 32))
    assert grid.coordinates(torch.tensor([[0.25, 0.75, 1.25]])).tolist() == [[2, 2, 0]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_vertices_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        VoxelGrid.around(torch.tensor([[0.0, 0.0, 0.0], [value, 1.0, 1.0]]), (0.0, 0.0, 0.0), 0.005)


def test_a_body_in_millimetres_is_refused() -> None:
    with pytest.raises(ValueError, match="in metres"):
        VoxelGrid.around(torch.tensor([[0.0, 0.0, 0.0], [500.0, 1700.0, 300.0]]), (0.0, 0.0, 0.0), 0.005)


def test_codes_that_share_a_voxel_are_summed() -> None:
    coordinates = torch.tensor([[1, 1, 1], [0, 0, 2], [1, 1, 1]])
    voxels = SparseVoxels.from_coordinates(coordinates, (4, 4, 4))
    codes = torch.tensor([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]], requires_grad=True)
    summed = voxels.sum_codes(codes)
    assert_close(summed, torch.tensor([[10.0, 20.0], [101.0, 202.0]]))
    (gradient,) = torch.autograd.grad(summed, codes, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert_close(gradient, torch.tensor([[3.0, 4.0], [1.0, 2.0], [3.0, 4.0]]))


def test_each_level_is_the_pooled_mask_of_the_one_above(voxels: SparseVoxels) -> None:
    mask = torch.zeros(1, 1, *SHAPE)
    mask[(0, 0, *voxels.levels[0].coordinates().unbind(-1))] = 1
    assert voxels.levels[0].index_grid is None
    for level in voxels.levels[1:]:
        mask = F.max_pool3d(mask, kernel_size=3, stride=2, padding=1)
        assert level.shape == mask.shape[2:]
        assert torch.equal(level.coordinates(), mask[0, 0].nonzero())
        assert level.index_grid is not None
        rows = level.index_grid.view([size + 2 for size in level.shape])
        assert torch.equal((rows < level.num_voxels).nonzero(), level.coordinates() + 1)
        assert rows[rows < level.num_voxels].tolist() == list(range(level.num_voxels))


def test_neighbour_tables_equal_a_search(voxels: SparseVoxels) -> None:
    for stride, maps, targets in (
        (1, voxels.submanifold_maps, voxels.levels),
        (2, voxels.strided_maps, voxels.levels[1:]),
    ):
        for kernel_map, source, target in zip(maps, voxels.levels, targets, strict=False):
            row_of = {tuple(place): row for row, place in enumerate(source.coordinates().tolist())}
            reads = target.coordinates()[:, None] * stride + OFFSETS
            expected = [[row_of.get(tuple(place), source.num_voxels) for place in places] for places in reads.tolist()]
            assert kernel_map.neighbour_table.tolist() == expected
            assert (kernel_map.num_inputs, kernel_map.num_outputs) == (source.num_voxels, target.num_voxels)


def test_transposed_tables_hold_the_same_pairs(voxels: SparseVoxels) -> None:
    for kernel_map in (*voxels.submanifold_maps, *voxels.strided_maps):
        rows, weights = (kernel_map.neighbour_table < kernel_map.num_inputs).nonzero(as_tuple=True)
        inputs = kernel_map.neighbour_table[rows, weights]
        assert torch.equal(kernel_map.transposed_table[inputs, weights], rows)
        assert (kernel_map.transposed_table < kernel_map.num_outputs).sum() == len(rows) == sum(kernel_map.counts)


def test_a_submanifold_table_is_its_own_transpose_with_the_kernel_flipped(voxels: SparseVoxels) -> None:
    for kernel_map in voxels.submanifold_maps:
        assert torch.equal(kernel_map.transposed_table, kernel_map.neighbour_table.flip(1))
        assert torch.equal(kernel_map.neighbour_table[:, CENTRE], torch.arange(kernel_map.num_outputs))


def test_a_single_voxel_reaches_the_coarsest_level() -> None:
    voxels = SparseVoxels.from_coordinates(torch.tensor([[31, 31, 31]]), (32, 32, 32))
    # An odd voxel reaches two outputs along each axis, but at the far face only one of them exists.
    assert [level.num_voxels for level in voxels.levels] == [1, 1, 1, 1, 1]
