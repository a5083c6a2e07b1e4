"""The reference rasteriser: pixels worked by hand, and its gradients against finite differences."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from human_avatars.rasterization.gaussians import NEAR_PLANE, Gaussians, PinholeCamera, isotropic_covariances
from human_avatars.rasterization.torch_gaussians import rasterize_reference

DOUBLE = torch.float64


def gaussians_on_axis(depths: list[float], opacities: list[float], radius: float = 0.1) -> Gaussians:
    """Balls along the camera's axis; the colour of ball i is the i-th unit vector."""
    count = len(depths)
    means = torch.zeros(count, 3, dtype=DOUBLE)
    means[:, 2] = torch.tensor(depths)
    return Gaussians(
        means,
        isotropic_covariances(torch.full((count,), radius, dtype=DOUBLE)),
        torch.tensor(opacities, dtype=DOUBLE),
        torch.eye(count, dtype=DOUBLE),
    )


@pytest.fixture
def camera() -> PinholeCamera:
    """A camera at the origin whose axis passes through the centre of pixel (row 16, column 20)."""
    intrinsics = torch.tensor([[100.0, 0.0, 20.5], [0.0, 100.0, 16.5], [0.0, 0.0, 1.0]])
    return PinholeCamera(torch.eye(4), intrinsics, width=41, height=33)


def test_one_gaussian(camera: PinholeCamera) -> None:
    rendering = rasterize_reference(
        gaussians_on_axis([2.0], [0.8]), camera, background=torch.tensor([0.5], dtype=DOUBLE)
    )
    # A radius of 0.1 m at 2 m is 5 pixels wide, and the dilation adds 0.3 square pixels.
    variance = 25.3
    for column in (20, 25, 36):
        alpha = 0.8 * math.exp(-((column - 20) ** 2) / 2 / variance)
        assert_close(rendering.alpha[16, column].item(), alpha)
        assert_close(rendering.colors[16, column].item(), alpha + 0.5 * (1 - alpha))
        assert_close(rendering.depth[16, column].item(), 2.0)
    # 17 pixels away the alpha is 0.8 exp(-289 / 50.6) = 0.0026, less than 1/255.
    for column in (3, 37):
        assert rendering.alpha[16, column] == 0
        assert rendering.colors[16, column] == 0.5
        assert rendering.depth[16, column] == 0


def test_two_gaussians_blend_front_to_back_whatever_their_order(camera: PinholeCamera) -> None:
    rendering = rasterize_reference(gaussians_on_axis([3.0, 2.0], [0.9, 0.5]), camera)
    assert_close(rendering.colors[16, 20], torch.tensor([0.45, 0.5], dtype=DOUBLE))
    assert_close(rendering.alpha[16, 20].item(), 0.95)
    assert_close(rendering.depth[16, 20].item(), (0.5 * 2 + 0.45 * 3) / 0.95)


def test_a_pixel_is_finished_before_too_little_light_is_left(camera: PinholeCamera) -> None:
    rendering = rasterize_reference(gaussians_on_axis([1.0, 2.0, 3.0], [1.0, 0.95, 0.5]), camera)
    # The first is held at 0.999; the second would leave 0.001 * 0.05, and then the third is not reached either.
    assert_close(rendering.colors[16, 20], torch.tensor([0.999, 0.0, 0.0], dtype=DOUBLE))
    assert_close(rendering.alpha[16, 20].item(), 0.999)


def test_gaussians_before_the_near_plane_are_not_drawn(camera: PinholeCamera) -> None:
    rendering = rasterize_reference(gaussians_on_axis([-1.0, 0.0, 0.9 * NEAR_PLANE], [0.9, 0.9, 0.9]), camera)
    assert not rendering.alpha.any()
    assert not rendering.depth.any()
    assert rasterize_reference(gaussians_on_axis([1.1 * NEAR_PLANE], [0.9]), camera).alpha.any()


def test_distortion_stops_growing_outside_the_picture() -> None:
    intrinsics = torch.tensor([[10.0, 0.0, 10.0], [0.0, 10.0, 10.0], [0.0, 0.0, 1.0]])
    camera = PinholeCamera(torch.eye(4), intrinsics, width=20, height=20)
    # At x / z = 2 the slope is held at 1 + 0.3: the spread along x is 10 / 5 sqrt(0.5^2 + (1.3 * 0.5)^2).
    gaussian = Gaussians(
        torch.tensor([[10.0, 0.0, 5.0]], dtype=DOUBLE),
        isotropic_covariances(torch.tensor([0.5], dtype=DOUBLE)),
        torch.ones(1, dtype=DOUBLE),
        torch.ones(1, 1, dtype=DOUBLE),
    )
    variance_x, variance_y = 4 * (0.25 + 1.3**2 * 0.25) + 30, 4 * 0.25 + 30
    rendering = rasterize_reference(gaussian, camera, dilation=30.0)
    assert_close(rendering.alpha[9, 19].item(), math.exp(-0.5 * (10.5**2 / variance_x + 0.5**2 / variance_y)))


def test_gradients_match_finite_differences() -> None:
    torch.manual_seed(0)
    intrinsics = torch.tensor([[6.0, 0.0, 3.4], [0.0, 7.0, 2.3], [0.0, 0.0, 1.0]])
    camera = PinholeCamera(torch.eye(4), intrinsics, width=6, height=5)
    axes = 0.3 * torch.randn(4, 3, 3, dtype=DOUBLE)
    inputs = [
        torch.cat([torch.randn(4, 2, dtype=DOUBLE) * 0.8, 2 + torch.rand(4, 1, dtype=DOUBLE)], dim=-1),
        axes @ axes.mT,
        0.2 + 0.6 * torch.rand(4, dtype=DOUBLE),
        torch.rand(4, 2, dtype=DOUBLE),
        torch.rand(2, dtype=DOUBLE),
    ]

    def picture(*inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rendering = rasterize_reference(Gaussians(*inputs[:4]), camera, inputs[4])
        return rendering.colors, rendering.alpha, rendering.depth

    assert torch.autograd.gradcheck(picture, [tensor.requires_grad_() for tensor in inputs], atol=1e-6)
