"""Rays are bounded by the box of their own body, and by what bounded them before."""

import torch
from nerfstudio.cameras.rays import RayBundle
from torch.testing import assert_close

from human_avatars.model_components.body_collider import collide_with_bodies, rays_that_hit

UNIT_BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])


def _rays_along_x(heights: list[float], start: float = -5.0) -> RayBundle:
    origins = torch.tensor([[start, height, 0.0] for height in heights])
    directions = torch.tensor([[1.0, 0.0, 0.0]]).expand_as(origins).contiguous()
    return RayBundle(origins=origins, directions=directions, pixel_area=torch.ones(len(heights), 1))


def test_each_ray_meets_its_own_box() -> None:
    rays = collide_with_bodies(_rays_along_x([0.0, 0.0, 1.5]), torch.stack([UNIT_BOX, UNIT_BOX * 2, UNIT_BOX]))
    assert rays.nears is not None
    assert rays.fars is not None
    assert_close(rays.nears[:2, 0], torch.tensor([4.0, 3.0]))
    assert_close(rays.fars[:2, 0], torch.tensor([6.0, 7.0]))
    assert rays_that_hit(rays).tolist() == [0, 1]


def test_a_camera_inside_the_box_starts_at_itself() -> None:
    rays = collide_with_bodies(_rays_along_x([0.0], start=0.5), UNIT_BOX[None])
    assert rays.nears is not None
    assert rays.fars is not None
    assert_close(rays.nears, torch.zeros(1, 1))
    assert_close(rays.fars, torch.tensor([[0.5]]))


def test_a_box_behind_the_camera_is_missed() -> None:
    assert len(rays_that_hit(collide_with_bodies(_rays_along_x([0.0], start=5.0), UNIT_BOX[None]))) == 0


def test_earlier_bounds_are_narrowed_only() -> None:
    cropped = _rays_along_x([0.0, 0.0])
    cropped.nears, cropped.fars = torch.tensor([[4.5], [0.0]]), torch.tensor([[5.0], [100.0]])
    rays = collide_with_bodies(cropped, UNIT_BOX.expand(2, 2, 3))
    assert_close(torch.cat([rays.nears, rays.fars], -1), torch.tensor([[4.5, 5.0], [4.0, 6.0]]))  # pyright: ignore[reportArgumentType, reportCallIssue]
