"""Schedules as long as the training, from Python, from the command line and from config.yml."""

from dataclasses import replace
from typing import Any

import pytest
import tyro
import yaml
from nerfstudio.engine.optimizers import AdamOptimizerConfig

from human_avatars.engine.milestones import MilestoneSchedulerConfig
from human_avatars.engine.schedulers import EpochDecaySchedulerConfig, FloatExponentialDecaySchedulerConfig
from human_avatars.engine.trainer_config import AvatarTrainerConfig


class _Recorder:
    """Stands for the trainer."""

    def __init__(self, config: AvatarTrainerConfig, **kwargs: Any) -> None:
        self.config, self.kwargs = config, kwargs


@pytest.fixture
def config() -> AvatarTrainerConfig:
    schedulers = {
        "whole": FloatExponentialDecaySchedulerConfig(lr_final=1e-4, max_steps=None),
        "fixed": FloatExponentialDecaySchedulerConfig(lr_final=1e-4, max_steps=77),
        "steps": MilestoneSchedulerConfig(),
        "epochs": EpochDecaySchedulerConfig(),
        "none": None,
    }
    optimizers = {
        name: {"optimizer": AdamOptimizerConfig(), "scheduler": scheduler} for name, scheduler in schedulers.items()
    }
    return AvatarTrainerConfig(
        _target=_Recorder, method_name="some-method", max_num_iterations=3000, optimizers=optimizers
    )


def _max_steps(config: AvatarTrainerConfig) -> list[int | None]:
    return [config.optimizers[name]["scheduler"].max_steps for name in ("whole", "fixed", "steps")]


def test_the_trainer_sees_the_trainings_length(config: AvatarTrainerConfig) -> None:
    trainer = config.setup(local_rank=3, world_size=4)
    assert _max_steps(trainer.config) == [3000, 77, 3000]
    assert trainer.config.optimizers["epochs"]["scheduler"] == EpochDecaySchedulerConfig()
    assert trainer.config.optimizers["none"]["scheduler"] is None
    assert trainer.kwargs == {"local_rank": 3, "world_size": 4}


def test_the_configuration_itself_keeps_following_the_length(config: AvatarTrainerConfig) -> None:
    config.setup()
    assert _max_steps(config) == [None, 77, None]
    assert _max_steps(replace(config, max_num_iterations=7).setup().config) == [7, 77, 7]


def test_the_command_lines_length_counts(config: AvatarTrainerConfig) -> None:
    # What ns-train does with all methods.
    subcommands = tyro.extras.subcommand_type_from_defaults({"some-method": config, "other": config})
    parsed = tyro.cli(
        tyro.conf.SuppressFixed[tyro.conf.FlagConversionOff[subcommands]],  # type: ignore[valid-type]
        args=["some-method", "--max-num-iterations", "12"],
    )
    assert _max_steps(parsed.setup().config) == [12, 77, 12]
    parsed = tyro.cli(
        tyro.conf.SuppressFixed[tyro.conf.FlagConversionOff[subcommands]],  # type: ignore[valid-type]
        args=["some-method", "--optimizers.whole.scheduler.max-steps", "5"],
    )
    assert _max_steps(parsed.setup().config) == [5, 77, 3000]


def test_config_yml_keeps_the_rule(config: AvatarTrainerConfig) -> None:
    loaded = yaml.load(yaml.dump(config), Loader=yaml.Loader)
    assert loaded == config
    assert _max_steps(replace(loaded, max_num_iterations=9).setup().config) == [9, 77, 9]
