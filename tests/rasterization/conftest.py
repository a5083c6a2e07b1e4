"""Small scenes of Gaussians that the tests of this folder share."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor
from typing_extensions import assert_never

from human_avatars.rasterization.gaussians import Gaussians, PinholeCamera, covariances_from, isotropic_covariances
from human_avatars.transforms import axis_angle_to_matrix, rigid_from_rotation_translation

Shape = Literal["balls", "ellipsoids", "needles", "matrices"]
"""How the covariances are made; "matrices" are given as such."""


@pytest.fixture
def camera() -> PinholeCamera:
    """A tilted camera 3 m away; its picture is no multiple of a tile and its principal point off the centre."""
    rotation = axis_angle_to_matrix(torch.tensor([0.12, 0.4, -0.08]))
    return PinholeCamera(
        world_to_camera=rigid_from_rotation_translation(rotation, torch.tensor([0.05, -0.02, 3.0])),
        intrinsics=torch.tensor([[70.0, 0.0, 27.3], [0.0, 66.0, 19.1], [0.0, 0.0, 1.0]]),
        width=53,
        height=43,
    )


@pytest.fixture
def make_gaussians() -> Callable[..., Gaussians]:
    """A cloud around the origin that leaves the picture on all sides, reaches behind the camera and hides itself."""

    def make(shape: Shape = "ellipsoids", count: int = 300, channels: int = 3, seed: int = 0) -> Gaussians:
        generator = torch.Generator().manual_seed(seed)
        means = torch.randn(count, 3, generator=generator) * torch.tensor([1.0, 0.8, 1.4])
        return Gaussians(
            means=means,
            covariances=covariances(shape, count, generator),
            opacities=torch.rand(count, generator=generator).sqrt(),
            colors=torch.rand(count, channels, generator=generator),
        )

    return make


def covariances(shape: Shape, count: int, generator: torch.Generator) -> Tensor:
    """Covariances of standard deviations around 5 cm."""
    if shape == "balls":
        return isotropic_covariances(0.05 * torch.rand(count, generator=generator) + 0.02)
    quats = torch.randn(count, 4, generator=generator)
    if shape == "ellipsoids":
        return covariances_from(0.05 * torch.randn(count, 3, generator=generator).mul(0.6).exp(), quats)
    if shape == "needles":
        return covariances_from(torch.tensor([[0.3, 0.004, 0.004]]).expand(count, 3), quats)
    if shape == "matrices":
        axes = 0.04 * torch.randn(count, 3, 3, generator=generator)
        return axes @ axes.mT
    assert_never(shape)
