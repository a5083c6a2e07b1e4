"""The `annots.npy` of ZJU-MoCap: calibration and image lists, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from human_avatars.data.dataparsers.calibration_checks import are_rotations
from human_avatars.data.dataparsers.zju_sequences import file_number
from human_avatars.files.restricted_pickle import load_npy_object
from human_avatars.transforms import rigid_from_rotation_translation

MILLIMETRES_ABOVE = 50.0
"""A largest translation entry above this is in millimetres: no studio's camera stands 50 m from the origin, and none
stands within 50 mm of it."""


@dataclass(frozen=True)
class ZjuAnnotations:
    """Cameras and images of one capture."""

    path: Path
    """The file they came from."""
    intrinsics: Float[Tensor, "cameras 3 3"]
    """OpenCV camera matrices of the full-size images, in pixels; an integer coordinate is a pixel's centre."""
    distortions: Float[Tensor, "cameras 5"]
    """OpenCV distortion, k1, k2, p1, p2, k3."""
    world_to_cameras: Float[Tensor, "cameras 4 4"]
    """OpenCV extrinsics, in metres."""
    images: tuple[tuple[str, ...], ...]
    """Per frame, the image of each camera, relative to the dataset folder."""
    file_numbers: tuple[int, ...]
    """Per frame, the number that names its `params` and `vertices` files."""

    @property
    def num_frames(self) -> int:
        """Frames of the capture."""
        return len(self.images)

    @property
    def camera_names(self) -> tuple[str, ...]:
        """The folder of each camera's images."""
        return tuple(PurePosixPath(image).parent.name for image in self.images[0])


def read_zju_annotations(folder: Path) -> ZjuAnnotations:
    """Read and check `annots.npy`.

    Args:
        folder: The dataset folder.

    Returns:
        Cameras and images, in float64.

    Raises:
        ValueError: The file is missing, cut off, holds anything but arrays, or has other contents than expected.
    """
    path = folder / "annots.npy"
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist: ZJU-MoCap keeps cameras and image lists there. Give the sequence's own folder, "
            f"such as CoreView_313, with --data.{_hint_of_another_layout(path.parent)}"
        )
    annotations = load_npy_object(path)
    cameras = annotations.get("cams") if isinstance(annotations, Mapping) else None
    frames = annotations.get("ims") if isinstance(annotations, Mapping) else None
    if not isinstance(cameras, Mapping) or not isinstance(frames, Sequence | np.ndarray) or len(frames) == 0:
        raise ValueError(
            f"{path} holds {_describe(annotations)}, expected a dictionary with 'cams' (K, D, R, T per camera) and "
            "'ims' (image paths per frame): export the annotations again."
        )
    intrinsics = _camera_arrays(path, cameras, "K", (3, 3))
    num_cameras = len(intrinsics)
    rotations = _camera_arrays(path, cameras, "R", (3, 3), num_cameras)
    images = _image_table(path, frames, num_cameras)
    return ZjuAnnotations(
        path=path,
        intrinsics=intrinsics,
        distortions=_camera_arrays(path, cameras, "D", (5,), num_cameras),
        world_to_cameras=rigid_from_rotation_translation(
            _checked_rotations(path, rotations), _metres(_camera_arrays(path, cameras, "T", (3,), num_cameras))
        ),
        images=images,
        file_numbers=tuple(_frame_number(path, frame) for frame in images),
    )


def _camera_arrays(
    path: Path, cameras: Mapping[str, Any], key: str, shape: tuple[int, ...], num_cameras: int | None = None
) -> Tensor:
    """One calibration entry of every camera, reshaped from rows or columns."""
    entries = cameras.get(key)
    count = len(entries) if isinstance(entries, Sequence | np.ndarray) else 0
    if entries is None or count == 0 or count != (num_cameras or count):
        raise ValueError(
            f"{path}: cams['{key}'] lists {count} cameras, expected {num_cameras or 'at least one'}: "
            "export the calibration again, with one K, D, R and T for every camera."
        )
    size = int(np.prod(shape))
    arrays = []
    for camera, entry in enumerate(entries):
        array = np.asarray(entry)
        if array.dtype.kind not in "fiu" or array.size != size:
            raise ValueError(
                f"{path}: cams['{key}'] of camera {camera} has shape {array.shape} and type {array.dtype}, expected "
                f"{size} numbers of shape {shape}: export the calibration again."
            )
        if not np.isfinite(array).all():
            raise ValueError(
                f"{path}: cams['{key}'] of camera {camera} holds NaN or infinity: calibrate this camera again, or "
                "leave it out of annots.npy."
            )
        arrays.append(array.astype(np.float64).reshape(shape))
    return torch.from_numpy(np.stack(arrays))


def _checked_rotations(path: Path, rotations: Float[Tensor, "cameras 3 3"]) -> Float[Tensor, "cameras 3 3"]:
    bad = torch.nonzero(~are_rotations(rotations)).flatten().tolist()
    if bad:
        raise ValueError(
            f"{path}: cams['R'] of camera {bad[0]} is no rotation matrix: expected world-to-camera rotations in "
            "OpenCV's convention. Export the calibration again."
        )
    return rotations


def _metres(translations: Float[Tensor, "cameras 3"]) -> Float[Tensor, "cameras 3"]:
    return translations / 1000 if translations.abs().max() > MILLIMETRES_ABOVE else translations


def _image_table(path: Path, frames: Sequence[Any] | np.ndarray, num_cameras: int) -> tuple[tuple[str, ...], ...]:
    table = []
    for frame, entry in enumerate(frames):
        images = entry.get("ims") if isinstance(entry, Mapping) else None
        names = tuple(str(name) for name in images) if isinstance(images, Sequence | np.ndarray) else ()
        if len(names) != num_cameras:
            raise ValueError(
                f"{path}: ims[{frame}] lists {len(names)} images for {num_cameras} calibrated cameras: expected a "
                "dictionary whose 'ims' names one image per camera, in the cameras' order."
            )
        table.append(names)
    return tuple(table)


def _frame_number(path: Path, images: tuple[str, ...]) -> int:
    try:
        return file_number(images[0])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _describe(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a dictionary of {', '.join(repr(key) for key in value) or 'nothing'}"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} and shape {value.shape}"
    return f"a {type(value).__name__}"


def _hint_of_another_layout(folder: Path) -> str:
    if (folder / "train").is_dir():
        return " A folder with train/ in it is in GaussianAvatar's layout: end the command with gaussian-avatar-data."
    return ""
