"""What all `human-avatars import-checkpoint` commands share: an imported model as a run of nerfstudio's."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import TrainerConfig

from human_avatars.files.safe_writes import check_free, fresh_folder


@dataclass(frozen=True)
class RunPlace:
    """Where a run goes, as ns-train has it."""

    output_dir: Path = Path("outputs")
    """Folder of all runs."""
    experiment_name: str | None = None
    """Name of the experiment; the capture's folder where none is given."""
    timestamp: str = "{timestamp}"
    """Name of the run; the present time where none is given."""
    overwrite: bool = False
    """Replace an existing run of that name."""

    def assign_to(self, config: Any, data: Path) -> None:
        """Say in a configuration where its run goes and what it was captured from.

        Args:
            config: The method's configuration.
            data: The capture's folder.

        Raises:
            ValueError: A run is in the way.
        """
        config.output_dir, config.experiment_name = self.output_dir.absolute(), self.experiment_name
        config.timestamp = self.timestamp
        # By a path that holds from every working directory.
        config.data = config.pipeline.datamanager.data = data.absolute()
        config.set_timestamp()
        check_free(config.get_base_dir(), self.overwrite)


def write_run(config: TrainerConfig, pipeline: Any, step: int, overwrite: bool) -> Path:
    """Write the folder that training would have left.

    Args:
        config: The run's configuration, its place included.
        pipeline: The pipeline with the imported weights.
        step: Last step that was trained.
        overwrite: Whether an existing run may be replaced.

    Returns:
        The run's config.yml.

    Raises:
        ValueError: A run is in the way.
    """
    run_folder = config.get_base_dir()
    with fresh_folder(run_folder, overwrite) as folder:
        checkpoint_folder = folder / config.relative_model_dir
        checkpoint_folder.mkdir(parents=True)
        torch.save(trainer_state(config, pipeline, step), checkpoint_folder / f"step-{step:09d}.ckpt")
        pipeline.datamanager.train_dataparser_outputs.save_dataparser_transform(folder / "dataparser_transforms.json")
        (folder / "config.yml").write_text(yaml.dump(config), "utf8")
    return run_folder / "config.yml"


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


def say_what_next(run_config: Path) -> None:
    """Print where the run is and which commands open it."""
    print(f"Wrote {run_config}\nMeasure it with\n  ns-eval --load-config {run_config}")
    print(f"Look at it with\n  ns-viewer --load-config {run_config}")
