"""Both kernels of the sparse convolution against masked dense convolution in float64, gradients too."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from human_avatars.field_components.sparse_convolution import (
    LEVELS,
    Kernel,
    SparseConvNet,
    sparse_convolution,
)
from human_avatars.field_components.sparse_voxels import KernelMap, SparseVoxels

SHAPE = (8, 10, 6)
KERNELS: tuple[Kernel, ...] = ("pairs", "table")


@pytest.fixture(scope="module")
def voxels() -> SparseVoxels:
    """A few dozen voxels, neighbours among them."""
    torch.manual_seed(0)
    return SparseVoxels.from_coordinates(torch.cat([torch.randint(size, (60, 1)) for size in SHAPE], dim=1), SHAPE)


@pytest.fixture(scope="module")
def large_voxels() -> SparseVoxels:
    """Voxels of a grid of which the coarsest level still has several."""
    torch.manual_seed(0)
    coordinates = torch.cat([torch.randint(size, (90, 1)) for size in (24, 30, 20)], dim=1)
    return SparseVoxels.from_coordinates(coordinates, (24, 30, 20))


def _dense_convolution(features: Tensor, weight: Tensor, voxels: SparseVoxels, level: int, stride: int) -> Tensor:
    """The same layer on a dense grid, read at its output voxels."""
    source = voxels.levels[level]
    target = source if stride == 1 else voxels.levels[level + 1]
    volume = features.new_zeros(*source.shape, features.shape[1])
    volume = volume.index_put(source.coordinates().unbind(-1), features).movedim(-1, 0)[None]
    kernel = weight.unflatten(0, (3, 3, 3)).permute(4, 3, 0, 1, 2)
    output = F.conv3d(volume, kernel, stride=stride, padding=1)[0]
    return output[(slice(None), *target.coordinates().unbind(-1))].t()


def _map(voxels: SparseVoxels, level: int, stride: int) -> KernelMap:
    return voxels.submanifold_maps[level] if stride == 1 else voxels.strided_maps[level]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_it_equals_masked_dense_convolution(voxels: SparseVoxels, level: int, stride: int, kernel: Kernel) -> None:
    torch.manual_seed(1)
    features = torch.randn(voxels.levels[level].num_voxels, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(27, 5, 4, dtype=torch.float64, requires_grad=True)
    sparse = sparse_convolution(features, weight, _map(voxels, level, stride), kernel)
    dense = _dense_convolution(features, weight, voxels, level, stride)
    assert_close(sparse, dense)
    upstream = torch.randn_like(dense)
    assert_close(
        torch.autograd.grad(sparse, (features, weight), upstream),
        torch.autograd.grad(dense, (features, weight), upstream),
    )


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stride", [1, 2])
def test_its_gradients_are_those_of_finite_differences(stride: int, kernel: Kernel) -> None:
    torch.manual_seed(2)
    voxels = SparseVoxels.from_coordinates(torch.randint(4, (9, 3)), (4, 4, 4))
    features = torch.randn(voxels.levels[0].num_voxels, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(27, 2, 3, dtype=torch.float64, requires_grad=True)
    kernel_map = _map(voxels, 0, stride)
    assert torch.autograd.gradcheck(lambda f, w: sparse_convolution(f, w, kernel_map, kernel), (features, weight))


@pytest.mark.parametrize("kernel", KERNELS)
def test_it_takes_rows_and_weights_of_any_layout(voxels: SparseVoxels, kernel: Kernel) -> None:
    torch.manual_seed(3)
    features, weight = torch.randn(5, voxels.levels[1].num_voxels).t(), torch.randn(27, 4, 5).transpose(1, 2)
    kernel_map = voxels.submanifold_maps[1]
    assert_close(
        sparse_convolution(features, weight, kernel_map, kernel),
        sparse_convolution(features.contiguous(), weight.contiguous(), kernel_map, kernel),
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_network_has_the_published_layers(large_voxels: SparseVoxels, kernel: Kernel) -> None:
    network = SparseConvNet()
    assert sum(parameter.numel() for name, parameter in network.named_parameters() if "norm" not in name) == 3_787_776
    outputs = network(torch.randn(large_voxels.levels[0].num_voxels, 16), large_voxels, kernel)
    assert [output.shape[1] for output in outputs] == [channels for channels, _ in LEVELS[1:]] == [32, 64, 128, 128]
    assert [len(output) for output in outputs] == [level.num_voxels for level in large_voxels.levels[1:]]


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_network_is_deterministic(large_voxels: SparseVoxels, kernel: Kernel) -> None:
    torch.manual_seed(4)
    network = SparseConvNet()
    features = torch.randn(large_voxels.levels[0].num_voxels, 16)

    def outputs_and_gradients() -> tuple[Tensor, ...]:
        outputs = network(features, large_voxels, kernel)
        total = torch.stack([output.square().sum() for output in outputs]).sum()
        return *outputs, *torch.autograd.grad(total, list(network.parameters()))

    assert all(torch.equal(a, b) for a, b in zip(outputs_and_gradients(), outputs_and_gradients(), strict=True))


def test_the_kernels_agree_on_the_whole_network(large_voxels: SparseVoxels) -> None:
    torch.manual_seed(5)
    network = SparseConvNet().double()
    features = torch.randn(large_voxels.levels[0].num_voxels, 16, dtype=torch.float64)
    assert_close(network(features, large_voxels, "pairs"), network(features, large_voxels, "table"))
