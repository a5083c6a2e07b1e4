"""Laws of Neural Body's field on a small body: what it depends on, what not, and that its shortcuts are exact."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from human_avatars.field_components.frequency_encoding import frequency_encoding
from human_avatars.field_components.sparse_sampling import find_corners, sum_corners
from human_avatars.fields.neural_body_field import CodeVolumes, NeuralBodyField
from human_avatars.transforms import axis_angle_to_matrix, rigid_from_rotation_translation, transform_points

PADDING = (0.0, 0.0, 0.05)


@pytest.fixture(scope="module")
def vertices() -> Tensor:
    """An egg of 300 vertices, half a metre tall."""
    torch.manual_seed(0)
    return F.normalize(torch.randn(300, 3, dtype=torch.float64), dim=-1) * torch.tensor([0.15, 0.25, 0.1])


@pytest.fixture
def field() -> NeuralBodyField:
    """A field in double precision whose norms are no identity, in evaluation mode."""
    torch.manual_seed(1)
    field = NeuralBodyField(300, 4, PADDING, voxel_size=0.02).double().eval()
    for name, parameter in field.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return field


@pytest.fixture(scope="module")
def points() -> Tensor:
    """Points in and around the egg; some read no code at all."""
    torch.manual_seed(2)
    return (torch.rand(500, 3, dtype=torch.float64) - 0.5) * 2.4


def _directions(count: int) -> Tensor:
    torch.manual_seed(3)
    return F.normalize(torch.randn(count, 3, dtype=torch.float64), dim=-1)


def _identity() -> Tensor:
    return torch.eye(4, dtype=torch.float64)


def _layer_by_layer(
    field: NeuralBodyField, volumes: CodeVolumes, points: Tensor, directions: Tensor, frame: int
) -> tuple[Tensor, Tensor]:
    """The published heads as they are drawn, every layer at every point."""
    heads = field.heads
    unit_points = volumes.unit_points(points)
    rows, weights = zip(*(find_corners(level, unit_points) for level in volumes.levels), strict=True)
    hidden = sum_corners(volumes.features, rows, weights)
    for layer in heads.trunk:
        hidden = layer(hidden).relu()
    code = field.frame_codes.weight[frame].expand(len(points), -1)
    latent = heads.latent(torch.cat([heads.feature(hidden), code], dim=-1))
    encoded = [frequency_encoding(directions, 4), frequency_encoding(points, 10)]
    return heads.density(hidden), heads.color(heads.view(torch.cat([latent, *encoded], dim=-1)).relu()).sigmoid()


def test_it_has_the_published_sizes() -> None:
    field = NeuralBodyField(6890, 60, PADDING)
    sizes = {name: tuple(parameter.shape) for name, parameter in field.named_parameters()}
    assert sizes["codes.weight"] == (6890, 16)
    assert sizes["frame_codes.weight"] == (60, 128)
    assert sizes["heads.trunk.0.weight"] == (256, 352)
    assert sizes["heads.latent.weight"] == (256, 384)
    assert sizes["heads.view.weight"] == (128, 346)
    assert sum(parameter.numel() for parameter in field.diffusion.parameters()) == 3_790_592


def test_its_heads_equal_the_published_ones_layer_by_layer(
    field: NeuralBodyField, vertices: Tensor, points: Tensor
) -> None:
    directions = _directions(len(points))
    results = []
    for evaluate in (field, lambda *inputs: _layer_by_layer(field, *inputs)):
        field.zero_grad()
        volumes = field.diffuse(vertices, _identity())
        density, rgb = evaluate(volumes, points, directions, 2)
        (density.sum() + rgb.square().sum()).backward()
        results.append([density, rgb, *(parameter.grad.clone() for parameter in field.parameters())])  # pyright: ignore[reportOptionalMemberAccess]
    assert_close(results[0], results[1])


def test_some_points_read_nothing_and_the_shortcut_for_them_is_used(
    field: NeuralBodyField, vertices: Tensor, points: Tensor
) -> None:
    volumes = field.diffuse(vertices, _identity())
    occupied = torch.stack([field.occupied(volumes, points, level) for level in (1, 2, 3, 4)])
    assert 0 < occupied.any(dim=0).sum() < len(points)
    # Finer levels reach less far.
    assert occupied.sum(dim=1).tolist() == sorted(occupied.sum(dim=1).tolist())


@pytest.mark.parametrize("which", ["all", "none", "no points"])
def test_points_that_all_or_never_read_codes(
    field: NeuralBodyField, vertices: Tensor, points: Tensor, which: str
) -> None:
    volumes = field.diffuse(vertices, _identity())
    reached = torch.stack([field.occupied(volumes, points, level) for level in (1, 2, 3, 4)]).any(dim=0)
    chosen = {"all": points[reached], "none": points[~reached], "no points": points[:0]}[which]
    directions = _directions(len(chosen))
    assert_close(field(volumes, chosen, directions, 0), _layer_by_layer(field, volumes, chosen, directions, 0))


def test_directions_may_be_given_for_each_ray(field: NeuralBodyField, vertices: Tensor, points: Tensor) -> None:
    volumes = field.diffuse(vertices, _identity())
    rays = torch.arange(len(points)) // 10
    directions = _directions(50)
    assert_close(field(volumes, points, directions, 1, rays), field(volumes, points, directions[rays], 1))


def test_a_rigid_motion_leaves_the_diffused_codes_unchanged(
    field: NeuralBodyField, vertices: Tensor, points: Tensor
) -> None:
    motion = rigid_from_rotation_translation(
        axis_angle_to_matrix(torch.tensor([0.3, -1.1, 0.7], dtype=torch.float64)),
        torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64),
    )
    rest = field.diffuse(vertices, _identity())
    moved = field.diffuse(transform_points(motion, vertices), motion)
    assert_close(moved.features, rest.features)
    assert_close(moved.unit_points(transform_points(motion, points)), rest.unit_points(points))
    density, _ = field(rest, points, _directions(500), 0)
    moved_density, _ = field(moved, transform_points(motion, points), _directions(500), 0)
    assert_close(moved_density, density)


def test_the_kernels_agree(field: NeuralBodyField, vertices: Tensor) -> None:
    pairs = field.diffuse(vertices, _identity()).features
    field.kernel = "table"
    assert_close(field.diffuse(vertices, _identity()).features, pairs)


def test_evaluation_equals_training_and_moves_no_average(field: NeuralBodyField, vertices: Tensor) -> None:
    before = {name: buffer.clone() for name, buffer in field.named_buffers()}
    evaluated = field.diffuse(vertices, _identity()).features
    assert all(torch.equal(before[name], buffer) for name, buffer in field.named_buffers())
    assert_close(field.train().diffuse(vertices, _identity()).features, evaluated)
    assert all((before[name] != buffer).any() for name, buffer in field.named_buffers())


def test_the_same_seed_gives_the_same_step(vertices: Tensor, points: Tensor) -> None:
    def gradients() -> list[Tensor]:
        torch.manual_seed(4)
        field = NeuralBodyField(300, 4, PADDING, voxel_size=0.02)
        volumes = field.diffuse(vertices.float(), torch.eye(4))
        density, rgb = field(volumes, points.float(), _directions(500).float(), 3)
        return list(torch.autograd.grad(density.sum() + rgb.sum(), list(field.parameters())))

    assert all(torch.equal(a, b) for a, b in zip(gradients(), gradients(), strict=True))


def test_only_the_colour_knows_the_frame_and_the_direction(
    field: NeuralBodyField, vertices: Tensor, points: Tensor
) -> None:
    volumes = field.diffuse(vertices, _identity())
    density, rgb = field(volumes, points, _directions(500), 0)
    other_density, other_rgb = field(volumes, points, -_directions(500), 1)
    assert torch.equal(density, other_density)
    assert (rgb != other_rgb).all()
    assert ((rgb > 0) & (rgb < 1)).all()


def test_gradients_reach_points_that_ask_for_them(field: NeuralBodyField, vertices: Tensor, points: Tensor) -> None:
    volumes = field.diffuse(vertices, _identity())
    gradients = []
    for evaluate in (field, lambda *inputs: _layer_by_layer(field, *inputs)):
        own_points = points.clone().requires_grad_()
        density, rgb = evaluate(volumes, own_points, _directions(500), 0)
        gradients += torch.autograd.grad(density.sum() + rgb.square().sum(), own_points, retain_graph=True)
    assert (gradients[0] != 0).any()
    assert_close(gradients[0], gradients[1])
