"""GaussianAvatar's two stages: what the second takes over from the first, and which weights it refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.engine.callbacks import TrainingCallbackAttributes
from torch.testing import assert_close

from human_avatars.body_models.body_pose_optimizer import BodyPoseOptimizerConfig
from human_avatars.models.gaussian_avatar import GaussianAvatarModel

MakeModel = Callable[..., GaussianAvatarModel]
Attributes = Callable[..., TrainingCallbackAttributes]


def _saved(model: GaussianAvatarModel, folder: Path) -> Path:
    """A run's checkpoint that holds the model."""
    folder.mkdir()
    pipeline = {f"_model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"step": 7, "pipeline": pipeline}, folder / "step-000000007.ckpt")
    return folder


def test_stage_2_leaves_poses_and_features_as_they_are(make_avatar: MakeModel) -> None:
    options: Any = {"body_pose_optimizer": BodyPoseOptimizerConfig(mode="all")}
    first, second = make_avatar(**options), make_avatar(stage=2, **options)
    assert set(first.get_param_groups()) == {"features", "decoder", "body_pose_opt"}
    assert set(second.get_param_groups()) == {"decoder_stage2", "pose_encoder"}
    frozen = {name for name, weight in second.named_parameters() if not weight.requires_grad}
    assert frozen - {"device_indicator_param"} == {
        "field.features",
        "body_pose_optimizer.rotation_corrections",
        "body_pose_optimizer.transl_corrections",
    }


def test_stage_2_starts_from_a_run_of_stage_1(make_avatar: MakeModel, attributes: Attributes, tmp_path: Path) -> None:
    options: Any = {"body_pose_optimizer": BodyPoseOptimizerConfig(mode="all")}
    first = make_avatar(**options)
    torch.nn.init.normal_(first.body_pose_optimizer.transl_corrections)
    run = _saved(first, tmp_path / "run")
    second = make_avatar(stage=2, stage1_checkpoint=run, **options)
    encoder = second.field.pose_encoder
    assert encoder is not None
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    second.get_training_callbacks(attributes())
    assert_close(second.field.features, first.field.features, check_device=False)
    assert_close(second.field.decoder.state_dict(), first.field.decoder.state_dict())
    assert_close(second.body_pose_optimizer.state_dict(), first.body_pose_optimizer.state_dict())
    assert_close(encoder.state_dict(), before)
    with pytest.raises(ValueError, match=r"Stage 1 refined the poses.*mode as in stage 1"):
        make_avatar(stage=2, stage1_checkpoint=run).get_training_callbacks(attributes())


def test_stage_2_that_goes_on_does_not_look_for_stage_1(
    make_avatar: MakeModel, attributes: Attributes, tmp_path: Path
) -> None:
    model = make_avatar(stage=2, stage1_checkpoint=tmp_path / "moved")
    model.load_state_dict(make_avatar(stage=2).state_dict())
    model.get_training_callbacks(attributes())


@pytest.mark.parametrize(
    ("options", "saved", "message"),
    [
        ({}, None, "starts from stage 1: give its run"),
        ({}, {"stage": 2}, "weights of gaussian-avatar's stage 2, the model is of stage 1"),
        ({}, {"uv_size": 40}, "made for a body of .* texels and 24 joints, the model's has"),
        ({}, {"feature_size": 64}, "size mismatch for field.features"),
    ],
)
def test_stage_2_does_not_start_from_what_does_not_fit(
    options: dict[str, Any],
    saved: dict[str, Any] | None,
    message: str,
    make_avatar: MakeModel,
    attributes: Attributes,
    tmp_path: Path,
) -> None:
    run = None if saved is None else _saved(make_avatar(**saved), tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        make_avatar(stage=2, stage1_checkpoint=run, **options).get_training_callbacks(attributes())


def test_a_checkpoint_of_the_other_stage_is_refused_with_the_cure(make_avatar: MakeModel) -> None:
    first, second = make_avatar().state_dict(), make_avatar(stage=2).state_dict()
    with pytest.raises(ValueError, match=r"stage 1, the model is of stage 2: .*stage1-checkpoint"):
        make_avatar(stage=2).load_state_dict(first)
    with pytest.raises(ValueError, match=r"stage 2, the model is of stage 1: set --pipeline.model.stage 2"):
        make_avatar().load_state_dict(second)
    with pytest.raises(ValueError, match="no weights of gaussian-avatar"):
        make_avatar().load_state_dict({"field.codes": torch.zeros(1)})
