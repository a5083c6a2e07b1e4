"""The training loss of 3D Gaussian Splatting (Kerbl et al. 2023): absolute difference and structural similarity."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from human_avatars.compiled_loops import run_in_parts
from human_avatars.model_components.metrics import gaussian_window

WINDOW_SIZE = 11
"""Pixels along one side of the window (Wang et al. 2004, Sec. III-B)."""
WINDOW_SIGMA = 1.5
"""Standard deviation of the window, in pixels (the same place)."""
C1, C2 = 0.01**2, 0.03**2
"""Wang et al. (2004), Eq. 13, for data range 1."""


def photometric_loss(
    rgb: Float[Tensor, "height width 3"],
    target: Float[Tensor, "height width 3"],
    valid: Bool[Tensor, "height width"] | None,
    ssim_weight: float,
) -> Float[Tensor, ""]:
    """(1 - w) mean|rgb - target| + w (1 - SSIM): Kerbl et al. (2023), Eq. 7.

    SSIM has a Gaussian window of 11x11 pixels around every pixel, with zeros outside the image as in the original, and
    is averaged over pixels and channels. Float32 images on a CPU are compared by compiled loops, which give the same
    bits for any number of threads; others, and targets that need a gradient, by PyTorch's convolutions.

    Args:
        rgb: The rendered image, in [0, 1] by meaning but not clipped.
        target: The photograph.
        valid: Pixels that count; in the others both images are taken for equal. None if all count.
        ssim_weight: w, between 0 and 1; the original has 0.2.

    Returns:
        The loss; 0 for an image without pixels, NaN as soon as a pixel that counts is NaN.
    """
    if rgb.numel() == 0:
        return rgb.sum()
    is_compiled = rgb.device.type == "cpu" and rgb.dtype == target.dtype == torch.float32
    if is_compiled and not (torch.is_grad_enabled() and target.requires_grad):
        return _CompiledLoss.apply(rgb, target, valid, ssim_weight, torch.is_grad_enabled() and rgb.requires_grad)
    return _torch_loss(rgb, target, valid, ssim_weight)


class _CompiledLoss(torch.autograd.Function):
    """The gradient image comes with the loss, so that backward has only to scale it."""

    @staticmethod
    def forward(
        ctx: Any, rgb: Tensor, target: Tensor, valid: Tensor | None, ssim_weight: float, with_gradient: bool
    ) -> Tensor:
        from human_avatars.model_components.photometric_loss_kernels import sweep_rows

        gradient = rgb.new_empty(rgb.shape)
        sums = np.empty((len(rgb), 2))
        weights = np.array([1 - ssim_weight, -ssim_weight]) / rgb.numel()
        run_in_parts(
            sweep_rows,
            _rows_of(rgb),
            _rows_of(target),
            np.empty((0, 0), np.bool_) if valid is None else valid.contiguous().numpy(),
            gaussian_window(WINDOW_SIZE, WINDOW_SIGMA).float().numpy(),
            weights.astype(np.float32),
            with_gradient,
            sums,
            _rows_of(gradient),
        )
        ctx.save_for_backward(gradient)
        return rgb.new_tensor(ssim_weight + weights @ sums.sum(axis=0))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, None, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = ctx.saved_tensors
        # The gradient of a plain sum of losses is 1, and a pass over the image is not free.
        return gradient if grad_loss == 1 else grad_loss * gradient, None, None, None, None


def _rows_of(image: Tensor) -> np.ndarray:
    """The image's numbers, one line for each row of pixels."""
    return image.detach().contiguous().view(len(image), -1).numpy()


def _torch_loss(rgb: Tensor, target: Tensor, valid: Tensor | None, ssim_weight: float) -> Tensor:
    """The same formula in PyTorch."""
    if valid is not None:
        rgb = torch.where(valid[..., None], rgb, target)
    return (1 - ssim_weight) * (rgb - target).abs().mean() + ssim_weight * (1 - _torch_similarity(rgb, target))


def _torch_similarity(rgb: Tensor, target: Tensor) -> Tensor:
    x, y = rgb.permute(2, 0, 1), target.permute(2, 0, 1)
    # One group for each channel: CUDA then computes in full float32, where other convolutions round to TensorFloat-32.
    maps = torch.cat([x, y, x * x, y * y, x * y])
    window = gaussian_window(WINDOW_SIZE, WINDOW_SIGMA).to(maps).expand(len(maps), 1, 1, -1)
    # Variances are small differences, which half precision would lose.
    with torch.autocast(maps.device.type, enabled=False):
        means = F.conv2d(maps[None], window, padding=(0, WINDOW_SIZE // 2), groups=len(maps))
        means = F.conv2d(means, window.transpose(2, 3), padding=(WINDOW_SIZE // 2, 0), groups=len(maps))
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = means[0].chunk(5)
    variances = mean_xx - mean_x**2 + mean_yy - mean_y**2
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return (luminance * (2 * (mean_xy - mean_x * mean_y) + C2) / (variances + C2)).mean()
