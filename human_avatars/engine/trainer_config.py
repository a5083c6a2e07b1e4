"""AvatarTrainerConfig: nerfstudio's training settings, with learning rates that know how long the training is."""

from dataclasses import dataclass, replace
from typing import Any

from nerfstudio.engine.trainer import TrainerConfig

from human_avatars.engine.milestones import MilestoneSchedulerConfig
from human_avatars.engine.schedulers import FloatExponentialDecaySchedulerConfig


@dataclass
class AvatarTrainerConfig(TrainerConfig):
    """TrainerConfig whose schedules may last as long as the training: `max_steps=None` means `max_num_iterations`.

    The number is filled in when the trainer is made, after the command line was read. Files such as config.yml keep
    None.
    """

    def setup(self, **kwargs: Any) -> Any:
        """Make the trainer.

        Args:
            **kwargs: What nerfstudio passes to it.

        Returns:
            The trainer, whose configuration is a copy of this one with all schedules' lengths as numbers.
        """
        optimizers = {name: self._filled_in(options) for name, options in self.optimizers.items()}
        config = replace(self, optimizers=optimizers)
        return config._target(config, **kwargs)

    def _filled_in(self, options: dict[str, Any]) -> dict[str, Any]:
        scheduler = options["scheduler"]
        lasting = FloatExponentialDecaySchedulerConfig, MilestoneSchedulerConfig
        if isinstance(scheduler, lasting) and scheduler.max_steps is None:
            return {**options, "scheduler": replace(scheduler, max_steps=self.max_num_iterations)}
        return options
