"""Learning rates that fall in steps, at fractions of the training."""

from dataclasses import dataclass, field

from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from human_avatars.engine.schedulers import FloatLambdaLR, known_length


@dataclass
class MilestoneSchedulerConfig(SchedulerConfig):
    """The rate is multiplied by `factor` at each milestone; the defaults are GaussianAvatar's 66th and 133rd of 200
    epochs."""

    _target: type = field(default_factory=lambda: MilestoneScheduler)
    milestones: tuple[float, ...] = (1 / 3, 2 / 3)
    """Fractions of the training after which the rate falls."""
    factor: float = 0.1
    """Factor on the rate at each milestone."""
    max_steps: int | None = None
    """Steps of the training; None for `--max-num-iterations` (needs AvatarTrainerConfig)."""


@dataclass
class _Milestones:
    """Factor on the initial rate; its fields are saved with a run, which is resumed on the schedule it began with."""

    steps: tuple[float, ...]
    factor: float

    def __call__(self, step: int) -> float:
        return self.factor ** sum(step >= milestone for milestone in self.steps)


class MilestoneScheduler(Scheduler):
    """Lets a rate fall in steps."""

    config: MilestoneSchedulerConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LambdaLR:
        """The schedule for one optimizer.

        Args:
            optimizer: The optimizer whose rate is set.
            lr_init: Rate of the first step.

        Returns:
            The scheduler, to be stepped once per training step.

        Raises:
            ValueError: The length of the training was asked for, and nobody filled it in.
        """
        num_steps = known_length(self.config.max_steps)
        steps = tuple(fraction * num_steps for fraction in self.config.milestones)
        return FloatLambdaLR(optimizer, _Milestones(steps, self.config.factor))
