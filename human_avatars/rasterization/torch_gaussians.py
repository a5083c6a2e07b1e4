"""The readable reference rasteriser: every pixel meets every Gaussian, in plain PyTorch and any precision."""

import torch
from jaxtyping import Float
from torch import Tensor

from human_avatars.rasterization.gaussians import FIELD_MARGIN, NEAR_PLANE, Gaussians, PinholeCamera, Rendering
from human_avatars.transforms import transform_points

MAX_ALPHA = 0.999
MIN_ALPHA = 1 / 255
MIN_TRANSMITTANCE = 1e-4


def rasterize_reference(
    gaussians: Gaussians,
    camera: PinholeCamera,
    background: Float[Tensor, " channels"] | None = None,
    dilation: float = 0.3,
) -> Rendering:
    """The same picture as `gaussians.rasterize`, by its definition: for tests and for reading, not for speed.

    Args:
        gaussians: What to draw, in any precision and on any device.
        camera: Where from.
        background: What shines through; black by default.
        dilation: Variance in square pixels added to every projected covariance.

    Returns:
        The picture; differentiable in everything.
    """
    centres, covariances, depths = _project(gaussians, camera, dilation)
    # Written so that NaN passes: a fault must reach the picture.
    drawn = (~((depths < NEAR_PLANE) | (torch.linalg.det(covariances) <= 0))).nonzero()[:, 0]
    order = drawn[torch.argsort(depths[drawn], stable=True)]
    centres, conics, depths = centres[order], torch.linalg.inv(covariances[order]), depths[order]
    opacities, colors = gaussians.opacities[order], gaussians.colors[order]
    if background is None:
        background = colors.new_zeros(colors.shape[1])
    x = torch.arange(camera.width, dtype=centres.dtype, device=centres.device) + 0.5
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    for i in range(camera.height):
        pixels = torch.stack([x, torch.full_like(x, i + 0.5)], dim=-1)
        weights, rest = _weights(pixels, centres, conics, opacities)
        alpha = 1 - rest
        hit = alpha > 0
        depth = torch.where(hit, weights @ depths / torch.where(hit, alpha, torch.ones_like(alpha)), 0 * alpha)
        rows.append((weights @ colors + rest[:, None] * background, alpha[:, None], depth[:, None]))
    picture, alpha, depth = (torch.stack(parts) for parts in zip(*rows, strict=True))
    return Rendering(picture, alpha, depth)


def _project(
    gaussians: Gaussians, camera: PinholeCamera, dilation: float
) -> tuple[Float[Tensor, "gaussians 2"], Float[Tensor, "gaussians 2 2"], Float[Tensor, " gaussians"]]:
    """Centres and covariances in the image, to first order (Zwicker et al. 2001), in pixels, and depths in metres."""
    world_to_camera = camera.world_to_camera.to(gaussians.means)
    intrinsics = camera.intrinsics.to(gaussians.means)
    focal, principal = intrinsics.diagonal()[:2], intrinsics[:2, 2]
    points = transform_points(world_to_camera, gaussians.means)
    depths = points[:, 2]
    slopes = points[:, :2] / depths[:, None]
    # Far outside the picture the first-order projection explodes: there it is the one at the margin.
    size = focal.new_tensor([camera.width, camera.height])
    margin = FIELD_MARGIN * 0.5 * size / focal
    held = slopes.clamp(-principal / focal - margin, (size - principal) / focal + margin)
    # d (f x / z) / d (x, y, z) = f / z (1, 0, -x / z), and likewise for y.
    shear = torch.cat([torch.eye(2).to(held).expand(len(held), 2, 2), -held[:, :, None]], dim=-1)
    projection = (focal / depths[:, None])[:, :, None] * shear @ world_to_camera[:3, :3]
    symmetric = 0.5 * (gaussians.covariances + gaussians.covariances.transpose(-1, -2))
    covariances = projection @ symmetric @ projection.transpose(-1, -2) + dilation * torch.eye(2).to(held)
    return focal * slopes + principal, covariances, depths


def _weights(
    pixels: Float[Tensor, "pixels 2"],
    centres: Float[Tensor, "gaussians 2"],
    conics: Float[Tensor, "gaussians 2 2"],
    opacities: Float[Tensor, " gaussians"],
) -> tuple[Float[Tensor, "pixels gaussians"], Float[Tensor, " pixels"]]:
    """How much of each pixel's colour is each Gaussian's, front to back, and how much is the background's."""
    offsets = pixels[:, None] - centres
    sigma = 0.5 * torch.einsum("pgi,gij,pgj->pg", offsets, conics, offsets)
    alpha = (opacities * torch.exp(-sigma)).clamp(max=MAX_ALPHA)
    alpha = torch.where((alpha < MIN_ALPHA) | (sigma < 0), torch.zeros_like(alpha), alpha)
    # From the first Gaussian on that would leave too little light, none is drawn.
    alpha = torch.where(torch.cumprod(1 - alpha, dim=1) <= MIN_TRANSMITTANCE, torch.zeros_like(alpha), alpha)
    after = torch.cumprod(1 - alpha, dim=1)
    before = torch.cat([torch.ones_like(pixels[:, :1]), after], dim=1)
    return alpha * before[:, :-1], before[:, -1]
