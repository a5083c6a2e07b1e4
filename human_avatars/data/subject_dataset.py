"""SubjectDataset: photograph and silhouette as one RGBA image, read when asked for."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from torch import Tensor

from human_avatars.data.byte_cache import ByteCache
from human_avatars.data.subject_frames import SplitLabel, SubjectFrames
from human_avatars.data.subject_images import ImageGeometry, SubjectImage, read_cutout, read_subject_image

DEFAULT_CACHE_BYTES = 2**28
"""Memory for images that were read before, 256 MiB: about 170 images of 512x512."""


class SubjectDataset(InputDataset):
    """Images of a person, undistorted, with the silhouette in the alpha channel; nothing is read ahead.

    `get_data` is what models train and are measured on. It gives `image` (RGBA, black outside the person and the border
    band), `mask` (nerfstudio's valid pixels: False in the border band) and `mask_at_box` (pixels whose ray meets the
    body's padded box). Indexing gives the same with the image's RGB alone, the person on black: nerfstudio's tools
    index, and they take a fourth channel for features to be shown by their principal components.

    Args:
        dataparser_outputs: Outputs of a parser of this package, with SubjectFrames under metadata["frames"].
        scale_factor: Images are scaled by this factor once more.
        cache_bytes: Memory for images that were read before.
        **kwargs: Other versions of nerfstudio pass more.
    """

    def __init__(
        self,
        dataparser_outputs: DataparserOutputs,
        scale_factor: float = 1.0,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        **kwargs: Any,
    ) -> None:
        frames = dataparser_outputs.metadata.get("frames")
        if not isinstance(frames, SubjectFrames):
            raise ValueError(
                "SubjectDataset reads captured people only, and these dataparser outputs hold none: choose a data "
                "parser of human_avatars, such as zju-mocap-data."
            )
        # The parent copies what it is given, the subject's tables too; they are shared instead.
        super().__init__(replace(dataparser_outputs, metadata={}), scale_factor)
        self._dataparser_outputs = dataparser_outputs
        self.metadata = {key: value for key, value in dataparser_outputs.metadata.items() if key != "frames"}
        self.frames = frames
        if scale_factor != 1.0:
            self.frames = replace(frames, image_scale=frames.image_scale * scale_factor)
            self.cameras = self.frames.cameras()
        self._images: ByteCache[SubjectImage] = ByteCache(cache_bytes, lambda image: image.num_bytes)

    @property
    def split_labels(self) -> tuple[SplitLabel, ...]:
        """Per image, what it is for."""
        return self.frames.split_labels

    def read_image(self, image_idx: int) -> SubjectImage:
        """Read one image from disk, past the cache.

        Args:
            image_idx: An image of the split.

        Returns:
            Colours, silhouette and border band.

        Raises:
            ValueError: A file is missing or broken, a size disagrees, or the mask is empty.
        """
        frames = self.frames
        return read_subject_image(
            frames.image_filenames[image_idx], frames.mask_filenames[image_idx], self._geometry(image_idx)
        )

    def read_cutout(self, image_idx: int) -> UInt8[np.ndarray, "height width 4"]:
        """Read one image from disk with the person cut out by the mask, border band or not.

        Args:
            image_idx: An image of the split.

        Returns:
            RGBA; alpha is the part of a pixel that the person covers.

        Raises:
            ValueError: A file is missing or broken, a size disagrees, or the mask is empty.
        """
        frames = self.frames
        return read_cutout(
            frames.image_filenames[image_idx], frames.mask_filenames[image_idx], self._geometry(image_idx)
        )

    def _geometry(self, image_idx: int) -> ImageGeometry:
        frames = self.frames
        return ImageGeometry(
            intrinsics=frames.intrinsics[image_idx].double().numpy(),
            distortion=frames.distortions[image_idx].double().numpy(),
            full_size=tuple(frames.full_sizes[image_idx].tolist()),
            size=tuple(frames.image_sizes[image_idx].tolist()),
            mask_border=frames.mask_border,
        )

    def pixels_at_box(self, image_idx: int) -> Bool[Tensor, "height width"]:
        """The pixels of a training image whose ray meets the body's padded box.

        Args:
            image_idx: An image of the split.

        Returns:
            True where the ray of the pixel's centre meets the box.

        Raises:
            ValueError: There is no such pixel.
        """
        mask_at_box = self.frames.mask_at_box(image_idx)
        if not mask_at_box.any():
            raise ValueError(
                f"{self.image_filenames[image_idx]}: no pixel of this image sees the body's box, expected the person "
                "in the picture. The calibration, or the body's pose or unit (metres), is wrong here."
            )
        return mask_at_box

    def get_numpy_image(self, image_idx: int) -> UInt8[np.ndarray, "height width 4"]:
        """The image as bytes.

        Args:
            image_idx: An image of the split.

        Returns:
            RGBA; alpha is 255 on the person and the border band, 0 elsewhere, where the colours are black.
        """
        return self._images.get(image_idx, self.read_image).rgba

    def get_metadata(self, data: dict) -> dict:
        """What goes with an image.

        Args:
            data: The image's entry, with `image_idx`.

        Returns:
            `mask` and `mask_at_box`, both (height, width, 1) bool.
        """
        image_idx = data["image_idx"]
        border = self._images.get(image_idx, self.read_image).border
        return {
            "mask": torch.from_numpy(~border)[..., None],
            "mask_at_box": self.frames.mask_at_box(image_idx)[..., None],
        }

    def __getitem__(self, image_idx: int) -> dict:
        data = self.get_data(image_idx)
        data["image"] = data["image"][..., :3]
        return data
