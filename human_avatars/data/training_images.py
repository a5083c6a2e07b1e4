"""TrainingImage: the part of a photograph that holds the person, as splat methods train on it."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from human_avatars.data.subject_dataset import SubjectDataset


@dataclass(frozen=True)
class TrainingImage:
    """A rectangle of one image."""

    top: int
    """First row of the rectangle in the whole image, in pixels."""
    left: int
    """First column of the rectangle in the whole image, in pixels."""
    rgba: UInt8[Tensor, "height width 4"]
    """Colours, black outside the silhouette; alpha is the part of a pixel that the silhouette covers."""
    valid: Bool[Tensor, "height width 1"] | None
    """Pixels that may train; None for all."""
    mask_at_box: Bool[Tensor, "height width 1"]
    """Pixels whose ray meets the body's padded box."""

    @property
    def num_bytes(self) -> int:
        """Memory of the tensors."""
        return sum(tensor.nbytes for tensor in (self.rgba, self.valid, self.mask_at_box) if tensor is not None)

    def pinned(self) -> "TrainingImage":
        """A copy in page-locked memory, from which a CUDA device can fetch while both sides go on working.

        Returns:
            The copy.
        """
        valid = None if self.valid is None else self.valid.pin_memory()
        return replace(self, rgba=self.rgba.pin_memory(), valid=valid, mask_at_box=self.mask_at_box.pin_memory())


def read_training_image(
    dataset: SubjectDataset, image_idx: int, crop_margin: float | None, trust_mask_border: bool
) -> TrainingImage:
    """Read an image from disk and cut out the person.

    Args:
        dataset: The images.
        image_idx: An image of the split.
        crop_margin: Growth of the rectangle around the body's box and the silhouette, as a fraction of the image's
            height; None for the whole image.
        trust_mask_border: Whether the mask decides in the border band too. Otherwise the band shows its own colours,
            counts as silhouette, and is not valid, as evaluation images have it.

    Returns:
        The rectangle.

    Raises:
        ValueError: A file is missing or broken, a size disagrees, the mask is empty, or no ray meets the body.
    """
    image = None if trust_mask_border else dataset.read_image(image_idx)
    rgba = dataset.read_cutout(image_idx) if image is None else image.rgba
    mask_at_box = dataset.pixels_at_box(image_idx)
    part = _rectangle(mask_at_box.numpy() | (rgba[..., 3] > 0), crop_margin)
    return TrainingImage(
        top=part[0].start,
        left=part[1].start,
        # Copied: a view would keep the whole image in memory.
        rgba=torch.from_numpy(rgba[part].copy()),
        valid=None if image is None else torch.from_numpy(~image.border[part])[..., None],
        mask_at_box=mask_at_box[part][..., None].clone(),
    )


def _rectangle(shown: Bool[np.ndarray, "height width"], margin: float | None) -> tuple[slice, slice]:
    """Rows and columns that hold all pixels shown, grown by the margin and cut to the image."""
    height, width = shown.shape
    if margin is None:
        return slice(0, height), slice(0, width)
    grown = round(margin * height)
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    return (
        slice(max(int(rows[0]) - grown, 0), min(int(rows[-1]) + 1 + grown, height)),
        slice(max(int(columns[0]) - grown, 0), min(int(columns[-1]) + 1 + grown, width)),
    )
