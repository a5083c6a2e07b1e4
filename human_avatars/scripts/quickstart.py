"""`human-avatars quickstart`: from an installed package to a trained, measured and visible avatar."""

import copy
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from human_avatars.data.dataparsers.gaussian_avatar import GaussianAvatarDataParserConfig
from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig

DEMO_FRAMES = 30
"""Twenty frames train, the last third is another motion."""
DEMO_SIZE = 512
DEMO_IMAGE_SCALE = 0.5
"""Film has hard edges; at half size every pixel is the mean of four, as a photograph's is."""
EVAL_FRAME_INTERVAL = 5
"""The published every 30th frame would leave the short demo with one."""
ORBIT_FRAMES, ORBIT_SIZE = 45, 512
SPLIT_TITLES = {
    "novel_view": "novel view",
    "in_between": "in between",
    "novel_pose": "novel pose",
    "train": "trained on",
}
"""Columns of the results, of which a capture has some."""
REPORTED_METRICS = ("psnr", "psnr_box", "ssim", "ssim_box", "lpips_alex")


@dataclass
class QuickstartConfig:
    """What to train, on what, and where the results go."""

    method: str = "avatar-splat"
    """A method of this package, as ns-train names it."""
    data: Path | None = None
    """A capture in ZJU-MoCap's or GaussianAvatar's layout; the demo is filmed where none is given."""
    output_dir: Path = Path("outputs/quickstart")
    """Where the demo, the run, its metrics and its video go."""
    iterations: int | None = None
    """Training steps; the method's own number where none is given."""


def main(config: QuickstartConfig) -> None:
    """Film the demo, train an avatar on it, measure it, and render it moving.

    Args:
        config: The options.
    """
    console = Console()
    device = "GPU " + torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU (no GPU found)"
    console.print(f"[bold]human-avatars quickstart[/bold] on the {device}")
    trainer_config, seconds = method_config(config.method), dict[str, float]()
    if config.data is None:
        with _timed(seconds, "filming"):
            data = _film_demo(config.output_dir / "data" / f"demo_{DEMO_SIZE}", console)
    else:
        data = config.data
    parser: Any = data_parser_for(data, trainer_config.pipeline.datamanager.dataparser)
    if config.data is None:
        parser.image_scale, parser.eval_frame_interval = DEMO_IMAGE_SCALE, EVAL_FRAME_INTERVAL
    trainer_config.pipeline.datamanager.dataparser = parser
    with _timed(seconds, "training"):
        run_config = train(trainer_config, data, config.output_dir, config.iterations)
    metrics_path, video_path = run_config.parent / "metrics.json", run_config.parent / "orbit.mp4"
    with _timed(seconds, "measuring"):
        results = evaluate(run_config, metrics_path)
    with _timed(seconds, "the video"):
        _render(run_config, video_path)
    console.print(_results_table(results))
    durations = ", ".join(f"{name} {duration:.0f} s" for name, duration in seconds.items())
    for line in (
        f"took      {durations}",
        f"capture   {data.absolute()}",
        f"run       {run_config}",
        f"metrics   {metrics_path}",
        f"video     {video_path}",
        f"\nLook at it in the browser:\n  ns-viewer --load-config {run_config}",
    ):
        console.print(line, highlight=False, soft_wrap=True)


def train(trainer_config: Any, data: Path, output_dir: Path, iterations: int | None) -> Path:
    """Train through nerfstudio's own trainer, with a progress bar in place of its log table.

    Args:
        trainer_config: A fresh copy of a method's TrainerConfig; it is filled in.
        data: The capture's folder.
        output_dir: Where runs go.
        iterations: Training steps, None for the method's own.

    Returns:
        The run's config.yml.
    """
    from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
    from nerfstudio.scripts.train import _set_random_seed

    trainer_config.data = data.absolute()
    trainer_config.pipeline.datamanager.data = trainer_config.data
    trainer_config.output_dir = output_dir.absolute()
    trainer_config.vis = "tensorboard"
    trainer_config.logging.local_writer.enable = False
    if iterations is not None:
        trainer_config.max_num_iterations = iterations
    trainer_config.set_timestamp()
    trainer_config.save_config()
    _set_random_seed(trainer_config.machine.seed)
    trainer = trainer_config.setup(local_rank=0, world_size=1)
    trainer.setup()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("Training", total=trainer_config.max_num_iterations)
        trainer.callbacks.append(
            TrainingCallback(
                [TrainingCallbackLocation.AFTER_TRAIN_ITERATION],
                lambda step: progress.update(task, completed=step + 1),
            )
        )
        trainer.train()
    return trainer_config.get_base_dir() / "config.yml"


def evaluate(run_config: Path, output_path: Path) -> dict[str, Any]:
    """Run ns-eval on a run.

    Args:
        run_config: The run's config.yml.
        output_path: The JSON file to write.

    Returns:
        The results that were written.
    """
    from nerfstudio.scripts.eval import ComputePSNR

    ComputePSNR(load_config=run_config, output_path=output_path).main()
    return json.loads(output_path.read_text())["results"]


def method_config(method: str) -> Any:
    """A fresh copy of the configuration of one of this package's methods.

    Args:
        method: The method, as ns-train names it.

    Returns:
        Its TrainerConfig.

    Raises:
        ValueError: There is no such method in this package.
    """
    from nerfstudio.configs.method_configs import all_methods

    from human_avatars.models.base_avatar_model import AvatarModelConfig

    # Methods that nerfstudio only advertises have no pipeline.
    pipelines = {name: getattr(config, "pipeline", None) for name, config in all_methods.items()}
    ours = [
        name for name, pipeline in pipelines.items() if isinstance(getattr(pipeline, "model", None), AvatarModelConfig)
    ]
    if method not in ours:
        raise ValueError(f"--method {method} is not a method of this package: choose one of {', '.join(sorted(ours))}.")
    return copy.deepcopy(all_methods[method])


def data_parser_for(
    data: Path, of_method: DataParserConfig
) -> ZjuMocapDataParserConfig | GaussianAvatarDataParserConfig:
    """The configuration of the data parser that reads a capture, known by the capture's files.

    Args:
        data: The capture's folder.
        of_method: The method's own, which is kept where it reads this layout: it may carry options that belong to the
            method.

    Returns:
        The method's configuration, or the defaults of the layout's data parser.

    Raises:
        ValueError: The folder is absent, or of no layout that is known.
    """
    if (data / "annots.npy").is_file():
        return of_method if isinstance(of_method, ZjuMocapDataParserConfig) else ZjuMocapDataParserConfig()
    if (data / "train").is_dir():
        return of_method if isinstance(of_method, GaussianAvatarDataParserConfig) else GaussianAvatarDataParserConfig()
    if not data.is_dir():
        raise ValueError(f"{data.absolute()} is no folder: give the folder of a capture, or no --data for the demo.")
    raise ValueError(
        f"{data.absolute()} has neither annots.npy, as ZJU-MoCap's layout has, nor a folder train, as "
        "GaussianAvatar's has: give the folder of one capture, or no --data for the demo."
    )


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def _film_demo(folder: Path, console: Console) -> Path:
    from human_avatars.capture.writers import CaptureConfig, write_zju_mocap

    if folder.exists():
        console.print(f"Using the demo that lies in {folder}")
        return folder
    write_zju_mocap(folder, CaptureConfig(frames=DEMO_FRAMES, size=DEMO_SIZE))
    return folder


def _render(run_config: Path, video_path: Path) -> None:
    from human_avatars.scripts import orbit

    orbit.main(run_config, video_path, num_frames=ORBIT_FRAMES, size=ORBIT_SIZE)


def _results_table(results: dict[str, Any]) -> Table:
    splits = [split for split in SPLIT_TITLES if f"{split}/num_images" in results]
    table = Table("", *(SPLIT_TITLES[split] for split in splits), title="Results")
    for name in REPORTED_METRICS:
        values = [results.get(f"{split}/{name}") for split in splits]
        if any(value is not None for value in values):
            table.add_row(name, *("-" if value is None else f"{value:.3f}" for value in values))
    return table
