"""Weights of GaussianAvatar's two stages: which may go into which model, and stage 1 read from a run's checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn

from human_avatars.files.weight_files import read_weight_file

BUILT_FOR = "built_for"
"""Name of the buffer with the stage, the number of texels and the number of joints that weights are made for."""
_MODEL = "_model."
"""How a pipeline's state dict marks what is the model's."""


def check_weights(weights: Mapping[str, Tensor], built_for: Int[Tensor, "3"]) -> None:
    """Refuse weights of the other stage or of another body.

    Args:
        weights: A state dict of `GaussianAvatarModel`.
        built_for: Stage, texels and joints of the model that they are for.

    Raises:
        ValueError: They do not fit.
    """
    if BUILT_FOR not in weights:
        raise ValueError("These are no weights of gaussian-avatar: give a checkpoint that it wrote.")
    (stage, *found), (expected_stage, *expected) = weights[BUILT_FOR].tolist(), built_for.tolist()
    if stage != expected_stage:
        cure = (
            "start stage 2 from them with --pipeline.model.stage1-checkpoint instead of --load-dir"
            if stage == 1
            else "set --pipeline.model.stage 2"
        )
        raise ValueError(
            f"These are weights of gaussian-avatar's stage {stage}, the model is of stage {expected_stage}: {cure}."
        )
    if found != expected:
        raise ValueError(
            f"These weights of gaussian-avatar are made for a body of {found[0]} texels and {found[1]} joints, the "
            f"model's has {expected[0]} texels and {expected[1]} joints: use the body model, the "
            "--pipeline.model.uv-size and the UV layout that they were trained with."
        )


def start_from_stage1(model: nn.Module, path: Path | None, built_for: Int[Tensor, "3"]) -> None:
    """Let a fresh model of stage 2 take over stage 1's field and refined poses; its pose encoder stays as it is.

    Args:
        model: A `GaussianAvatarModel` of stage 2.
        path: As for `read_stage1_weights`.
        built_for: Stage, texels and joints of the model.

    Raises:
        ValueError: There is nothing to start from, or it does not fit.
    """
    if path is None:
        raise ValueError(
            "Stage 2 of gaussian-avatar starts from stage 1: give its run with --pipeline.model.stage1-checkpoint, or "
            "go on with a run of stage 2 with --load-dir."
        )
    weights = read_stage1_weights(path)
    of_stage1 = built_for.clone()
    of_stage1[0] = 1
    try:
        check_weights(weights, of_stage1)
        _take_over(model, weights)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _take_over(model: nn.Module, weights: dict[str, Tensor]) -> None:
    taken = {name: tensor for name, tensor in weights.items() if name.startswith(("field.", "body_pose_optimizer."))}
    loaded = nn.Module.load_state_dict(model, taken, strict=False)
    if any(name.startswith("body_pose_optimizer.") for name in loaded.unexpected_keys):
        raise ValueError(
            "Stage 1 refined the poses, but stage 2 is set to leave them as captured: set "
            "--pipeline.model.body-pose-optimizer.mode as in stage 1."
        )
    missing = [name for name in loaded.missing_keys if name.startswith("field.") and ".pose_encoder." not in name]
    if missing or loaded.unexpected_keys:
        raise ValueError(f"It lacks {missing} and has the unknown {loaded.unexpected_keys}: train stage 1 again.")


def read_stage1_weights(path: Path) -> dict[str, Tensor]:
    """The model's weights out of a checkpoint of stage 1.

    Args:
        path: A file step-*.ckpt, or a folder of a run, whose last checkpoint is taken.

    Returns:
        A state dict of `GaussianAvatarModel`.

    Raises:
        ValueError: There is no checkpoint, it cannot be read, or it is not of this method.
    """
    file = _last_checkpoint(path)
    content = read_weight_file(file, "give a run of stage 1 with --pipeline.model.stage1-checkpoint")
    pipeline: Any = content.get("pipeline") if isinstance(content, Mapping) else None
    if not isinstance(pipeline, Mapping) or _MODEL + BUILT_FOR not in pipeline:
        raise ValueError(
            f"{file} is no checkpoint of gaussian-avatar: give a run of its stage 1 with "
            "--pipeline.model.stage1-checkpoint."
        )
    return {name.removeprefix(_MODEL): tensor for name, tensor in pipeline.items() if name.startswith(_MODEL)}


def _last_checkpoint(path: Path) -> Path:
    if not path.is_dir():
        return path
    # Names carry the step with leading zeros.
    files = sorted(path.rglob("step-*.ckpt"), key=lambda file: file.name)
    if not files:
        raise ValueError(
            f"{path.absolute()} holds no step-*.ckpt: give a checkpoint of stage 1, or its run's folder, with "
            "--pipeline.model.stage1-checkpoint."
        )
    return files[-1]
