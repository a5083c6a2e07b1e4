"""One photograph and its silhouette as Neural Body prepares them: border band, undistortion, scaling, black outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

OUTSIDE, PERSON, BORDER = 0, 1, 2
"""Values of a silhouette's pixels. The original's label of the undecided border band is 100."""


@dataclass(frozen=True)
class ImageGeometry:
    """How an image on disk becomes the image that is used."""

    intrinsics: Float[np.ndarray, "3 3"]
    """OpenCV camera matrix of the image on disk."""
    distortion: Float[np.ndarray, "5"]
    """OpenCV distortion of the image on disk; zeros for none."""
    full_size: tuple[int, int]
    """Height and width on disk, in pixels."""
    size: tuple[int, int]
    """Height and width as used, in pixels."""
    mask_border: int
    """Side of the square kernel, in full-size pixels, of the border band; 0 for none."""


@dataclass(frozen=True)
class SubjectImage:
    """A photograph cut out by its silhouette."""

    rgba: UInt8[np.ndarray, "height width 4"]
    """Colours, black outside; alpha is 255 on the person and on the border band, where colours stay as they are."""
    border: Bool[np.ndarray, "height width"]
    """The band in which the silhouette is undecided."""

    @property
    def num_bytes(self) -> int:
        """Memory of the arrays."""
        return self.rgba.nbytes + self.border.nbytes


def read_subject_image(image: Path, masks: Sequence[Path], geometry: ImageGeometry) -> SubjectImage:
    """Read one image as Neural Body's data loader does.

    The order matters: the border band is found on the full-size mask, image (linear) and mask (nearest) are
    undistorted, both are scaled (area and nearest), and what is outside becomes black. One step differs on purpose: the
    original undistorts the mask linearly, which makes labels that mean nothing. Without a border band the mask decides
    everywhere, and the image is `read_cutout`'s.

    Args:
        image: The photograph.
        masks: Label maps whose union is the person.
        geometry: Sizes and calibration.

    Returns:
        The image that is used.

    Raises:
        ValueError: A file is missing or broken, a size disagrees, or the mask is empty.
    """
    import cv2

    if geometry.mask_border == 0:
        rgba = read_cutout(image, masks, geometry)
        return SubjectImage(rgba=rgba, border=np.zeros(geometry.size, dtype=bool))
    photograph = _read_photograph(image, geometry.full_size)
    labels = border_labels(_read_masks(masks, geometry.full_size), geometry.mask_border)
    height, width = geometry.size
    scaled = geometry.size != geometry.full_size
    # Without either step the bytes on disk are exact already.
    colours = photograph.astype(np.float32) / 255 if scaled or geometry.distortion.any() else photograph
    if geometry.distortion.any():
        colours, labels = _undistort(colours, labels, geometry)
    if scaled:
        colours = cv2.resize(colours, (width, height), interpolation=cv2.INTER_AREA)
        labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    if colours.dtype != np.uint8:
        colours = np.clip(np.rint(colours * 255), 0, 255).astype(np.uint8)
    inside = labels != OUTSIDE
    alpha = inside.astype(np.uint8) * 255
    return SubjectImage(
        rgba=np.concatenate([colours * inside[..., None], alpha[..., None]], axis=-1), border=labels == BORDER
    )


def read_cutout(image: Path, masks: Sequence[Path], geometry: ImageGeometry) -> UInt8[np.ndarray, "height width 4"]:
    """Read one image with the person cut out by the mask, which decides everywhere.

    Undistortion and scaling mix pixels. Here they mix what the mask shows alone, so a pixel of the edge has the
    person's colour, and as alpha the part of it that the person covers.

    Args:
        image: The photograph.
        masks: Label maps whose union is the person.
        geometry: Sizes and calibration; its border band plays no part.

    Returns:
        RGBA, black where the person is not.

    Raises:
        ValueError: A file is missing or broken, a size disagrees, or the mask is empty.
    """
    import cv2

    mask = _read_masks(masks, geometry.full_size).astype(np.float32)[..., None]
    covered = np.concatenate([_read_photograph(image, geometry.full_size) * mask, 255 * mask], axis=-1)
    if geometry.distortion.any():
        covered = cv2.remap(covered, *_undistortion_map(geometry), cv2.INTER_LINEAR)
    if geometry.size != geometry.full_size:
        covered = cv2.resize(covered, geometry.size[::-1], interpolation=cv2.INTER_AREA)
    covered[..., :3] *= 255 / np.maximum(covered[..., 3:], 1)
    return np.clip(np.rint(covered), 0, 255).astype(np.uint8)


def border_labels(mask: Bool[np.ndarray, "height width"], kernel_size: int) -> UInt8[np.ndarray, "height width"]:
    """Mark the band between the dilated and the eroded mask as undecided.

    Args:
        mask: The person.
        kernel_size: Side of the square kernel, in pixels; 0 trusts the mask.

    Returns:
        OUTSIDE, PERSON or BORDER per pixel.
    """
    import cv2

    labels = mask.astype(np.uint8)
    if kernel_size > 0:
        kernel = np.ones((kernel_size, kernel_size), np.uint8)
        labels[cv2.dilate(labels, kernel) != cv2.erode(labels, kernel)] = BORDER
    return labels


def image_size(image: Path) -> tuple[int, int]:
    """Height and width of an image file, from its header alone.

    Args:
        image: The file.

    Returns:
        Height and width, in pixels.

    Raises:
        ValueError: The file is no image.
    """
    try:
        with Image.open(image) as opened:
            return opened.height, opened.width
    except OSError as error:
        raise ValueError(f"{image} cannot be read as an image ({error}): copy it again.") from error


def _undistort(
    colours: Float[np.ndarray, "height width 3"], labels: UInt8[np.ndarray, "height width"], geometry: ImageGeometry
) -> tuple[np.ndarray, np.ndarray]:
    """What cv2.undistort does, with one map for both: colours linear, labels nearest."""
    import cv2

    columns, rows = _undistortion_map(geometry)
    return (
        cv2.remap(colours, columns, rows, cv2.INTER_LINEAR),
        cv2.remap(labels, columns, rows, cv2.INTER_NEAREST),
    )


def _undistortion_map(geometry: ImageGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the image on disk that the undistorted pixels show."""
    import cv2

    height, width = geometry.full_size
    columns, rows = cv2.initUndistortRectifyMap(
        geometry.intrinsics, geometry.distortion, np.eye(3), geometry.intrinsics, (width, height), cv2.CV_32FC1
    )
    return columns, rows


def _read_photograph(path: Path, size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    with _opened(path, "the photograph") as opened:
        found = (opened.height, opened.width)
        if found != size:
            raise ValueError(
                f"{path} is {found[1]}x{found[0]} pixels, but other images of its camera are {size[1]}x{size[0]}: "
                "all images of a camera need the size it was calibrated for."
            )
        return np.asarray(opened.convert("RGB"))


def _read_masks(paths: Sequence[Path], size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """The union of the label maps; smaller ones of the same aspect are enlarged, as the original does."""
    import cv2

    union = np.zeros(size, dtype=bool)
    for path in paths:
        with _opened(path, "the mask") as opened:
            labels = np.asarray(opened)
        # An alpha channel, the second or the fourth one, says nothing about the person.
        person = (labels != 0) if labels.ndim == 2 else (labels[..., : 2 * (labels.shape[-1] // 3) + 1] != 0).any(-1)
        height, width = person.shape
        if abs(height * size[1] - width * size[0]) > max(size):
            raise ValueError(
                f"{path} is {width}x{height} pixels, but its image is {size[1]}x{size[0]}: "
                "make the mask from the image."
            )
        resized = cv2.resize(person.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
        union |= resized != 0
    if not union.any():
        names = " and ".join(str(path) for path in paths)
        raise ValueError(
            f"{names}: the mask is empty (all pixels 0), expected the person's pixels to be non-zero. Segment the "
            "image again, or leave the frame or camera out (a ZJU-MoCap capture may have other masks: --masks)."
        )
    return union


def _opened(path: Path, what: str) -> Image.Image:
    """An image file, decoded; a file that is cut off fails here."""
    try:
        opened = Image.open(path)
        opened.load()
    except OSError as error:
        raise ValueError(f"{path}: {what} is missing or broken ({error}): copy it again.") from error
    return opened
