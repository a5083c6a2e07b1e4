"""Captures on disk: the demo's footage in the layouts of published datasets."""

import json
import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from rich.progress import track
from threadpoolctl import threadpool_limits

from human_avatars.capture.capture_config import CaptureConfig
from human_avatars.capture.film import PinholeCamera
from human_avatars.capture.footage import Footage, Stage, shoot
from human_avatars.files.safe_writes import fresh_folder

CAPTURE_FORMAT_VERSION = 1
JPEG_QUALITY = 95
MILLIMETRES_PER_METRE = 1000.0
FIT_FOLDERS = (("params", "vertices"), ("new_params", "new_vertices"))
"""ZJU-MoCap's fits without and with pose blend shapes; the open body has none, so here both say the same."""
FOREGROUND = 255
"""Value of the person in `mask/`; readers only ask whether it is zero."""
PIXELS_WORTH_A_WORKER = 8_000_000
"""Below this much filming, starting another process takes longer than it saves."""
MAX_WORKERS = 8


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
    # Workers import this module and need no torch, which staging brings.
    from human_avatars.capture.staging import stage_capture

    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}: give at least 1.")
    with fresh_folder(output, overwrite) as folder:
        with threadpool_limits(1):
            stage = stage_capture(options)
        _make_folders(folder, stage)
        _save_object(folder / "annots.npy", _zju_annotations(stage))
        (folder / "capture.json").write_text(json.dumps(_capture_record(options), indent=2) + "\n", encoding="utf-8")
        _film_frames(folder, stage, workers or _useful_workers(options))


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


def _useful_workers(options: CaptureConfig) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pixels = options.frames * options.size**2 * len(options.rendered_cameras)
    return max(1, min(cores, MAX_WORKERS, pixels // PIXELS_WORTH_A_WORKER))


def _film_frames(folder: Path, stage: Stage, workers: int) -> None:
    frames = range(stage.config.frames)
    progress = f"Filming {len(frames)} frames from {len(stage.cameras)} cameras"
    if workers == 1:
        for frame in track(frames, progress):
            _write_zju_frame(folder, stage, frame)
        return
    # Forking a process whose libraries have started threads can hang it, so workers start afresh.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    try:
        tasks = [pool.submit(_write_zju_frame, folder, stage, frame) for frame in frames]
        for task in track(as_completed(tasks), progress, total=len(tasks)):
            task.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Have a worker end when the process that started it is killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _write_zju_frame(folder: Path, stage: Stage, frame: int) -> None:
    # One thread each: results then do not depend on the machine's cores, and workers do not fight for them.
    with threadpool_limits(1):
        footage = shoot(stage, frame)
    for camera, picture in zip(stage.cameras, footage.pictures, strict=True):
        path = _image_path(camera, frame)
        _write_jpeg(folder / path, picture.colours)
        _write_png(folder / "mask_cihp" / path.with_suffix(".png"), picture.labels)
        _write_png(folder / "mask" / path.with_suffix(".png"), FOREGROUND * (picture.labels > 0).astype(np.uint8))
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


def _write_jpeg(path: Path, colours: UInt8[np.ndarray, "height width 3"]) -> None:
    import cv2

    _save_image(path, cv2.cvtColor(colours, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def _write_png(path: Path, labels: UInt8[np.ndarray, "height width"]) -> None:
    _save_image(path, labels, [])


def _save_image(path: Path, pixels: np.ndarray, options: list[int]) -> None:
    import cv2

    if not cv2.imwrite(str(path), pixels, options):
        raise OSError(f"{path} could not be written: check the space left on the disk.")
