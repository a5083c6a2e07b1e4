"""Boxes and rays, worked by hand."""

import pytest
import torch
from torch.testing import assert_close

from human_avatars.body_models.bounds import intersect_box, padded_box

CUBE = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])

HITS = [
    # origin, direction, near, far
    ((-2.0, 0.5, 0.5), (1.0, 0.0, 0.0), 2.0, 3.0),
    ((0.5, 4.0, 0.5), (0.0, -1.0, 0.0), 3.0, 4.0),
    ((-2.0, 0.5, 0.5), (4.0, 0.0, 0.0), 0.5, 0.75),
    ((-2.0, 0.5, 0.5), (0.1, 0.0, 0.0), 20.0, 30.0),
    ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0), 1.0, 2.0),
    # Enters through x = 0 at (0, 0.25), leaves through y = 1 at (0.75, 1).
    ((-0.25, 0.0, 0.5), (1.0, 1.0, 0.0), 0.25, 1.0),
    # From inside.
    ((0.25, 0.5, 0.5), (1.0, 0.0, 0.0), 0.0, 0.75),
    ((0.25, 0.5, 0.5), (-1.0, 0.0, 0.0), 0.0, 0.25),
]

MISSES = [
    ((-2.0, 1.5, 0.5), (1.0, 0.0, 0.0)),
    ((-2.0, -0.01, 0.5), (1.0, 0.0, 0.0)),
    ((-2.0, 0.5, 0.5), (0.0, 1.0, 0.0)),
    ((-2.0, 0.5, 0.5), (1.0, 1.0, 0.0)),
    # The box lies behind.
    ((-2.0, 0.5, 0.5), (-1.0, 0.0, 0.0)),
    ((3.0, 3.0, 3.0), (1.0, 1.0, 1.0)),
]


@pytest.mark.parametrize(("origin", "direction", "near", "far"), HITS)
def test_rays_cross_the_unit_cube_where_they_should(
    origin: tuple[float, ...], direction: tuple[float, ...], near: float, far: float
) -> None:
    nears, fars = intersect_box(torch.tensor([origin]), torch.tensor([direction]), CUBE)
    assert_close(nears, torch.tensor([near]), rtol=0, atol=1e-4)
    assert_close(fars, torch.tensor([far]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("origin", "direction"), MISSES)
def test_rays_that_miss_have_near_beyond_far(origin: tuple[float, ...], direction: tuple[float, ...]) -> None:
    nears, fars = intersect_box(torch.tensor([origin]), torch.tensor([direction]), CUBE)
    assert nears >= fars


def test_points_between_near_and_far_are_those_in_the_box() -> None:
    generator = torch.Generator().manual_seed(0)
    origins = torch.randn(500, 3, generator=generator, dtype=torch.float64) * 2
    directions = torch.randn(500, 3, generator=generator, dtype=torch.float64) - origins
    box = torch.tensor([[-0.5, -1.0, -0.2], [0.5, 1.5, 0.3]], dtype=torch.float64)
    nears, fars = intersect_box(origins, directions, box)
    steps = torch.linspace(0, 3, 2001, dtype=torch.float64)
    points = origins[:, None] + steps[:, None] * directions[:, None]
    inside = ((points >= box[0]) & (points <= box[1])).all(-1)
    between = (steps >= nears[:, None]) & (steps <= fars[:, None])
    assert 50 < inside.any(-1).sum() < 450
    assert (inside == between).float().mean() > 0.99999
    assert (nears < fars)[inside.any(-1)].all()


def test_each_ray_may_have_its_own_box() -> None:
    origins = torch.tensor([[-2.0, 0.5, 0.5], [-2.0, 0.5, 0.5]])
    directions = torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    boxes = torch.stack([CUBE, CUBE + torch.tensor([10.0, 0.0, 0.0])])
    nears, fars = intersect_box(origins, directions, boxes)
    assert_close(nears, torch.tensor([2.0, 6.0]))
    assert_close(fars, torch.tensor([3.0, 6.5]))


def test_axis_parallel_rays_stay_finite() -> None:
    directions = torch.cat([torch.eye(3), -torch.eye(3)])
    nears, fars = intersect_box(torch.tensor([[0.3, 0.4, 5.0]]).expand(6, 3), directions, CUBE)
    assert nears.isfinite().all()
    assert fars.isfinite().all()
    assert (nears < fars).tolist() == [False, False, False, False, False, True]


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_padding_grows_each_axis_by_its_own_margin(batch: tuple[int, ...]) -> None:
    points = torch.tensor([[0.0, 5.0, -1.0], [2.0, 3.0, 1.0], [1.0, 4.0, 0.0]]).expand(*batch, 3, 3)
    expected = torch.tensor([[0.0, 2.75, -1.5], [2.0, 5.25, 1.5]]).expand(*batch, 2, 3)
    assert_close(padded_box(points, (0.0, 0.25, 0.5)), expected)
