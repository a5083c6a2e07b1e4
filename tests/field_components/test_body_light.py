"""The light on a person: what a fresh one does, values worked by hand, and laws of light."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from human_avatars.field_components.body_light import DARKEST, DISPLAY_GAMMA, BodyLight, even_directions
from human_avatars.transforms import axis_angle_to_matrix


def _normals(count: int = 400) -> Tensor:
    normals = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(normals, dim=-1)


def _uneven_light(num_directions: int = 32) -> BodyLight:
    light = BodyLight(num_directions)
    with torch.no_grad():
        light.log_radiance.add_(torch.randn(num_directions, 3, generator=torch.Generator().manual_seed(1)))
    return light


def _visibility(num_directions: int = 32) -> Tensor:
    return torch.rand(400, num_directions, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("num_directions", "tolerance"), [(16, 0.05), (32, 0.02), (256, 0.002)])
def test_a_fresh_light_changes_nothing_where_nothing_shadows(num_directions: int, tolerance: float) -> None:
    factors = BodyLight(num_directions)(_normals(), torch.ones(400, num_directions))
    assert_close(factors, torch.ones(400, 3), atol=tolerance, rtol=0)


def test_full_shadow_is_dark() -> None:
    factors = _uneven_light()(_normals(), torch.zeros(400, 32))
    assert_close(factors, torch.full((400, 3), DARKEST ** (1 / DISPLAY_GAMMA)))
    assert factors.max() < 0.02


def test_one_direction_by_hand() -> None:
    light = BodyLight(1)
    with torch.no_grad():
        light.directions.copy_(torch.tensor([[0.0, 0.0, 1.0]]))
        light.log_radiance.copy_(torch.tensor([[1.0, 2.0, 4.0]]).log())
    # Along the light, at 60 degrees to it, half shadowed so, and turned away.
    slanted = [0.0, math.sin(math.pi / 3), 0.5]
    normals = torch.tensor([[0.0, 0.0, 1.0], slanted, slanted, [0.0, 0.0, -1.0]])
    factors = light(normals, torch.tensor([[1.0], [1.0], [0.5], [1.0]]))
    irradiance = torch.tensor([[1.0, 2.0, 4.0], [0.5, 1.0, 2.0], [0.25, 0.5, 1.0], [0.0, 0.0, 0.0]])
    assert_close(factors, (irradiance + 1e-4) ** (1 / 2.2))


def test_more_light_is_brighter() -> None:
    light, normals, visibility = _uneven_light(), _normals(), _visibility()
    factors = light(normals, visibility)
    assert bool((light(normals, visibility * 1.1) > factors).all())
    for direction in range(0, 32, 8):
        with torch.no_grad():
            light.log_radiance[direction] += 0.3
        brighter = light(normals, visibility)
        is_seen = normals @ light.directions[direction] > 0
        assert bool((brighter[is_seen] > factors[is_seen]).all())
        assert_close(brighter[~is_seen], factors[~is_seen])
        factors = brighter


def test_light_that_turns_with_the_surface_changes_nothing() -> None:
    light, normals, visibility = _uneven_light(), _normals(), _visibility()
    before = light(normals, visibility)
    turn = axis_angle_to_matrix(torch.tensor([0.3, -1.2, 0.8]))
    assert (light(normals @ turn.mT, visibility) - before).abs().max() > 0.1
    light.directions.copy_(light.directions @ turn.mT)
    assert_close(light(normals @ turn.mT, visibility), before)


@pytest.mark.parametrize("seen", [0.0, 1.0])
def test_gradients_are_finite_in_full_shadow(seen: float) -> None:
    light = _uneven_light()
    normals = _normals().requires_grad_()
    visibility = torch.full((400, 32), seen, requires_grad=True)
    light(normals, visibility).sum().backward()
    for tensor in (light.log_radiance, normals, visibility):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
    # Shadow that lifts must be felt, or it would be dark for ever.
    assert visibility.grad is not None
    assert visibility.grad.abs().max() > 0


def test_checkpoints_hold_the_radiance_alone() -> None:
    assert set(BodyLight(8).state_dict()) == {"log_radiance"}


@pytest.mark.parametrize("count", [1, 16, 32, 200])
def test_directions_are_unit_vectors_spread_evenly(count: int) -> None:
    directions = even_directions(count)
    assert_close(directions.norm(dim=-1), torch.ones(count))
    if count == 1:
        return
    assert directions.mean(0).norm() < 0.01
    # On an even sphere the mean square along each axis is a third, and no axis goes with another.
    assert_close(directions.T @ directions / count, torch.eye(3) / 3, atol=0.02, rtol=0)
    between = (directions @ directions.T).fill_diagonal_(-1).amax(-1).clamp(max=1).acos()
    # As many circles of that radius would cover the sphere.
    spacing = 4 / math.sqrt(count)
    assert between.min() > 0.6 * spacing
    assert between.max() < 1.2 * spacing
