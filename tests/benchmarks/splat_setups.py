"""What the splat benchmarks run: the captures they film, the methods they train, and nerfstudio's trainer for both."""

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.engine.trainer import Trainer
from nerfstudio.scripts.train import _set_random_seed

from human_avatars.capture.capture_config import CaptureConfig, NoiseConfig
from human_avatars.capture.gaussian_avatar_writer import write_gaussian_avatar
from human_avatars.capture.writers import write_zju_mocap
from human_avatars.data.dataparsers.gaussian_avatar import GaussianAvatarDataParserConfig
from human_avatars.models.gaussian_avatar import GaussianAvatarModelConfig
from human_avatars.scripts.quickstart import data_parser_for, method_config

MethodName = Literal["avatar-splat", "gaussian-avatar-64", "gaussian-avatar-128", "gaussian-avatar-512"]
CaptureName = Literal["clean", "twist", "noisy", "checks", "spin"]
Refinement = Literal["preset", "off", "all"]
Device = Literal["cpu", "cuda"]

PRESETS: dict[MethodName, tuple[str, int | None]] = {
    "avatar-splat": ("avatar-splat", None),
    "gaussian-avatar-64": ("gaussian-avatar-cpu", 64),
    "gaussian-avatar-128": ("gaussian-avatar-cpu", 128),
    "gaussian-avatar-512": ("gaussian-avatar", 512),
}
"""The registered method, and texels along each side of its UV map."""
NOISE = NoiseConfig(
    pose_noise_degrees=3.0,
    place_noise_centimetres=1.0,
    mask_noise_pixels=1.0,
    calibration_noise_degrees=0.1,
    calibration_noise_millimetres=3.0,
    calibration_noise_focal_percent=0.2,
)
CLEAN = CaptureConfig(motion="walk", unseen_motion="walk")
CAPTURES: dict[CaptureName, CaptureConfig] = {
    "clean": CLEAN,
    "twist": replace(CLEAN, unseen_motion="twist_box"),
    "noisy": replace(CLEAN, noise=NOISE),
    "checks": replace(CLEAN, outfit="checks", motion="squat", unseen_motion="squat", seed=1),
    "spin": replace(CLEAN, motion="apose_spin", unseen_motion="apose_spin"),
}
"""What is filmed; spin by one camera in GaussianAvatar's layout, the others by a ring in ZJU-MoCap's."""
RING_TEST_CAMERAS = 4
"""Held-out cameras of the ring. The spin has none, so this many times as many of its frames are measured."""


@dataclass(frozen=True)
class Setup:
    """What one training learns, and from what."""

    method: MethodName
    device: Device
    capture: Path
    image_scale: float
    eval_interval: int
    seed: int
    refinement: Refinement = "preset"


def film(name: CaptureName, folder: Path, frames: int, size: int) -> Path:
    """Film a capture, unless it lies there already.

    Args:
        name: Which.
        folder: Where captures go.
        frames: Frames, of which two thirds train.
        size: Width and height, in pixels.

    Returns:
        The capture's folder.
    """
    capture = folder / f"{name}_{frames}_{size}"
    if not capture.exists():
        write = write_gaussian_avatar if name == "spin" else write_zju_mocap
        write(capture, replace(CAPTURES[name], frames=frames, size=size))
    return capture


def make_trainer(setup: Setup, iterations: int, output_dir: Path) -> Trainer:
    """nerfstudio's trainer, ready to start, whose schedules last as long as the training.

    Args:
        setup: What to train.
        iterations: Training steps.
        output_dir: Where the run goes.

    Returns:
        The trainer.
    """
    config = _trainer_config(setup, iterations)
    config.output_dir = output_dir.absolute()
    config.set_timestamp()
    _set_random_seed(setup.seed)
    with redirect_stdout(io.StringIO()):
        trainer = config.setup(local_rank=0, world_size=1)
        trainer.setup()
    return trainer


def run(trainer: Trainer, before: Callable[[], None], after: Callable[[], None]) -> None:
    """Train by nerfstudio's own loop.

    Args:
        trainer: The trainer.
        before: Called ahead of everything else of a step.
        after: Called when everything else of a step is done.
    """
    first, last = TrainingCallbackLocation.BEFORE_TRAIN_ITERATION, TrainingCallbackLocation.AFTER_TRAIN_ITERATION
    trainer.callbacks.insert(0, TrainingCallback([first], lambda step: before()))
    trainer.callbacks.append(TrainingCallback([last], lambda step: after()))
    with redirect_stdout(io.StringIO()):
        trainer.train()


def _trainer_config(setup: Setup, iterations: int) -> Any:
    method, uv_size = PRESETS[setup.method]
    config = method_config(method)
    config.machine.device_type, config.machine.seed = setup.device, setup.seed
    config.vis, config.logging.local_writer.enable = "tensorboard", False
    # Zero means never: a training is timed without evaluations and checkpoints in between.
    config.steps_per_eval_batch = config.steps_per_eval_image = config.steps_per_eval_all_images = 0
    config.steps_per_save = 0
    datamanager, model = config.pipeline.datamanager, config.pipeline.model
    config.data = datamanager.data = setup.capture.absolute()
    parser: Any = data_parser_for(setup.capture, datamanager.dataparser)
    by_one_camera = isinstance(parser, GaussianAvatarDataParserConfig)
    interval = setup.eval_interval // RING_TEST_CAMERAS if by_one_camera else setup.eval_interval
    parser.image_scale, parser.eval_frame_interval = setup.image_scale, max(1, interval)
    datamanager.dataparser = parser
    # What begins at a step of the method's own training begins at the same fraction of this one.
    length = iterations / config.max_num_iterations
    poses = model.body_pose_optimizer
    poses.start_step = round(poses.start_step * length)
    if setup.refinement != "preset":
        poses.mode = setup.refinement
    if isinstance(model, GaussianAvatarModelConfig):
        assert uv_size is not None
        model.uv_size, model.ramp_steps = uv_size, max(1, round(model.ramp_steps * length))
    config.max_num_iterations = iterations
    return config
