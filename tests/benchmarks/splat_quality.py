"""Quality of splat avatars that were trained for a given time, beside a flat silhouette's."""

import io
import statistics
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, cast

from nerfstudio.engine.trainer import Trainer
from nerfstudio.utils.colors import get_color
from splat_setups import Setup, make_trainer, run

from human_avatars.data.subject_dataset import SubjectDataset
from human_avatars.model_components.metrics import AvatarMetrics
from human_avatars.pipelines.avatar_pipeline import average_records

SPLITS = ("novel_view", "in_between", "novel_pose")
KEYS = ("psnr_box", "ssim_box", "psnr_body")


@dataclass(frozen=True)
class Pace:
    """How long the steps of a training take."""

    first_steps: tuple[float, ...]
    """Seconds of the first steps, which read images and work out shadows that are remembered from then on."""

    @property
    def later_step(self) -> float:
        """Seconds of every step after those."""
        return statistics.fmean(self.first_steps[len(self.first_steps) // 2 :])

    def iterations_in(self, budget: float) -> int:
        """Steps that fit into a time.

        Args:
            budget: The time, in seconds.

        Returns:
            The number, at least one.
        """
        ends = list(accumulate(self.first_steps))
        if budget <= ends[-1]:
            return max(1, sum(end <= budget for end in ends))
        return len(ends) + int((budget - ends[-1]) / self.later_step)


@dataclass(frozen=True)
class Training:
    """A training that is over."""

    trainer: Trainer
    step_seconds: tuple[float, ...]
    """Of every step, with what lies between it and the one before."""


def train(setup: Setup, iterations: int, output_dir: Path) -> Training:
    """Train and time it.

    Args:
        setup: What to train.
        iterations: Steps.
        output_dir: Where the run goes.

    Returns:
        The training.
    """
    trainer = make_trainer(setup, iterations, output_dir)
    begins: list[float] = []
    ends: list[float] = []
    run(trainer, before=lambda: begins.append(time.perf_counter()), after=lambda: ends.append(time.perf_counter()))
    marks = [begins[0], *ends]
    return Training(trainer, tuple(end - begin for begin, end in pairwise(marks)))


def measure_pace(setup: Setup, warm_up: int, steps: int, output_dir: Path) -> Pace:
    """Time the first steps of a training.

    Args:
        setup: What to train.
        warm_up: Steps at the start that do not count: they compile.
        steps: Steps that count.
        output_dir: Where the run goes.

    Returns:
        The pace.
    """
    return Pace(train(setup, warm_up + steps, output_dir).step_seconds[warm_up:])


def evaluate(trainer: Trainer) -> dict[str, float]:
    """Measure by AvatarPipeline's evaluation.

    Args:
        trainer: A trainer that is done.

    Returns:
        Averages as `<split>/<metric>`.
    """
    pipeline = cast(Any, trainer.pipeline)
    with redirect_stdout(io.StringIO()):
        results = pipeline.get_average_image_metrics(pipeline.datamanager.fixed_indices_eval_dataloader, "benchmark")
    return _chosen(results)


def flat_silhouette(trainer: Trainer) -> dict[str, float]:
    """What the true silhouette scores that is filled with one colour, the person's mean in the image.

    Args:
        trainer: Its evaluation images and its model's background count.

    Returns:
        Averages as `<split>/<metric>`.
    """
    pipeline = cast(Any, trainer.pipeline)
    dataset = pipeline.datamanager.eval_dataset
    assert isinstance(dataset, SubjectDataset)
    # The model's own metrics: whether LPIPS can be had is found out once.
    metrics = pipeline.model.metrics
    assert isinstance(metrics, AvatarMetrics)
    background = get_color(pipeline.model.config.background_color)
    records: list[dict[str, Any]] = []
    for index, split in enumerate(dataset.split_labels):
        data = dataset.get_data(index)
        rgb, alpha = data["image"][..., :3], data["image"][..., 3:]
        person = alpha[..., 0] > 0.5
        behind = (1 - alpha) * background
        flat, target = alpha * rgb[person].mean(0) + behind, alpha * rgb + behind
        measured = metrics.image_metrics(flat, target, data["mask_at_box"][..., 0], person)
        records.append({"split": split, **{key: float(value) for key, value in measured.items()}})
    return _chosen(average_records(records))


def _chosen(averages: dict[str, Any]) -> dict[str, float]:
    names = [f"{split}/{key}" for split in SPLITS if f"{split}/num_images" in averages for key in KEYS]
    return {name: averages[name] for name in names}
