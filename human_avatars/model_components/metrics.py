"""One evaluator for all methods: each published protocol of image quality is a named value."""

import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

ALEXNET_FILE = "alexnet-owt-7be5be79.pth"
"""Weights under LPIPS's linear heads, as torchvision names them."""
ALEXNET_MIN_SIZE = 31
"""Smallest image side, in pixels, that AlexNet's strides and pools leave anything of."""
DOWNLOAD_TIMEOUT = 10.0
"""Seconds without an answer after which the download of LPIPS's weights is given up."""
MIN_SQUARED_ERROR = 1e-10
"""Mean squared errors count as at least this: equal images read 100 dB, and every average stays finite."""


class AvatarMetrics:
    """Measures a rendered image against its photograph, by every protocol at once.

    Images are taken as they are, in [0, 1] by meaning but not clipped, which is what Neural Body's evaluator does;
    only LPIPS clips, its network being defined on images alone. Everything but LPIPS is computed in float64, as
    there. A value that an image cannot have (a body that is out of the picture, an image smaller than a window) is
    NaN, so every image has the same keys.

    The keys:

    - `psnr`: peak signal-to-noise ratio over the whole image, in dB.
    - `ssim`: structural similarity with the window of Wang et al. (2004), 11x11 Gaussian of sigma 1.5, population
      variance and data range 1, around every pixel of the whole image, mirrored at its border. It is torchmetrics'
      and so what nerfstudio's own methods report.
    - `psnr_box`: Neural Body's PSNR: over the pixels whose ray meets the body's padded box.
    - `ssim_box`: Neural Body's SSIM: black outside the same pixels, cropped to their bounding rectangle, a uniform
      7x7 window, sample variance, data range 1.
    - `ssim_box_range2`: the same with data range 2. That is what scikit-image assumed for floats when Neural Body's
      tables were made, and so what they hold; it flatters.
    - `psnr_whole_box`: PSNR over the whole image, both black outside the same pixels: Neural Body's whole-image
      variant (`eval_whole_img`), which many later papers quote. The empty surroundings raise it by about 6 dB.
    - `psnr_body`: PSNR over the silhouette's pixels; the one that a flat colour cannot please.
    - `lpips_alex`: learned perceptual distance (Zhang et al. 2018) with the AlexNet backbone over the whole image.
      Left out where the backbone's weights cannot be had; the first image decides for the whole run.
    """

    def __init__(self) -> None:
        self._lpips: Any = None
        self._lpips_decided = False

    @torch.no_grad()
    def image_metrics(
        self,
        rgb: Float[Tensor, "height width 3"],
        target: Float[Tensor, "height width 3"],
        mask_at_box: Bool[Tensor, "height width"],
        silhouette: Bool[Tensor, "height width"],
    ) -> dict[str, float]:
        """Measure one image.

        Args:
            rgb: The rendered colours.
            target: The photograph.
            mask_at_box: Pixels whose ray meets the body's padded box.
            silhouette: Pixels of the person.

        Returns:
            The values by the keys above.
        """
        images = _in_double(rgb), _in_double(target.to(rgb.device))
        mask_at_box, silhouette = mask_at_box.to(images[0].device), silhouette.to(images[0].device)
        boxed = images[0] * mask_at_box[..., None], images[1] * mask_at_box[..., None]
        rows, columns = bounding_rectangle(mask_at_box)
        cropped = boxed[0][rows, columns], boxed[1][rows, columns]
        gaussian = gaussian_window(size=11, sigma=1.5).to(images[0])
        mirrored = mirror_border(images[0], margin=5), mirror_border(images[1], margin=5)
        uniform = gaussian.new_full((7,), 1 / 7)
        values = {
            "psnr": psnr(*images),
            "ssim": structural_similarity(*mirrored, gaussian),
            "psnr_box": psnr(images[0][mask_at_box], images[1][mask_at_box]),
            "ssim_box": structural_similarity(*cropped, uniform, sample_variance=True),
            "ssim_box_range2": structural_similarity(*cropped, uniform, sample_variance=True, data_range=2.0),
            "psnr_whole_box": psnr(*boxed),
            "psnr_body": psnr(images[0][silhouette], images[1][silhouette]),
        }
        lpips = self._lpips_network()
        if lpips is not None:
            values["lpips_alex"] = _lpips_distance(lpips, rgb, target)
        return values

    def _lpips_network(self) -> Any:
        if not self._lpips_decided:
            self._lpips, self._lpips_decided = _load_lpips(), True
        return self._lpips


def psnr(rgb: Float[Tensor, "*pixels 3"], target: Float[Tensor, "*pixels 3"]) -> float:
    """Peak signal-to-noise ratio for a peak of 1.

    Args:
        rgb: The rendered colours.
        target: The photograph's.

    Returns:
        The ratio in dB, at most 100; NaN where there are no pixels.
    """
    if rgb.numel() == 0:
        return math.nan
    squared_error = torch.mean((rgb - target) ** 2).item()
    return -10 * math.log10(max(squared_error, MIN_SQUARED_ERROR))


def structural_similarity(
    rgb: Float[Tensor, "height width 3"],
    target: Float[Tensor, "height width 3"],
    window: Float[Tensor, " size"],
    sample_variance: bool = False,
    data_range: float = 1.0,
) -> float:
    """Structural similarity (Wang et al. 2004, Eq. 13), averaged over channels and the windows inside the image.

    Args:
        rgb: The rendered colours.
        target: The photograph's.
        window: Weights along one axis of the square window; they sum to one.
        sample_variance: Whether variances are the unbiased ones over a window's pixels.
        data_range: Difference between the largest and the smallest possible value.

    Returns:
        The similarity, 1 for equal images; NaN where the image is smaller than the window.
    """
    size = window.shape[0]
    if min(rgb.shape[:2]) < size:
        return math.nan
    products = (rgb, target, rgb * rgb, target * target, rgb * target)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = (window_means(product, window) for product in products)
    unbiased = size**2 / (size**2 - 1) if sample_variance else 1.0
    variance_x = unbiased * (mean_xx - mean_x**2)
    variance_y = unbiased * (mean_yy - mean_y**2)
    covariance = unbiased * (mean_xy - mean_x * mean_y)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (luminance * (2 * covariance + c2) / (variance_x + variance_y + c2)).mean().item()


def window_means(
    image: Float[Tensor, "height width channels"], window: Float[Tensor, " size"]
) -> Float[Tensor, "inner_height inner_width channels"]:
    """Weighted means over every square window that lies inside the image.

    Args:
        image: The image.
        window: Weights along one axis of the window.

    Returns:
        One mean per window, `size - 1` fewer along each axis.
    """
    weights = window.tolist()
    for axis in (0, 1):
        inner = image.shape[axis] - len(weights) + 1
        # Shifted sums: in float64 on a CPU ten times faster than torch's convolutions.
        means = weights[0] * image.narrow(axis, 0, inner)
        for shift, weight in enumerate(weights[1:], start=1):
            means.add_(image.narrow(axis, shift, inner), alpha=weight)
        image = means
    return image


def gaussian_window(size: int, sigma: float) -> Float[Tensor, " size"]:
    """Weights of a Gaussian window along one axis.

    Args:
        size: Pixels, an odd number.
        sigma: Standard deviation, in pixels.

    Returns:
        The weights, in float64; they sum to one.
    """
    offsets = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    return weights / weights.sum()


def mirror_border(
    image: Float[Tensor, "height width channels"], margin: int
) -> Float[Tensor, "outer_height outer_width channels"]:
    """Continue an image past its border by its mirror image.

    Args:
        image: The image.
        margin: Pixels to add on each side.

    Returns:
        The larger image; the image itself where it is too small to be mirrored that far.
    """
    if min(image.shape[:2]) <= margin:
        return image
    return torch.nn.functional.pad(image.permute(2, 0, 1), [margin] * 4, mode="reflect").permute(1, 2, 0)


def bounding_rectangle(mask: Bool[Tensor, "height width"]) -> tuple[slice, slice]:
    """The smallest rectangle that holds every set pixel; OpenCV's `boundingRect`.

    Args:
        mask: The pixels.

    Returns:
        Rows and columns; empty where no pixel is set.
    """
    rows, columns = mask.any(dim=1).nonzero().flatten().tolist(), mask.any(dim=0).nonzero().flatten().tolist()
    if not rows:
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _in_double(image: Float[Tensor, "height width 3"]) -> Float[Tensor, "height width 3"]:
    """The image in float64, on the CPU where its own device has none (Apple's MPS)."""
    return (image.cpu() if image.device.type == "mps" else image).double()


def _lpips_distance(lpips: Any, rgb: Tensor, target: Tensor) -> float:
    if min(rgb.shape[:2]) < ALEXNET_MIN_SIZE:
        return math.nan
    batches = (image.to(rgb.device, torch.float32).clamp(0, 1).permute(2, 0, 1)[None] for image in (rgb, target))
    distance = lpips.to(rgb.device)(*batches).item()
    lpips.reset()  # torchmetrics keeps every score otherwise
    return distance


def _load_lpips() -> Any:
    """torchmetrics' LPIPS, or None and one warning. The backbone is downloaded where it is not there yet."""
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    path = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET_FILE
    if not path.is_file():
        CONSOLE.print(f"Fetching the weights that LPIPS needs once (233 MB): {path}", markup=False, soft_wrap=True)
    try:
        with _socket_timeout(DOWNLOAD_TIMEOUT):
            return LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)
    except Exception as error:  # no network, or a damaged file, which can raise anything: not worth an evaluation
        state = "could not be read" if path.is_file() else "is not there and could not be downloaded"
        CONSOLE.print(
            f"LPIPS is left out of all results: {path} {state} ({type(error).__name__}: {error}).\n"
            f"Put {ALEXNET_FILE} from https://download.pytorch.org/models/{ALEXNET_FILE} into the folder {path.parent}"
            f"{'' if 'TORCH_HOME' in os.environ else ' (TORCH_HOME moves it)'}.",
            style="bold yellow",
            markup=False,
            soft_wrap=True,
        )
        return None


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Bound how long a silent network holds up what torch downloads: it sets no time limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
