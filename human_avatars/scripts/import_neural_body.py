"""`human-avatars import-checkpoint neural-body`: Neural Body's published weights as a run that nerfstudio opens."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig
from human_avatars.files.weight_files import read_weight_file
from human_avatars.scripts.imported_runs import RunPlace, say_what_next, write_run

STEPS_PER_EPOCH = 500
"""Training steps in an epoch of the published training."""


def main(checkpoint: Path, capture: tyro.conf.SuppressFixed[ZjuMocapDataParserConfig], place: RunPlace) -> None:
    """Turn the weights of the original implementation into a nerfstudio run.

    Args:
        checkpoint: Its file, such as latest.pth.
        capture: What it was trained on. The number of training frames is the checkpoint's own where none is given.
        place: Where the run goes.
    """
    say_what_next(import_neural_body(checkpoint, capture, place))


def import_neural_body(checkpoint: Path, capture: ZjuMocapDataParserConfig, place: RunPlace) -> Path:
    """Write a run of Neural Body that holds published weights.

    Args:
        checkpoint: The original's file.
        capture: What the checkpoint was trained on; the number of frames may be left to the checkpoint.
        place: Where the run goes.

    Returns:
        The run's config.yml.

    Raises:
        ValueError: The file is missing, broken or of another model, the capture does not fit, or a run is in the way.
    """
    from human_avatars.checkpoints.neural_body import convert_state_dict
    from human_avatars.configs.method_configs import neural_body

    network, epoch = read_neural_body_checkpoint(checkpoint)
    try:
        weights = convert_state_dict(network)
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from error
    frame_codes, vertex_codes = len(weights["frame_codes.weight"]), len(weights["codes.weight"])
    config: Any = copy.deepcopy(neural_body.config)
    place.assign_to(config, capture.data)
    config.pipeline.datamanager.dataparser = _at_absolute_paths(capture, frame_codes)
    try:
        pipeline: Any = config.pipeline.setup(device="cpu", test_mode="test")
    except ValueError as error:
        raise ValueError(f"{checkpoint} needs the capture it was trained on, {frame_codes} frames: {error}") from error
    _check_fit(checkpoint, pipeline.model, vertex_codes, frame_codes)
    pipeline.model.field.load_state_dict(weights)
    return write_run(config, pipeline, (epoch + 1) * STEPS_PER_EPOCH - 1, place.overwrite)


def read_neural_body_checkpoint(path: Path) -> tuple[dict[str, Any], int]:
    """The network's weights and the last epoch out of a file that the original's trainer wrote.

    Nothing in the file is executed: it is read as weights only.

    Args:
        path: The file.

    Returns:
        Weights by the original's names, and the number of the last epoch, from 0.

    Raises:
        ValueError: The file is missing, unreadable, or holds something else.
    """
    content = read_weight_file(path, "give the checkpoint, such as latest.pth, with --checkpoint")
    if not isinstance(content, dict) or not isinstance(content.get("net"), dict):
        found = f"the keys {', '.join(map(str, content))}" if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{path} holds {found}, expected a dictionary with 'net', the network's weights, and 'epoch': "
            "give the file that Neural Body's training wrote, such as latest.pth."
        )
    epoch = content.get("epoch")
    if not isinstance(epoch, int) or epoch < 0:
        raise ValueError(
            f"{path}: 'epoch' is {epoch!r}, expected the number of the last epoch: the file is incomplete."
        )
    return content["net"], epoch


def _at_absolute_paths(capture: ZjuMocapDataParserConfig, frame_codes: int) -> ZjuMocapDataParserConfig:
    """The capture by paths that hold from every working directory, with as many frames as there are codes."""
    body_model_path = None if capture.body_model_path is None else capture.body_model_path.absolute()
    num_train_frames = frame_codes if capture.num_train_frames is None else capture.num_train_frames
    return replace(
        capture,
        data=capture.data.absolute(),
        body_model_path=body_model_path,
        num_train_frames=num_train_frames,
    )


def _check_fit(checkpoint: Path, model: Any, vertex_codes: int, frame_codes: int) -> None:
    num_vertices, num_frames = model.subject.num_vertices, len(model.train_frame_indices)
    if num_vertices != vertex_codes:
        raise ValueError(
            f"{checkpoint} has codes for {vertex_codes} vertices, but the body of the capture has {num_vertices}: "
            "give the capture that it was trained on with --data, or its body model with --body-model-path."
        )
    if num_frames != frame_codes:
        raise ValueError(
            f"{checkpoint} has codes for {frame_codes} frames, but {num_frames} frames of the capture train: "
            "leave --num-train-frames out."
        )
