"""`human-avatars import-checkpoint`: an original implementation's weights as a run that nerfstudio's commands open."""

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
import yaml
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import TrainerConfig

from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig
from human_avatars.files.safe_writes import check_free, fresh_folder

STEPS_PER_EPOCH = 500
"""Training steps in an epoch of Neural Body's published training."""


def main(
    method: tyro.conf.Positional[Literal["neural-body"]],
    checkpoint: Path,
    capture: tyro.conf.SuppressFixed[ZjuMocapDataParserConfig],
    output_dir: Path = Path("outputs"),
    experiment_name: str | None = None,
    timestamp: str = "{timestamp}",
    overwrite: bool = False,
) -> None:
    """Turn published weights into a nerfstudio run.

    Args:
        method: The method whose original implementation wrote the file.
        checkpoint: Its file, such as latest.pth.
        capture: What it was trained on. The number of training frames is the checkpoint's own where none is given.
        output_dir: Where runs go, as in ns-train.
        experiment_name: Name of the experiment; the capture's folder where none is given.
        timestamp: Name of the run; the present time where none is given.
        overwrite: Replace an existing run of that name.
    """
    config = method_config(method)
    config.output_dir, config.experiment_name, config.timestamp = output_dir.absolute(), experiment_name, timestamp
    config.set_timestamp()
    run_config = import_neural_body(checkpoint, config, capture, overwrite)
    print(f"Wrote {run_config}\nMeasure it with\n  ns-eval --load-config {run_config}")
    print(f"Look at it with\n  ns-viewer --load-config {run_config}")


def method_config(method: Literal["neural-body"]) -> TrainerConfig:
    """A fresh copy of a method's configuration.

    Args:
        method: Name of a method, as ns-train knows it.

    Returns:
        The configuration of its training.
    """
    from human_avatars.configs.method_configs import neural_body

    assert neural_body.config.method_name == method
    return copy.deepcopy(neural_body.config)


def import_neural_body(
    checkpoint: Path, config: TrainerConfig, capture: ZjuMocapDataParserConfig, overwrite: bool = False
) -> Path:
    """Write a run of Neural Body that holds published weights.

    Args:
        checkpoint: The original's file.
        config: The method's configuration with output folder and timestamp set; the capture is filled in.
        capture: What the checkpoint was trained on; the number of frames may be left to the checkpoint.
        overwrite: Whether an existing run may be replaced.

    Returns:
        The run's config.yml.

    Raises:
        ValueError: The file is missing, broken or of another model, the capture does not fit, or a run is in the way.
    """
    from human_avatars.checkpoints.neural_body import convert_state_dict

    network, epoch = read_neural_body_checkpoint(checkpoint)
    try:
        weights = convert_state_dict(network)
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from error
    frame_codes, vertex_codes = len(weights["frame_codes.weight"]), len(weights["codes.weight"])
    _fill_in(config, capture, frame_codes)
    run_folder = config.get_base_dir()
    check_free(run_folder, overwrite)
    try:
        pipeline: Any = config.pipeline.setup(device="cpu", test_mode="test")
    except ValueError as error:
        raise ValueError(f"{checkpoint} needs the capture it was trained on, {frame_codes} frames: {error}") from error
    _check_fit(checkpoint, pipeline.model, vertex_codes, frame_codes)
    pipeline.model.field.load_state_dict(weights)
    step = (epoch + 1) * STEPS_PER_EPOCH - 1
    with fresh_folder(run_folder, overwrite) as folder:
        checkpoint_folder = folder / config.relative_model_dir
        checkpoint_folder.mkdir(parents=True)
        torch.save(trainer_state(config, pipeline, step), checkpoint_folder / f"step-{step:09d}.ckpt")
        pipeline.datamanager.train_dataparser_outputs.save_dataparser_transform(folder / "dataparser_transforms.json")
        (folder / "config.yml").write_text(yaml.dump(config), "utf8")
    return run_folder / "config.yml"


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
    if not path.is_file():
        raise ValueError(
            f"{path.absolute()} does not exist: give the checkpoint, such as latest.pth, with --checkpoint."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        # torch's own message advises to load it without the restriction, which would execute what is in it.
        raise ValueError(
            f"{path} cannot be read as a PyTorch checkpoint of weights ({type(error).__name__}): it is cut short, of "
            "another kind, or holds more than data. Download it again, and from its authors."
        ) from error
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


def trainer_state(config: TrainerConfig, pipeline: Any, step: int) -> dict[str, Any]:
    """What nerfstudio's trainer would have saved after a step, had it trained these weights.

    Args:
        config: The run's configuration.
        pipeline: The pipeline with its weights.
        step: Last step that was trained.

    Returns:
        The checkpoint. The optimizers' moments are those of a fresh start; the learning rate is the step's.
    """
    optimizers = Optimizers(dict(config.optimizers), pipeline.get_param_groups())
    for scheduler in optimizers.schedulers.values():
        scheduler.last_epoch, scheduler._step_count = step, step + 1
        scheduler.step()  # sets the rates of the step that comes next
    return {
        "step": step,
        "pipeline": pipeline.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.optimizers.items()},
        "schedulers": {name: scheduler.state_dict() for name, scheduler in optimizers.schedulers.items()},
        "scalers": {},
    }


def _fill_in(config: Any, capture: ZjuMocapDataParserConfig, frame_codes: int) -> None:
    """Point a method's configuration at a capture, by a path that holds from every working directory."""
    paths = {"data": capture.data.absolute(), "body_model_path": capture.body_model_path}
    if capture.body_model_path is not None:
        paths["body_model_path"] = capture.body_model_path.absolute()
    num_train_frames = frame_codes if capture.num_train_frames is None else capture.num_train_frames
    datamanager = config.pipeline.datamanager
    datamanager.dataparser = replace(capture, **paths, num_train_frames=num_train_frames)
    config.data = datamanager.data = paths["data"]


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
