"""One folder of GaussianAvatar's layout, `train` or `test`: images, masks and the camera, checked."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from human_avatars.data.dataparsers.calibration_checks import are_rotations, is_calibrated_for
from human_avatars.data.subject_images import image_size

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")

HALF_PIXEL = 0.5
"""The original projects with camera matrices whose integer coordinates are corners of pixels."""


@dataclass(frozen=True)
class Recording:
    """The images of one folder, in the order of their names."""

    names: tuple[str, ...]
    """Names of the images without suffix; the masks and the files of a moving camera share them."""
    images: tuple[Path, ...]
    """The photographs."""
    masks: tuple[Path, ...]
    """The person in each."""
    intrinsics: Float[Tensor, "frames 3 3"]
    """OpenCV camera matrices, in pixels; an integer coordinate is a pixel's centre, unlike on disk."""
    world_to_cameras: Float[Tensor, "frames 4 4"]
    """OpenCV extrinsics, in metres."""
    full_sizes: Int[Tensor, "frames 2"]
    """Height and width of the images, in pixels."""

    def __len__(self) -> int:
        return len(self.names)

    def followed_by(self, other: "Recording") -> "Recording":
        """This recording and another one after it.

        Args:
            other: The later one.

        Returns:
            Both.
        """
        return Recording(
            names=self.names + other.names,
            images=self.images + other.images,
            masks=self.masks + other.masks,
            intrinsics=torch.cat([self.intrinsics, other.intrinsics]),
            world_to_cameras=torch.cat([self.world_to_cameras, other.world_to_cameras]),
            full_sizes=torch.cat([self.full_sizes, other.full_sizes]),
        )


def read_recording(folder: Path) -> Recording:
    """Find the images of a folder and read their cameras.

    Args:
        folder: `train` or `test`, with `images`, `masks`, and `cam_parms.npz` of a camera that stands still or
            `cam_parms/<image's name>.npz` of one that moves. Where there are both, the former counts, as it does in the
            original unless told otherwise.

    Returns:
        The recording, in float64.

    Raises:
        ValueError: Something is missing, broken, or disagrees.
    """
    images = _image_files(folder / "images", "photographs")
    masks = _image_files(folder / "masks", "masks of the person")
    _check_pairs(folder, images, masks)
    names = tuple(images)
    still = folder / "cam_parms.npz"
    if still.is_file():
        cameras = [_read_camera(still)] * len(names)
        sizes = [image_size(images[names[0]])] * len(names)
    elif still.with_suffix("").is_dir():
        cameras = [_read_camera(still.with_suffix("") / f"{name}.npz") for name in names]
        sizes = [image_size(image) for image in images.values()]
    else:
        raise ValueError(
            f"{folder} has neither cam_parms.npz nor a folder cam_parms with one .npz per image: expected the camera's "
            "'intrinsic' and 'extrinsic'. Calibrate the camera, or copy the whole capture."
        )
    for image, (intrinsics, _), size in zip(images.values(), cameras, sizes, strict=True):
        _check_size(image, intrinsics, size)
    return Recording(
        names=names,
        images=tuple(images.values()),
        masks=tuple(masks[name] for name in names),
        intrinsics=torch.stack([intrinsics for intrinsics, _ in cameras]),
        world_to_cameras=torch.stack([extrinsics for _, extrinsics in cameras]),
        full_sizes=torch.tensor(sizes),
    )


def _image_files(folder: Path, what: str) -> dict[str, Path]:
    """Image files by name without suffix, in the order in which the original numbers them."""
    if not folder.is_dir():
        raise ValueError(
            f"{folder} does not exist: expected the {what}. Give the folder that holds train/ with --data, and copy "
            "the whole capture."
        )
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    # Other systems leave hidden companions such as ._000001.png beside what they copy.
    named = {file.stem: file for file in files if not file.name.startswith(".")}
    if not named:
        raise ValueError(f"{folder} holds no {' or '.join(IMAGE_SUFFIXES)} file: expected the {what}.")
    return named


def _check_pairs(folder: Path, images: dict[str, Path], masks: dict[str, Path]) -> None:
    if images.keys() == masks.keys():
        return
    alone = sorted(images.keys() ^ masks.keys())[0]
    problem = f"{images[alone]} has no mask" if alone in images else f"{masks[alone]} has no image"
    raise ValueError(
        f"{folder} has {len(images)} images and {len(masks)} masks, and {problem} of its name: expected one mask per "
        "image. Segment the images that lack one, and remove masks (and poses) whose image is gone."
    )


def _read_camera(file: Path) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "4 4"]]:
    """Camera matrix, about pixel centres, and world-to-camera transform."""
    arrays = _read_arrays(file)
    intrinsics, extrinsics = arrays["intrinsic"], torch.eye(4, dtype=torch.float64)
    if intrinsics.shape != (3, 3) or arrays["extrinsic"].shape not in ((4, 4), (3, 4)):
        raise ValueError(
            f"{file}: 'intrinsic' has shape {intrinsics.shape} and 'extrinsic' {arrays['extrinsic'].shape}, expected "
            "(3, 3) and (4, 4): export the camera again."
        )
    if not (intrinsics[0, 0] > 0 and intrinsics[1, 1] > 0 and np.allclose(intrinsics[2], (0, 0, 1))):
        raise ValueError(
            f"{file}: 'intrinsic' is {intrinsics.tolist()}, expected focal lengths above zero and a last row of 0 0 1: "
            "export the camera again."
        )
    extrinsics[:3] = torch.from_numpy(arrays["extrinsic"][:3])
    if not are_rotations(extrinsics[None, :3, :3])[0]:
        raise ValueError(
            f"{file}: 'extrinsic' holds no rotation matrix: expected the world-to-camera transform in OpenCV's "
            "convention, in metres. Export the camera again."
        )
    about_centres = torch.from_numpy(intrinsics.copy())
    about_centres[:2, 2] -= HALF_PIXEL
    return about_centres, extrinsics


def _read_arrays(file: Path) -> dict[str, np.ndarray]:
    if not file.is_file():
        raise ValueError(f"{file} does not exist, but its image does: copy the whole capture.")
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("intrinsic", "extrinsic") if name in archive.files}
            found = archive.files
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{file} is not a whole .npz of plain arrays ({error}): copy it again.") from error
    for name in ("intrinsic", "extrinsic"):
        if name not in arrays:
            raise ValueError(
                f"{file} has no '{name}' (it holds {', '.join(map(repr, found)) or 'nothing'}): expected 'intrinsic' "
                "(3, 3) and 'extrinsic' (4, 4). Export the camera again."
            )
        if arrays[name].dtype.kind not in "fiu" or not np.isfinite(arrays[name]).all():
            raise ValueError(
                f"{file}: '{name}' is of {arrays[name].dtype} or holds NaN or infinity, expected numbers: calibrate "
                "the camera again."
            )
    return {name: array.astype(np.float64) for name, array in arrays.items()}


def _check_size(image: Path, intrinsics: Float[Tensor, "3 3"], size: tuple[int, int]) -> None:
    if not is_calibrated_for(intrinsics, size):
        (height, width), (u, v) = size, intrinsics[:2, 2].tolist()
        raise ValueError(
            f"{image} is {width}x{height} pixels, but its camera's principal point is ({u:.0f}, {v:.0f}), as of images "
            f"of about {2 * u:.0f}x{2 * v:.0f}: calibrate at the images' size, or scale the images to match."
        )
