"""Time of a splat avatar's training step, stage by stage, and of the pictures it renders."""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from typing import Any, cast
from unittest.mock import patch

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.engine.trainer import Trainer
from splat_setups import run
from torch import Tensor

from human_avatars.data.subject_dataset import SubjectDataset
from human_avatars.models import base_splat_model
from human_avatars.models.base_splat_model import SplatModel

STAGES = ("data", "posing", "rasterising", "losses", "backward", "optimiser", "between steps")
"""Posing includes decoding; losses include metrics; the optimiser includes callbacks and schedules; between steps
nerfstudio logs."""
WARM_UP_FRAMES = 2


class Stopwatch:
    """Milliseconds by stage, summed over each step.

    Args:
        device: Waited for at the end of every stage.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.steps: list[dict[str, float]] = []
        self._step: dict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End a stage: the time since the last one ended is its own."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self._step[stage] += 1000 * (now - self._last)
        self._last = now

    def begin_step(self) -> None:
        """End what lay between two steps, and with it the step before."""
        self.lap("between steps")
        self.steps.append(dict(self._step))
        self._step.clear()

    def medians(self, warm_up: int, steps_per_update: int) -> dict[str, float]:
        """Median milliseconds per step. Steps that share an update differ by design, so they count together.

        Args:
            warm_up: Steps at the start that do not count.
            steps_per_update: Steps that share an update of the weights.

        Returns:
            Milliseconds by stage, and of the whole step as `step`.
        """
        # The first entry is what came before the first step. Whole updates are dropped.
        start = 1 + -(-warm_up // steps_per_update) * steps_per_update
        kept = [record | {"step": sum(record.values())} for record in self.steps[start:]]
        whole = range(0, len(kept) - steps_per_update + 1, steps_per_update)
        assert len(whole) > 0, "fewer steps than one update"
        return {
            stage: statistics.median(
                statistics.fmean(record[stage] for record in kept[first : first + steps_per_update]) for first in whole
            )
            for stage in (*STAGES, "step")
        }


def time_training(trainer: Trainer, warm_up: int) -> dict[str, float]:
    """Train to the end and time the stages of the steps.

    Args:
        trainer: The trainer, ready to start.
        warm_up: Steps at the start that do not count.

    Returns:
        Median milliseconds by stage.
    """
    pipeline, optimizers = cast(Any, trainer.pipeline), trainer.optimizers
    watch = Stopwatch(torch.device(trainer.device))
    with ExitStack() as stack:
        for owner, name, before, after in (
            (pipeline.datamanager, "next_train", "optimiser", "data"),
            (pipeline.model, "posed_gaussians", None, "posing"),
            (base_splat_model, "rasterize", None, "rasterising"),
            (pipeline, "get_train_loss_dict", None, "losses"),
            (optimizers, "optimizer_scaler_step_some", "backward", "optimiser"),
        ):
            stack.enter_context(_laps_around(watch, owner, name, before, after))
        run(trainer, before=watch.begin_step, after=lambda: watch.lap("optimiser"))
        # Closes the last step.
        watch.begin_step()
    shared = max((trainer.gradient_accumulation_steps[group] for group in optimizers.parameters), default=1)
    # The checkpoint that ends a training lies between the last step and here.
    watch.steps.pop()
    return watch.medians(warm_up, shared)


def frames_per_second(model: SplatModel, dataset: SubjectDataset, size: int, num_frames: int) -> dict[str, float]:
    """Speed of `get_outputs_for_camera`.

    Args:
        model: The avatar.
        dataset: Its cameras look.
        size: Height of the pictures, in pixels.
        num_frames: Pictures, each of another frame of the motion.

    Returns:
        Pictures per second, by median: `captured` of frames that were rendered before, with their refined poses where
        the method refines them; `new_poses` of a motion that was just set, each frame for the first time.
    """
    motion = model.subject.motion
    frames = torch.linspace(0, motion.num_frames - 1, num_frames + WARM_UP_FRAMES).round().long().unique()
    assert len(frames) > WARM_UP_FRAMES, "the capture is too short to warm up"
    cameras = [_camera(dataset, index, size, motion.times[frame]) for index, frame in enumerate(frames)]
    try:
        model.set_motion(motion)
        new_poses = _median_seconds(model, cameras)
        model.set_motion(None)
        _median_seconds(model, cameras)
        captured = _median_seconds(model, cameras)
    finally:
        model.set_motion(None)
    return {"captured": 1 / captured, "new_poses": 1 / new_poses}


def _median_seconds(model: SplatModel, cameras: list[Cameras]) -> float:
    seconds = []
    for camera in cameras:
        start = time.perf_counter()
        model.get_outputs_for_camera(camera)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM_UP_FRAMES:])


def _camera(dataset: SubjectDataset, index: int, size: int, time_of_frame: Tensor) -> Cameras:
    """One of the dataset's cameras in turn, at another size and another moment."""
    place = index % len(dataset)
    camera = copy(dataset.cameras[place : place + 1])
    camera.rescale_output_resolution(size / int(camera.height))
    camera.times = time_of_frame.reshape(1, 1).to(camera.camera_to_worlds)
    return camera


@contextmanager
def _laps_around(watch: Stopwatch, owner: object, name: str, before: str | None, after: str | None) -> Iterator[None]:
    """End one stage where a function is entered, and another where it is left."""
    function = getattr(owner, name)

    def marked(*args: Any, **kwargs: Any) -> Any:
        if before is not None:
            watch.lap(before)
        result = function(*args, **kwargs)
        if after is not None:
            watch.lap(after)
        return result

    with patch.object(owner, name, marked):
        yield
