"""The demo on disk in ZJU-MoCap's layout: many cameras around the person."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from human_avatars.capture.capture_config import CaptureConfig
from human_avatars.capture.film import PinholeCamera
from human_avatars.capture.filming import film_frames, set_stage
from human_avatars.capture.footage import Footage, Stage
from human_avatars.capture.picture_files import write_jpeg, write_png
from human_avatars.files.safe_writes import fresh_folder

CAPTURE_FORMAT_VERSION = 1
MILLIMETRES_PER_METRE = 1000.0
FIT_FOLDERS = (("params", "vertices"), ("new_params", "new_vertices"))
"""ZJU-MoCap's fits without and with pose blend shapes; the open body has none, so here both say the same."""
FOREGROUND = 255
"""Value of the person in `mask/`; readers only ask whether it is zero."""


def write_zju_mocap(output: Path, options: CaptureConfig, overwrite: bool = False, workers: int | None = None) -> None:
    """Film a capture in ZJU-MoCap's layout, with `capture.json` beside it, which says what trains and what tests.

    Args:
        output: The folder to write; it appears when it is whole.
        options: What to film.
        overwrite: Whether a non-empty folder at `output` may be replaced.
        workers: Processes that film; by default one per core where the capture is worth it. The files are the same.

    Raises:
        ValueError: An option is out of range, or `output` holds something and `overwrite` is off.
    """
    with fresh_folder(output, overwrite) as folder:
        stage = set_stage(options)
        _make_folders(folder, stage)
        _save_object(folder / "annots.npy", _zju_annotations(stage))
        (folder / "capture.json").write_text(json.dumps(_capture_record(options), indent=2) + "\n", encoding="utf-8")
        film_frames(folder, stage, workers, _write_frame)


def _zju_annotations(stage: Stage) -> dict[str, Any]:
    """The content of annots.npy: the calibration, and the image of each camera in each frame."""
    cameras = stage.written_cameras
    return {
        "cams": {
            "K": [camera.intrinsics for camera in cameras],
            "D": [np.zeros((5, 1)) for _ in cameras],
            "R": [camera.rotation for camera in cameras],
            "T": [camera.translation[:, None] * MILLIMETRES_PER_METRE for camera in cameras],
        },
        "ims": [
            {"ims": [_image_path(camera, frame).as_posix() for camera in cameras]}
            for frame in range(stage.config.frames)
        ],
    }


def _capture_record(options: CaptureConfig) -> dict[str, Any]:
    """What the layout itself has no place for: the split, and how to film the same again."""
    return {
        "version": CAPTURE_FORMAT_VERSION,
        "training_cameras": [f"Camera_B{place + 1}" for place in sorted(options.training_cameras)],
        "training_frames": options.num_training_frames,
        "options": asdict(options),
    }


def _image_path(camera: PinholeCamera, frame: int) -> Path:
    return Path(camera.name) / f"{frame:06d}.jpg"


def _make_folders(folder: Path, stage: Stage) -> None:
    for camera in stage.cameras:
        for kind in (".", "mask", "mask_cihp"):
            (folder / kind / camera.name).mkdir(parents=True)
    for pair in FIT_FOLDERS:
        for name in pair:
            (folder / name).mkdir()


def _write_frame(folder: Path, stage: Stage, frame: int, footage: Footage) -> None:
    for camera, picture in zip(stage.cameras, footage.pictures, strict=True):
        path = _image_path(camera, frame)
        write_jpeg(folder / path, picture.colours)
        write_png(folder / "mask_cihp" / path.with_suffix(".png"), picture.labels)
        write_png(folder / "mask" / path.with_suffix(".png"), FOREGROUND * (picture.labels > 0).astype(np.uint8))
    for parameters, vertices in FIT_FOLDERS:
        _save_object(folder / parameters / f"{frame}.npy", _zju_parameters(stage, footage))
        np.save(folder / vertices / f"{frame}.npy", footage.vertices)


def _zju_parameters(stage: Stage, footage: Footage) -> dict[str, np.ndarray]:
    return {
        "poses": footage.poses.reshape(1, -1),
        "Rh": footage.orient[None],
        "Th": footage.place[None],
        "shapes": stage.betas[None],
    }


def _save_object(path: Path, content: dict[str, Any]) -> None:
    """A pickled dictionary in a .npy file, as ZJU-MoCap has them."""
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
