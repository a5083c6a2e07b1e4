"""Covariances by hand, the laws of a picture, and whom `rasterize` turns away."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from human_avatars.rasterization.gaussians import (
    Gaussians,
    PinholeCamera,
    covariances_from,
    isotropic_covariances,
    rasterize,
)
from human_avatars.transforms import (
    axis_angle_to_matrix,
    invert_rigid,
    rigid_from_rotation_translation,
    transform_points,
)

MakeGaussians = Callable[..., Gaussians]


def test_isotropic_covariances() -> None:
    assert_close(isotropic_covariances(torch.tensor([0.5, 2.0])), torch.stack([0.25 * torch.eye(3), 4 * torch.eye(3)]))


def test_covariances_of_turned_ellipsoids() -> None:
    half = 0.5**0.5
    scales = torch.tensor([[1.0, 2.0, 3.0]]).expand(4, 3)
    # No turn, then a quarter turn about z, y and x, with quaternions of any length.
    quats = torch.tensor([[2.0, 0, 0, 0], [half, 0, 0, half], [3.0, 0, 3.0, 0], [-half, -half, 0, 0]])
    diagonals = torch.tensor([[1.0, 4, 9], [4, 1, 9], [9, 4, 1], [1, 9, 4]])
    assert_close(covariances_from(scales, quats), torch.diag_embed(diagonals))


def test_covariances_follow_the_rotation() -> None:
    torch.manual_seed(0)
    axis, angle = torch.nn.functional.normalize(torch.randn(3), dim=0), torch.tensor(0.8)
    quat = torch.cat([(angle / 2).cos()[None], (angle / 2).sin() * axis])
    rotation, scales = axis_angle_to_matrix(angle * axis), torch.tensor([0.1, 0.5, 0.9])
    assert_close(covariances_from(scales[None], quat[None])[0], rotation @ scales.square().diag() @ rotation.T)


def test_moving_world_and_camera_together_changes_nothing(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    gaussians = make_gaussians()
    motion = rigid_from_rotation_translation(
        axis_angle_to_matrix(torch.tensor([0.5, -1.0, 0.7])), torch.tensor([0.3, -0.2, 0.4])
    )
    rotation = motion[:3, :3]
    moved = replace(
        gaussians,
        means=transform_points(motion, gaussians.means),
        covariances=rotation @ gaussians.covariances @ rotation.T,
    )
    following = replace(camera, world_to_camera=camera.world_to_camera @ invert_rigid(motion))
    before, after = rasterize(gaussians, camera), rasterize(moved, following)
    assert_close(after.colors, before.colors, atol=1e-3, rtol=0)
    assert_close(after.depth, before.depth, atol=1e-2, rtol=0)


def test_a_scene_of_another_size_gives_the_same_picture(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    gaussians, factor = make_gaussians(), 4.0
    larger = replace(gaussians, means=factor * gaussians.means, covariances=factor**2 * gaussians.covariances)
    world_to_camera = camera.world_to_camera.clone()
    world_to_camera[:3, 3] *= factor
    before, after = rasterize(gaussians, camera), rasterize(larger, replace(camera, world_to_camera=world_to_camera))
    # A power of two changes no digit.
    assert torch.equal(after.colors, before.colors)
    assert torch.equal(after.depth, factor * before.depth)


def test_the_order_of_the_gaussians_does_not_matter(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    gaussians = make_gaussians()
    order = torch.randperm(len(gaussians.means), generator=torch.Generator().manual_seed(0))
    shuffled = Gaussians(*(getattr(gaussians, name)[order] for name in ("means", "covariances", "opacities", "colors")))
    assert torch.equal(rasterize(shuffled, camera).colors, rasterize(gaussians, camera).colors)


def test_pixels_do_not_depend_on_where_the_picture_begins(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    gaussians = make_gaussians("needles")
    # Within a part of the picture, so that no Gaussian lies beyond the margins of one and within those of the other.
    kept = (transform_points(camera.world_to_camera, gaussians.means)[:, 2:] > 1).squeeze(-1)
    gaussians = Gaussians(
        gaussians.means[kept] * 0.3, gaussians.covariances[kept], gaussians.opacities[kept], gaussians.colors[kept]
    )
    shift = torch.zeros(3, 3)
    shift[0, 2], shift[1, 2] = -5, -3
    window = PinholeCamera(camera.world_to_camera, camera.intrinsics + shift, width=40, height=37)
    assert_close(
        rasterize(gaussians, window).colors, rasterize(gaussians, camera).colors[3:40, 5:45], atol=1e-5, rtol=0
    )


def test_black_is_the_background_by_default(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    gaussians = make_gaussians()
    assert torch.equal(rasterize(gaussians, camera).colors, rasterize(gaussians, camera, torch.zeros(3)).colors)


def test_more_dilation_blurs(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    gaussians = make_gaussians("needles")
    assert rasterize(gaussians, camera, dilation=2.0).alpha.sum() > rasterize(gaussians, camera).alpha.sum()


def test_double_precision_is_turned_away(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    gaussians = make_gaussians()
    doubles = Gaussians(
        *(getattr(gaussians, name).double() for name in ("means", "covariances", "opacities", "colors"))
    )
    with pytest.raises(ValueError, match="rasterize_reference"):
        rasterize(doubles, camera)


def test_other_devices_are_turned_away(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    gaussians = make_gaussians()
    elsewhere = Gaussians(
        *(getattr(gaussians, name).to("meta") for name in ("means", "covariances", "opacities", "colors"))
    )
    with pytest.raises(ValueError, match="meta"):
        rasterize(elsewhere, camera)


@pytest.mark.parametrize(("width", "height"), [(0, 4), (4, 0), (-1, 4)])
def test_a_camera_needs_pixels(width: int, height: int) -> None:
    with pytest.raises(ValueError, match=f"{width} x {height}"):
        PinholeCamera(torch.eye(4), torch.eye(3), width, height)
