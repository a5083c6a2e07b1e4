"""3D Gaussians, the camera that looks at them, and their picture."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

NEAR_PLANE = 0.01
"""Gaussians whose centre lies nearer to the camera's plane than this, in metres, are not drawn."""
FIELD_MARGIN = 0.3
"""How far outside the picture, in halves of its size, a Gaussian's distortion still follows its position (gsplat)."""


@dataclass(frozen=True)
class Gaussians:
    """Coloured 3D Gaussians in world space.

    A Gaussian with a NaN in its mean, covariance or opacity makes the whole picture NaN, and a NaN colour at least the
    pixels that it touches: a training run then notices, where a Gaussian silently left out would hide the fault.
    """

    means: Float[Tensor, "gaussians 3"]
    """Centres, in metres."""
    covariances: Float[Tensor, "gaussians 3 3"]
    """Symmetric covariances, in square metres; of any other matrix the symmetric part counts."""
    opacities: Float[Tensor, " gaussians"]
    """Opacity at the centre, in [0, 1]."""
    colors: Float[Tensor, "gaussians channels"]
    """Any number of features; where they are an image's, the first three are red, green and blue."""


@dataclass(frozen=True)
class PinholeCamera:
    """An undistorted camera. It receives no gradient: moving it is moving the Gaussians the other way."""

    world_to_camera: Float[Tensor, "4 4"]
    """OpenCV axes: x right, y down, z forward; metres."""
    intrinsics: Float[Tensor, "3 3"]
    """Focal lengths and principal point in pixels; the centre of pixel (row i, column j) is at (j + 0.5, i + 0.5)."""
    width: int
    """Columns of the picture."""
    height: int
    """Rows of the picture."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a camera needs at least one pixel, but its size is {self.width} x {self.height}")


@dataclass(frozen=True)
class Rendering:
    """What a camera sees."""

    colors: Float[Tensor, "height width channels"]
    """Composited over the background."""
    alpha: Float[Tensor, "height width 1"]
    """How much of the background is covered, in [0, 1]."""
    depth: Float[Tensor, "height width 1"]
    """Expected z-depth of what was hit, sum(w z) / sum(w), in metres; 0 where nothing is hit."""


def isotropic_covariances(radii: Float[Tensor, " gaussians"]) -> Float[Tensor, "gaussians 3 3"]:
    """Covariances of balls.

    Args:
        radii: Standard deviations, in metres.

    Returns:
        Covariances, in square metres.
    """
    return radii.square()[:, None, None] * torch.eye(3, dtype=radii.dtype, device=radii.device)


def covariances_from(
    scales: Float[Tensor, "gaussians 3"], quats: Float[Tensor, "gaussians 4"]
) -> Float[Tensor, "gaussians 3 3"]:
    """Covariances `R diag(s^2) R^T` of ellipsoids (Kerbl et al. 2023, Eq. 6).

    Args:
        scales: Standard deviations along the ellipsoids' own axes, in metres.
        quats: Rotations of those axes as quaternions w, x, y, z of any length but zero.

    Returns:
        Covariances, in square metres.
    """
    w, x, y, z = F.normalize(quats, dim=-1).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=-1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=-1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    axes = torch.stack(rows, dim=-2) * scales[:, None, :]
    return axes @ axes.transpose(-1, -2)


def rasterize(
    gaussians: Gaussians,
    camera: PinholeCamera,
    background: Float[Tensor, " channels"] | None = None,
    dilation: float = 0.3,
) -> Rendering:
    """Draw Gaussians: every pixel composites, front to back, the Gaussians that its centre lies in.

    A Gaussian's opacity in a pixel is `min(0.999, opacity exp(-d^2 / 2))`, d being the Mahalanobis distance from its
    projected centre; below 1/255 it is skipped, and a pixel is finished before the Gaussian that would leave it no
    more than 1e-4 of the light (Kerbl et al. 2023, Sec. 6 and Appendix C). Differentiable in means, covariances,
    opacities, colours and background. On CUDA gsplat draws, and its version 1.4 cuts Gaussians off at three standard
    deviations, which changes a pixel by at most 0.011 of a Gaussian's opacity.

    Args:
        gaussians: What to draw; float32. The device of its means decides who draws: compiled loops on the CPU, where
            pictures and gradients do not depend on the number of threads, or gsplat on CUDA.
        camera: Where from.
        background: What shines through; black by default.
        dilation: Variance in square pixels added to every projected covariance, so that none falls between pixels.

    Returns:
        The picture.

    Raises:
        ValueError: The Gaussians are not float32, or lie on a device that nobody here draws on.
        RuntimeError: gsplat is missing or cannot be compiled.
    """
    means = gaussians.means
    precisions = {tensor.dtype for tensor in (means, gaussians.covariances, gaussians.opacities, gaussians.colors)}
    if precisions != {torch.float32}:
        found = ", ".join(map(str, precisions))
        raise ValueError(
            f"rasterize draws float32 Gaussians, but these are {found}: convert them, or call "
            "human_avatars.rasterization.torch_gaussians.rasterize_reference, which takes any precision"
        )
    background = means.new_zeros(gaussians.colors.shape[1]) if background is None else background.to(means)
    if means.device.type == "cpu":
        from human_avatars.rasterization.numba_gaussians import rasterize_on_cpu

        return rasterize_on_cpu(gaussians, camera, background, dilation)
    if means.device.type == "cuda":
        from human_avatars.rasterization.gsplat_gaussians import rasterize_on_cuda

        return rasterize_on_cuda(gaussians, camera, background, dilation)
    raise ValueError(f"Gaussians are drawn on cpu or cuda, but these lie on {means.device}: move them")
