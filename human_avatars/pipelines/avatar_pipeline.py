"""nerfstudio's pipeline with results per image and per split, and with weights that stay finite."""

import json
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision.utils
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from nerfstudio.engine.trainer import Trainer
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils import profiler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from human_avatars.data.subject_dataset import SubjectDataset
from human_avatars.files.safe_writes import atomic_path
from human_avatars.pipelines.finite_training import (
    images_of_batch,
    not_finite_parameters,
    not_finite_terms,
    refused_checkpoint,
    stopped_by_loss,
)

TIMINGS = ("num_rays_per_sec", "fps")
"""What nerfstudio reports of an image besides its quality."""
PER_IMAGE_FILE = "per_image.json"
"""Name of the results per image, beside the written images."""


@dataclass
class AvatarPipelineConfig(VanillaPipelineConfig):
    """A data manager, a model, an evaluation that says more than a mean, and a watch over the losses."""

    _target: type = field(default_factory=lambda: AvatarPipeline)


class AvatarPipeline(VanillaPipeline):
    """VanillaPipeline whose evaluation also averages per split and lists every image.

    It runs on any dataset; splits, cameras and frames are known of this package's own. A loss that is not finite stops
    the training before it reaches the weights, and weights that are not finite reach no checkpoint.
    """

    config: AvatarPipelineConfig
    _trainer: Trainer | None = None

    @profiler.time_function
    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """Draw a batch and compute its losses.

        Args:
            step: The training step.

        Returns:
            The model's outputs, the losses and the metrics.

        Raises:
            ValueError: A loss is NaN or infinite; the message names it, the images and the last checkpoint.
        """
        rays, batch = self.datamanager.next_train(step)
        outputs = self._model(rays)  # the wrapped model where several devices train
        metrics = self.model.get_metrics_dict(outputs, batch)
        losses = self.model.get_loss_dict(outputs, batch, metrics)
        terms = not_finite_terms(losses)
        if terms:
            dataset = self.datamanager.train_dataset
            assert dataset is not None
            images = [image_facts(dataset, index) for index in images_of_batch(batch)]
            raise stopped_by_loss(terms, step, images, self.model, self._trainer)
        return outputs, losses, metrics

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """The data manager's and the model's callbacks; the trainer is remembered for messages.

        Args:
            training_callback_attributes: The trainer and its parts.

        Returns:
            The callbacks.
        """
        self._trainer = training_callback_attributes.trainer
        return super().get_training_callbacks(training_callback_attributes)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The weights to be saved. nerfstudio saves between an optimizer's step and the next loss, hence the check.

        Args:
            *args: PyTorch's own.
            **kwargs: PyTorch's own.

        Returns:
            Tensors by name.

        Raises:
            ValueError: Some weights are NaN or infinite.
        """
        broken = not_finite_parameters(self)
        if broken:
            raise refused_checkpoint(broken, self._trainer)
        return super().state_dict(*args, **kwargs)

    @profiler.time_function
    def get_average_image_metrics(
        self,
        data_loader: Any,
        image_prefix: str,
        step: int | None = None,
        output_path: Path | None = None,
        get_std: bool = False,
    ) -> dict[str, Any]:
        """Evaluate every image of the evaluation dataset.

        Args:
            data_loader: Yields a camera and its batch for each image.
            image_prefix: Start of the written images' file names.
            step: Training step, or None when this is a final evaluation (`ns-eval`).
            output_path: Folder for the rendered images and `per_image.json`; nothing is written without it.
            get_std: Whether to add each mean's standard deviation over the images, as `<name>_std`.

        Returns:
            Means over all images by metric name, the same over one split as `<split>/<name>`, and the images in each
            split as `<split>/num_images`. Where `step` is None also `per_image`: one dictionary per image, and
            numbers that do not exist are None, which JSON knows, and not NaN, which it does not.
        """
        dataset, was_training = self.datamanager.eval_dataset, self.training
        assert dataset is not None
        self.eval()
        records = []
        for camera, batch in _with_progress(data_loader):
            metrics, images = self._measure(camera, batch)
            if output_path is not None:
                _write_images(images, output_path, f"{image_prefix}_{{}}_{len(records):04d}.png")
            records.append(image_facts(dataset, int(batch["image_idx"])) | metrics)
        self.train(was_training)
        averages = average_records(records, get_std)
        listed = [{key: _or_none(value) for key, value in record.items()} for record in records]
        if output_path is not None:
            with atomic_path(output_path / PER_IMAGE_FILE) as path:
                path.write_text(json.dumps(listed, indent=2), "utf8")
        if step is not None:  # the training log takes numbers only
            return averages
        return {key: _or_none(value) for key, value in averages.items()} | {"per_image": listed}

    def _measure(self, camera: Cameras, batch: dict[str, Any]) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        """Render and measure one image; the model's own numbers first, the speed after them."""
        start = time.perf_counter()
        outputs = self.model.get_outputs_for_camera(camera=camera)
        metrics, images = self.model.get_image_metrics_and_images(outputs, batch)
        seconds = time.perf_counter() - start
        assert not set(TIMINGS) & set(metrics), "a model measures quality, the pipeline measures speed"
        num_rays = int((camera.height * camera.width).sum())
        measured = {key: float(value) for key, value in metrics.items()}
        return measured | {"num_rays_per_sec": num_rays / seconds, "fps": 1 / seconds}, images


def image_facts(dataset: InputDataset, index: int) -> dict[str, Any]:
    """What a dataset knows of one image.

    Args:
        dataset: The dataset.
        index: Index of the image.

    Returns:
        Its file name as `image`; of a captured person also `camera`, `frame` (its index in the subject's motion) and
        `split`.
    """
    facts: dict[str, Any] = {"image": str(dataset.image_filenames[index])}
    if isinstance(dataset, SubjectDataset):
        frames = dataset.frames
        facts["camera"] = frames.camera_names[index]
        facts["frame"] = int(frames.frame_indices[index])
        facts["split"] = frames.split_labels[index]
    return facts


def average_records(records: list[dict[str, Any]], get_std: bool = False) -> dict[str, float]:
    """Means over all images and over each split.

    Args:
        records: One dictionary per image: metrics as floats, facts as anything else, `split` among them or not.
        get_std: Whether to add standard deviations.

    Returns:
        Means by name. Values that an image does not have (NaN) are left out; with none left the mean is NaN.
    """
    averages = _means(records, get_std)
    for split in sorted({record["split"] for record in records if "split" in record}):
        members = [record for record in records if record.get("split") == split]
        # One rendering speed is enough: it does not depend on the split.
        quality = [{key: value for key, value in record.items() if key not in TIMINGS} for record in members]
        averages |= {f"{split}/{key}": value for key, value in _means(quality, get_std).items()}
        averages[f"{split}/num_images"] = float(len(members))
    return averages


def _means(records: list[dict[str, Any]], get_std: bool) -> dict[str, float]:
    keys = dict.fromkeys(key for record in records for key, value in record.items() if isinstance(value, float))
    means = {}
    for key in keys:
        values = torch.tensor([record.get(key, math.nan) for record in records], dtype=torch.float64)
        values = values[values.isfinite()]
        means[key] = values.mean().item()
        if get_std:
            # One image has no spread that could be estimated; torch would answer NaN.
            means[f"{key}_std"] = values.std().item() if len(values) > 1 else 0.0
    return means


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_images(images: dict[str, torch.Tensor], folder: Path, name_pattern: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for key, image in images.items():
        torchvision.utils.save_image(image.permute(2, 0, 1).cpu(), folder / name_pattern.format(key))


def _with_progress(data_loader: Any) -> Iterator[tuple[Cameras, dict[str, Any]]]:
    """The loader's images behind the progress bar that nerfstudio shows."""
    columns = TextColumn("[progress.description]{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, MofNCompleteColumn(), transient=True) as progress:
        task = progress.add_task("[green]Evaluating all images...", total=len(data_loader))
        images: Iterable[Any] = data_loader
        for image in images:
            yield image
            progress.advance(task)
