"""Pictures and labels as image files."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

JPEG_QUALITY = 95


def write_jpeg(path: Path, colours: UInt8[np.ndarray, "height width 3"]) -> None:
    """Write a photograph as JPEG files have them, with a little loss.

    Args:
        path: The file.
        colours: RGB.

    Raises:
        OSError: The file cannot be written.
    """
    import cv2

    _write(path, cv2.cvtColor(colours, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def write_png(path: Path, pixels: UInt8[np.ndarray, "height width *channels"]) -> None:
    """Write a photograph or a label map without loss.

    Args:
        path: The file.
        pixels: RGB, or one value per pixel.

    Raises:
        OSError: The file cannot be written.
    """
    import cv2

    _write(path, pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [])


def _write(path: Path, pixels: np.ndarray, options: list[int]) -> None:
    import cv2

    if not cv2.imwrite(str(path), pixels, options):
        raise OSError(f"{path} could not be written: check the space left on the disk.")
