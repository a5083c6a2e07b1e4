"""Losses and weights that are not finite: training stops before they spread, and says where and how to go on."""

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.engine.callbacks import TrainingCallbackAttributes
from nerfstudio.engine.optimizers import AdamOptimizerConfig, Optimizers
from nerfstudio.engine.trainer import Trainer
from torch import Tensor

from human_avatars.pipelines.avatar_pipeline import AvatarPipeline
from human_avatars.pipelines.finite_training import images_of_batch, not_finite_parameters, not_finite_terms

NUM_IMAGES = 6


class _Model(torch.nn.Module):
    """Its loss is what the batch says."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))

    def forward(self, rays: None) -> dict[str, Tensor]:
        return {"rgb": self.weight}

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        return {}

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Any], metrics: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        return {"rgb_loss": outputs["rgb"].sum() * batch["factor"], "offset_loss": torch.tensor(0.5)}

    def get_training_callbacks(self, attributes: TrainingCallbackAttributes) -> list[Any]:
        return []


@pytest.fixture
def batch() -> dict[str, Any]:
    """What the data manager gives next; to be filled in."""
    return {"factor": 1.0, "image_idx": 4}


@pytest.fixture
def pipeline(batch: dict[str, Any]) -> AvatarPipeline:
    cameras = Cameras(torch.eye(4).expand(NUM_IMAGES, 4, 4)[:, :3], fx=5.0, fy=5.0, cx=3.0, cy=2.0, width=6, height=4)
    files = [Path(f"Camera_B1/{index:06d}.jpg") for index in range(NUM_IMAGES)]
    pipeline = AvatarPipeline.__new__(AvatarPipeline)
    torch.nn.Module.__init__(pipeline)
    pipeline._model = _Model()  # type: ignore[assignment]
    pipeline.datamanager = SimpleNamespace(  # type: ignore[assignment]
        train_dataset=InputDataset(DataparserOutputs(files, cameras)),
        next_train=lambda step: (None, batch),
        get_training_callbacks=lambda attributes: [],
    )
    return pipeline


def _weight(pipeline: AvatarPipeline) -> torch.nn.Parameter:
    weight = pipeline.model.weight
    assert isinstance(weight, torch.nn.Parameter)
    return weight


@pytest.fixture
def trainer(pipeline: AvatarPipeline, tmp_path: Path) -> Trainer:
    """nerfstudio's trainer with the parts that a step and a save need."""
    trainer = Trainer.__new__(Trainer)
    trainer.pipeline, trainer.checkpoint_dir, trainer.step = pipeline, tmp_path / "nerfstudio_models", 0
    trainer.config = SimpleNamespace(save_only_latest_checkpoint=True, log_gradients=False)  # type: ignore[assignment]
    trainer.device, trainer.mixed_precision = "cpu", False
    trainer.gradient_accumulation_steps = defaultdict(lambda: 1)
    trainer.grad_scaler = torch.amp.GradScaler("cpu", enabled=False)  # type: ignore[assignment]
    groups = {"fields": list(pipeline.parameters())}
    trainer.optimizers = Optimizers({"fields": {"optimizer": AdamOptimizerConfig(lr=0.1), "scheduler": None}}, groups)
    attributes = TrainingCallbackAttributes(
        optimizers=trainer.optimizers, grad_scaler=None, pipeline=pipeline, trainer=trainer
    )
    trainer.callbacks = pipeline.get_training_callbacks(attributes)
    return trainer


def test_finite_losses_pass_as_they_are(pipeline: AvatarPipeline) -> None:
    outputs, losses, metrics = pipeline.get_train_loss_dict(0)
    assert outputs["rgb"] is _weight(pipeline)
    assert {name: loss.item() for name, loss in losses.items()} == {"rgb_loss": 3.0, "offset_loss": 0.5}
    assert losses["rgb_loss"].requires_grad
    assert metrics == {}


def test_terms_that_are_not_finite_are_named() -> None:
    nan, infinity = torch.tensor(torch.nan), torch.tensor(-torch.inf)
    fine = torch.tensor(1.0)
    assert not_finite_terms({"a": fine, "b": fine}) == {}
    assert not_finite_terms({}) == {}
    assert not_finite_terms({"a": fine, "b": infinity}) == {"b": -torch.inf}
    assert set(not_finite_terms({"a": nan, "b": fine, "c": infinity})) == {"a", "c"}
    huge = torch.tensor(3e38)
    assert not_finite_terms({"a": huge, "b": huge}) == {"loss": torch.inf}


def test_batches_of_images_and_of_rays_tell_their_images() -> None:
    assert images_of_batch({"image_idx": 7}) == [7]
    assert images_of_batch({"image_idx": torch.tensor([7])}) == [7]
    assert images_of_batch({"indices": torch.tensor([[5, 1, 1], [2, 0, 0], [5, 3, 3]])}) == [2, 5]
    assert images_of_batch({}) == []


def test_a_broken_loss_stops_before_the_weights_change(
    trainer: Trainer, batch: dict[str, Any], pipeline: AvatarPipeline
) -> None:
    trainer.train_iteration(0)
    before = _weight(pipeline).detach().clone()
    assert not torch.equal(before, torch.ones(3))
    batch["factor"] = float("nan")
    with pytest.raises(ValueError, match=r"step 1: rgb_loss is nan, .*000004\.jpg.*start again") as caught:
        trainer.train_iteration(1)
    assert torch.equal(_weight(pipeline), before)
    assert "offset_loss" not in str(caught.value)
    assert "earlier step" not in str(caught.value)


def test_the_last_good_checkpoint_is_named_with_the_way_on(trainer: Trainer, batch: dict[str, Any]) -> None:
    trainer.save_checkpoint(500)
    batch["factor"] = float("inf")
    with pytest.raises(ValueError, match=r"rgb_loss is inf") as caught:
        trainer.train_iteration(501)
    assert str(trainer.checkpoint_dir / "step-000000500.ckpt") in str(caught.value)
    assert f"--load-dir {trainer.checkpoint_dir}" in str(caught.value)


def test_of_many_images_some_are_named(pipeline: AvatarPipeline, batch: dict[str, Any]) -> None:
    batch.update(indices=torch.tensor([[index, 0, 0] for index in range(5)]), factor=float("nan"))
    del batch["image_idx"]
    with pytest.raises(ValueError, match=r"000000\.jpg, .*000001\.jpg, .*000002\.jpg and 2 more\."):
        pipeline.get_train_loss_dict(9)


def test_weights_that_broke_before_are_blamed(pipeline: AvatarPipeline) -> None:
    with torch.no_grad():
        _weight(pipeline)[1] = torch.nan
    with pytest.raises(ValueError, match=r"The weights weight were not finite any more: an earlier step broke them"):
        pipeline.get_train_loss_dict(3)


def test_no_checkpoint_is_written_of_broken_weights(trainer: Trainer, pipeline: AvatarPipeline) -> None:
    trainer.save_checkpoint(10)
    with torch.no_grad():
        _weight(pipeline)[1] = torch.inf
    trainer.step = 20
    assert not_finite_parameters(pipeline) == ["_model.weight"]
    with pytest.raises(ValueError, match=r"_model\.weight of step 20 are not finite.*step-000000010\.ckpt"):
        trainer.save_checkpoint(20)
    assert [path.name for path in trainer.checkpoint_dir.iterdir()] == ["step-000000010.ckpt"]
