"""Points that follow a surface: where they are, and what they tell of its motion."""

import pytest
import torch
from torch.testing import assert_close

from human_avatars.field_components import surface_motion
from human_avatars.field_components.surface_motion import follow_surface, nearest_vertices

VERTICES = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])


def test_points_stay_and_their_gradient_goes_to_the_nearest_vertex() -> None:
    vertices = VERTICES.clone().requires_grad_()
    points = torch.tensor([[0.1, 0.2, 0.0], [0.9, 0.0, 0.3], [0.8, 0.0, 0.0]])
    followed = follow_surface(points, vertices)
    assert followed.equal(points)
    gradient = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    followed.backward(gradient)
    # What rises towards +x sinks at a fixed place when it is moved to +x.
    assert_close(vertices.grad, torch.tensor([[-1.0, 0.0, 0.0], [0.0, -2.0, -3.0]]))


def test_a_field_that_moves_with_its_surface_has_the_numerical_gradient() -> None:
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shift = torch.zeros(3, dtype=torch.float64, requires_grad=True)

    def field(points: torch.Tensor, surface: torch.Tensor) -> torch.Tensor:
        return torch.sin(3 * (points - surface[0])).sum()

    vertices = VERTICES.double() + shift
    field(follow_surface(points, vertices), vertices.detach()).backward()
    numerical = torch.autograd.functional.jacobian(lambda moved: field(points, VERTICES + moved), shift.detach())
    assert_close(shift.grad, numerical)


@pytest.mark.parametrize("at_once", [7, 1000])
def test_both_searches_find_the_same(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    points, vertices = torch.randn(300, 3, generator=generator), torch.randn(100, 3, generator=generator)
    found = nearest_vertices(points, vertices)
    assert_close(found, torch.cdist(points, vertices).argmin(-1))
    monkeypatch.setattr(surface_motion, "POINTS_AT_ONCE", at_once)
    assert_close(surface_motion._search_all(points, vertices), found)
    assert surface_motion._search_all(points[:0], vertices).shape == (0,)
