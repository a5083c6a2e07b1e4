"""Filming a whole capture, frame by frame, in one process or several; the layouts' writers say what becomes of a frame.

Worker processes import this module and their writer's, and neither needs torch, which staging brings.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

from rich.progress import track
from threadpoolctl import threadpool_limits

from human_avatars.capture.capture_config import CaptureConfig
from human_avatars.capture.footage import Footage, Stage, shoot

T = TypeVar("T")
FrameWriter = Callable[[Path, Stage, int, Footage], T]
"""Writes one frame's footage into a folder and returns what the capture's shared files need of it."""

PIXELS_WORTH_A_WORKER = 8_000_000
"""Below this much filming, starting another process takes longer than it saves."""
MAX_WORKERS = 8


def set_stage(options: CaptureConfig) -> Stage:
    """Prepare a capture, the same on machines with any number of cores.

    Args:
        options: What to film.

    Returns:
        All that filming needs.

    Raises:
        ValueError: An option is out of range.
    """
    from human_avatars.capture.staging import stage_capture

    with threadpool_limits(1):
        return stage_capture(options)


def film_frames(folder: Path, stage: Stage, workers: int | None, write_frame: FrameWriter[T]) -> list[T]:
    """Film every frame and have it written.

    Args:
        folder: The capture's folder.
        stage: Actor, poses and cameras.
        workers: Processes that film; None for one per core where the capture is worth it.
        write_frame: A module's own function, so that other processes can find it.

    Returns:
        What the writer returned, in the order of the frames.

    Raises:
        ValueError: There are to be no workers.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}: give at least 1.")
    frames = range(stage.config.frames)
    progress = f"Filming {len(frames)} frames from {_counted(len(stage.cameras), 'camera')}"
    count = workers or _useful_workers(stage.config)
    if count == 1:
        return [_film_frame(folder, stage, write_frame, frame) for frame in track(frames, progress)]
    # Forking a process whose libraries have started threads can hang it, so workers start afresh.
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    try:
        tasks = [pool.submit(_film_frame, folder, stage, write_frame, frame) for frame in frames]
        return [task.result() for task in track(tasks, progress)]
    finally:
        pool.shutdown(cancel_futures=True)


def _film_frame(folder: Path, stage: Stage, write_frame: FrameWriter[T], frame: int) -> T:
    # One thread each: results then do not depend on the machine's cores, and workers do not fight for them.
    with threadpool_limits(1):
        footage = shoot(stage, frame)
    return write_frame(folder, stage, frame, footage)


def _useful_workers(options: CaptureConfig) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pixels = options.frames * options.size**2 * len(options.rendered_cameras)
    return max(1, min(cores, MAX_WORKERS, pixels // PIXELS_WORTH_A_WORKER))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _end_with_parent() -> None:
    """Have a worker end when the process that started it is killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
