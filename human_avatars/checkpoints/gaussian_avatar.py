"""Weights of the original GaussianAvatar implementation, of both stages, as weights of our field.

Its trainer writes `<run>/net/iteration_<epoch>/net.pth` in stage 1 and `pose_encoder.pth` there in stage 2. Each is a
dictionary: `net` (the smoother and the decoder), in stage 2 `pose_encoder`, `geo_feature` (the feature map),
`pose` and `transl` (a table each of the training frames' refined poses), and the state of its optimizers.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from human_avatars.checkpoints.tensor_names import check_names, shortened
from human_avatars.field_components.uv_networks import HALVINGS
from human_avatars.fields.gaussian_avatar_field import GaussianAvatarField, Stage
from human_avatars.files.weight_files import read_weight_file

FILE_OF_STAGE: dict[Stage, str] = {1: "net.pth", 2: "pose_encoder.pth"}
"""What the original's trainer calls its files."""
FEATURES, POSES, TRANSLATIONS = "geo_feature", "pose.weight", "transl.weight"
BODIES = {24: ("SMPL", 24), 22: ("SMPL-X", 55)}
"""By joints in the table of poses: the family of the body model, and all its joints. Of SMPL-X those of hands and face
are not refined."""

_NORM_ENTRIES = ("running_mean", "running_var", "num_batches_tracked")
_HEADS = (("", "offset"), ("N", "scale"), ("SH", "color"))
"""How the original marks the layers of a head."""


@dataclass(frozen=True)
class GaussianAvatarCheckpoint:
    """What a file of the original holds, in our words."""

    stage: Stage
    """2 where it holds a pose encoder."""
    epoch: int | None
    """Epochs that were trained, where the folder's name tells."""
    weights: dict[str, Tensor]
    """A state dict for `GaussianAvatarField` with this stage and feature size."""
    axis_angle: Float[Tensor, "frames joints 3"]
    """Refined joint rotations of the training frames, the root first, in radians."""
    transl: Float[Tensor, "frames 3"]
    """Refined root translations, in metres."""

    @property
    def feature_size(self) -> int:
        """Texels along each side of the feature map."""
        return self.weights["features"].shape[-1]

    @property
    def body(self) -> str:
        """The family of the body model that it was trained with."""
        return BODIES[self.axis_angle.shape[1]][0]

    @property
    def num_joints(self) -> int:
        """Joints of that body model, those included that were not refined."""
        return BODIES[self.axis_angle.shape[1]][1]


def find_checkpoint(path: Path, stage: Stage | None = None) -> Path:
    """The file in a folder of the original's trainer.

    Args:
        path: The file itself, the folder of an iteration, or the run's folder, whose last iteration is taken.
        stage: Which of the two files; the one that is there where none is given, of both that of stage 2.

    Returns:
        The file.

    Raises:
        ValueError: There is none.
    """
    if not path.is_dir():
        return path
    names = [FILE_OF_STAGE[wanted] for wanted in ((2, 1) if stage is None else (stage,))]
    iterations = sorted(path.glob("net/iteration_*"), key=lambda folder: _epoch(folder) or 0, reverse=True)
    for folder in (path, *iterations):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise ValueError(
        f"{path} holds no {' or '.join(names)}, nor does any folder net/iteration_* in it: give the file, the folder "
        f"of its iteration, or the output folder of GaussianAvatar's training{_of_stage(stage)}."
    )


def read_gaussian_avatar_checkpoint(path: Path, stage: Stage | None = None) -> GaussianAvatarCheckpoint:
    """Read published weights. Nothing in the file is executed: it is read as weights only.

    Args:
        path: As for `find_checkpoint`.
        stage: The stage that it must be of; any where none is given.

    Returns:
        Its weights and refined poses.

    Raises:
        ValueError: The file is missing, unreadable, of another stage, body or size, or holds something else.
    """
    file = find_checkpoint(path, stage)
    content = read_weight_file(file, "give GaussianAvatar's net.pth or pose_encoder.pth with --checkpoint")
    try:
        tensors = flatten_checkpoint(content)
        found_stage = stage_of(tensors)
        if stage is not None and stage != found_stage:
            raise ValueError(
                f"It is of stage {found_stage}, expected stage {stage}: give the {FILE_OF_STAGE[stage]} of a training"
                f"{_of_stage(stage)}."
            )
        weights = convert_state_dict(tensors)
        axis_angle, transl = _poses(tensors)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return GaussianAvatarCheckpoint(
        stage=found_stage, epoch=_epoch(file.parent), weights=weights, axis_angle=axis_angle, transl=transl
    )


def flatten_checkpoint(content: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint under one level of names, without what its optimizers kept.

    Args:
        content: What the file holds.

    Raises:
        ValueError: It is no checkpoint of GaussianAvatar.
    """
    if not isinstance(content, Mapping):
        raise ValueError(
            f"It holds a {type(content).__name__}, expected a dictionary: give net.pth or pose_encoder.pth."
        )
    tables = [name for name in ("net", "pose_encoder", "pose", "transl") if isinstance(content.get(name), Mapping)]
    missing = [name for name in ("net", FEATURES, "pose", "transl") if name not in (*tables, *content)]
    if missing or not isinstance(content[FEATURES], Tensor):
        raise ValueError(
            f"It holds {shortened([repr(name) for name in content])}, expected 'net', 'geo_feature', 'pose' and "
            "'transl': give the net.pth or pose_encoder.pth that GaussianAvatar's training wrote."
        )
    tensors = {f"{table}.{name}": tensor for table in tables for name, tensor in content[table].items()}
    others = [name for name, tensor in tensors.items() if not isinstance(tensor, Tensor)]
    if others:
        raise ValueError(f"{shortened(others)} is no tensor: the file is of another kind.")
    return {FEATURES: content[FEATURES], **tensors}


def stage_of(tensors: Mapping[str, Tensor]) -> Stage:
    """The stage that a flattened checkpoint is of."""
    return 2 if any(name.startswith("pose_encoder.") for name in tensors) else 1


def convert_state_dict(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate the original's weights.

    Args:
        tensors: A flattened checkpoint.

    Returns:
        A state dict for `GaussianAvatarField` of its stage and feature size.

    Raises:
        ValueError: Names are missing or unknown, or a tensor has another shape than the published network's.
    """
    stage = stage_of(tensors)
    names = dict(_names(stage))
    found = [name for name in tensors if name not in (POSES, TRANSLATIONS)]
    check_names(found, names, "The GaussianAvatar checkpoint", f"the published networks of stage {stage}")
    size = _feature_size(tensors[FEATURES], stage)
    mask = torch.ones(1, 1, dtype=torch.bool)
    with torch.device("meta"):
        reference = GaussianAvatarField(mask, stage=stage, feature_size=size).state_dict()
    return {ours: _convert(tensors[theirs], reference[ours].shape, theirs) for theirs, ours in names.items()}


def _names(stage: Stage) -> Iterator[tuple[str, str]]:
    """Every tensor's name in the flattened checkpoint and in our field."""
    yield FEATURES, "features"
    for layer in range(3):
        yield f"net.geom_proc_layers.conv{layer + 1}.weight", f"smoother.layers.{layer}.weight"
    decoder = [(f"{i + 1}", f"trunk.{i}") for i in range(5)]
    decoder += [(f"{i}{mark}", f"{head}.{i - 6}") for mark, head in _HEADS for i in (6, 7)]
    for theirs, ours in decoder:
        for entry in ("weight", "bias"):
            yield f"net.decoder.conv{theirs}.{entry}", f"decoder.{ours}.linear.{entry}"
        for entry in ("weight", "bias", *_NORM_ENTRIES):
            yield f"net.decoder.bn{theirs}.{entry}", f"decoder.{ours}.norm.{entry}"
    for mark, head in _HEADS:
        for entry in ("weight", "bias"):
            yield f"net.decoder.conv8{mark}.{entry}", f"decoder.{head}.2.{entry}"
    if stage == 2:
        yield from _encoder_names()


def _encoder_names() -> Iterator[tuple[str, str]]:
    for layer in range(HALVINGS):
        yield f"pose_encoder.conv{layer + 1}.conv.weight", f"pose_encoder.down.{layer}.weight"
        yield f"pose_encoder.upconv{layer + 1}.up.weight", f"pose_encoder.up.{layer}.weight"
    yield f"pose_encoder.upconv{HALVINGS}.up.bias", f"pose_encoder.up.{HALVINGS - 1}.bias"
    norms = [(f"conv{i + 2}", f"down_norms.{i}") for i in range(3)]
    norms += [(f"upconv{i + 1}", f"up_norms.{i}") for i in range(4)]
    for theirs, ours in norms:
        for entry in _NORM_ENTRIES:
            yield f"pose_encoder.{theirs}.bn.{entry}", f"pose_encoder.{ours}.{entry}"


def _feature_size(features: Tensor, stage: Stage) -> int:
    size = features.shape[-1]
    if features.ndim != 4 or features.shape[-2] != size or (stage == 2 and size % 2**HALVINGS):
        raise ValueError(
            f"{FEATURES} has the shape {list(features.shape)}, expected [1, 64, size, size]"
            f"{' with a size divisible by 32' * (stage == 2)}: UV maps are square, 128 as published."
        )
    return size


def _convert(tensor: Tensor, shape: torch.Size, name: str) -> Tensor:
    # The decoder's layers are convolutions of kernel 1 there, linear layers here.
    accepted = [*shape, 1] if name.startswith("net.decoder.conv") and len(shape) == 2 else [*shape]
    if list(tensor.shape) != accepted:
        raise ValueError(
            f"{name} has the shape {list(tensor.shape)}, expected {accepted}: only the published sizes can be imported."
        )
    # A copy of its own: a saved run must not share memory with the file it came from.
    return tensor.detach().clone(memory_format=torch.contiguous_format).view(shape)


def _poses(tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Axis-angle rotations (frames joints 3) and translations (frames 3) of the training frames."""
    poses, transl = (tensors.get(name, torch.empty(0)).detach() for name in (POSES, TRANSLATIONS))
    if poses.ndim != 2 or poses.shape[1] not in [3 * joints for joints in BODIES]:
        raise ValueError(
            f"{POSES} has the shape {list(poses.shape)}, expected [frames, 72] of SMPL's 24 joints or [frames, 66] of "
            "SMPL-X's 22 without hands and face: other bodies were not published."
        )
    if list(transl.shape) != [len(poses), 3]:
        raise ValueError(f"{TRANSLATIONS} has the shape {list(transl.shape)}, expected [{len(poses)}, 3].")
    return poses.clone().unflatten(1, (-1, 3)), transl.clone()


def _epoch(folder: Path) -> int | None:
    match = re.fullmatch(r"iteration_(\d+)", folder.name)
    return int(match[1]) if match else None


def _of_stage(stage: Stage | None) -> str:
    return "" if stage is None else f" with --train_stage {stage}"
