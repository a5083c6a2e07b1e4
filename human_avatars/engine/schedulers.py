"""Learning-rate schedules whose state is plain Python numbers, so that checkpoints load without trusting pickles."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig, Scheduler, SchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import assert_never


class FloatLambdaLR(LambdaLR):
    """A LambdaLR that stores Python floats only.

    nerfstudio's own schedules return NumPy scalars. They reach the optimizer's and the scheduler's state, and
    `torch.load` refuses such a checkpoint since PyTorch 2.6, because it reads nothing but weights by default.

    Args:
        optimizer: The optimizer whose rate is set.
        rate_factor: Factor on the initial rate after a number of steps. Where it is an object and not a function,
            PyTorch saves its fields with the schedule, and a resumed run takes them up.
    """

    def __init__(self, optimizer: Optimizer, rate_factor: Callable[[int], float]) -> None:
        for group in optimizer.param_groups:
            group["lr"] = float(group["lr"])
        super().__init__(optimizer, lr_lambda=rate_factor)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a saved state, NumPy scalars of an older one turned into floats.

        Args:
            state_dict: What `state_dict` of this or of the stock class returned.
        """
        super().load_state_dict(state_dict)
        self.base_lrs = [float(rate) for rate in self.base_lrs]
        self._last_lr = [float(rate) for rate in self._last_lr]
        for group in self.optimizer.param_groups:
            group.update({key: float(group[key]) for key in ("lr", "initial_lr") if key in group})


@dataclass
class ExponentialDecay:
    """The stock schedule's factor on the initial rate: warm-up, then a straight line between the logarithms."""

    lr_init: float
    """Rate after the warm-up."""
    lr_final: float
    """Rate at the end."""
    lr_pre_warmup: float
    """Rate of the first step."""
    warmup_steps: int
    """Steps until the initial rate."""
    max_steps: int
    """Steps until the final rate, which holds from then on."""
    ramp: Literal["linear", "cosine"]
    """Form of the warm-up."""

    def __call__(self, step: int) -> float:
        """The factor at one step.

        Args:
            step: Training steps taken.

        Returns:
            The learning rate over the initial one.
        """
        if step < self.warmup_steps:
            ramp = self._ramp(step / self.warmup_steps)
            return (self.lr_pre_warmup + (self.lr_init - self.lr_pre_warmup) * ramp) / self.lr_init
        decay_steps = self.max_steps - self.warmup_steps
        progress = min((step - self.warmup_steps) / decay_steps, 1.0) if decay_steps > 0 else 1.0
        return math.exp(progress * (math.log(self.lr_final) - math.log(self.lr_init)))

    def _ramp(self, progress: float) -> float:
        if self.ramp == "cosine":
            return math.sin(0.5 * math.pi * progress)
        if self.ramp == "linear":
            return progress
        assert_never(self.ramp)


@dataclass
class FloatExponentialDecaySchedulerConfig(ExponentialDecaySchedulerConfig):
    """nerfstudio's warm-up and exponential decay, with a state that loads anywhere.

    A run resumed with `--load-dir` goes on with the schedule it began with, to its end and then at the final rate,
    however many steps it adds: its rate never jumps up. `--load-scheduler False` begins the schedule anew.
    """

    _target: type = field(default_factory=lambda: FloatExponentialDecayScheduler)
    max_steps: int | None = 100000  # pyright: ignore[reportIncompatibleVariableOverride]
    """Steps until the final rate; None for the whole training, `--max-num-iterations` (needs AvatarTrainerConfig)."""


class FloatExponentialDecayScheduler(Scheduler):
    """Ramps up to the initial rate, then decays exponentially to the final one; the stock class's formula."""

    config: FloatExponentialDecaySchedulerConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LambdaLR:
        """The schedule for one optimizer.

        Args:
            optimizer: The optimizer whose rate is set.
            lr_init: Rate after the warm-up.

        Returns:
            The scheduler, to be stepped once per training step.

        Raises:
            ValueError: The length of the training was asked for, and nobody filled it in.
        """
        config = self.config
        decay = ExponentialDecay(
            lr_init=float(lr_init),
            lr_final=float(lr_init if config.lr_final is None else config.lr_final),
            lr_pre_warmup=float(config.lr_pre_warmup),
            warmup_steps=config.warmup_steps,
            max_steps=known_length(config.max_steps),
            ramp=config.ramp,
        )
        return FloatLambdaLR(optimizer, decay)


def known_length(max_steps: int | None) -> int:
    """The length of a schedule.

    Args:
        max_steps: Steps; None for the whole training.

    Raises:
        ValueError: The length of the training was asked for, and nobody filled it in.
    """
    if max_steps is None:
        raise ValueError(
            "max_steps is None, the whole training, but the method's configuration is no AvatarTrainerConfig, which "
            "knows its length: expected a number of steps. Give one with --optimizers.<group>.scheduler.max-steps."
        )
    return max_steps


@dataclass
class EpochDecaySchedulerConfig(SchedulerConfig):
    """Neural Body's schedule: the rate falls once per epoch, by `decay_factor` in `decay_epochs` epochs.

    The defaults are the published training's: 400 epochs of 500 steps take the rate from 5e-4 to 2e-4.
    """

    _target: type = field(default_factory=lambda: EpochDecayScheduler)
    steps_per_epoch: int = 500
    """Training steps that share one rate."""
    decay_epochs: int = 1000
    """Epochs after which the rate has fallen by `decay_factor`."""
    decay_factor: float = 0.1
    """Factor on the rate after `decay_epochs` epochs."""


class EpochDecayScheduler(Scheduler):
    """The rate is `lr_init * decay_factor ** (epoch / decay_epochs)`, constant within an epoch."""

    config: EpochDecaySchedulerConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LambdaLR:
        """The schedule for one optimizer.

        Args:
            optimizer: The optimizer whose rate is set.
            lr_init: Rate of the first epoch.

        Returns:
            The scheduler, to be stepped once per training step.
        """
        config = self.config

        def rate_factor(step: int) -> float:
            return config.decay_factor ** (step // config.steps_per_epoch / config.decay_epochs)

        return FloatLambdaLR(optimizer, rate_factor)
