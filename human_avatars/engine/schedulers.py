"""Learning-rate schedules whose state is plain Python numbers, so that checkpoints load without trusting pickles."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

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
        rate_factor: Factor on the initial rate after a number of steps.
    """

    def __init__(self, optimizer: Optimizer, rate_factor: Callable[[int], float]) -> None:
        for group in optimizer.param_groups:
            group["lr"] = float(group["lr"])
        super().__init__(optimizer, lr_lambda=lambda step: float(rate_factor(step)))

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
class FloatExponentialDecaySchedulerConfig(ExponentialDecaySchedulerConfig):
    """nerfstudio's warm-up and exponential decay, with a state that loads anywhere."""

    _target: type = field(default_factory=lambda: FloatExponentialDecayScheduler)


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
        """
        return FloatLambdaLR(optimizer, lambda step: self.rate(step, lr_init) / lr_init)

    def rate(self, step: int, lr_init: float) -> float:
        """The learning rate at one step.

        Args:
            step: Training steps taken.
            lr_init: Rate after the warm-up.

        Returns:
            The rate.
        """
        config = self.config
        if step < config.warmup_steps:
            return config.lr_pre_warmup + (lr_init - config.lr_pre_warmup) * self._ramp(step / config.warmup_steps)
        lr_final = lr_init if config.lr_final is None else config.lr_final
        decay_steps = config.max_steps - config.warmup_steps
        progress = min((step - config.warmup_steps) / decay_steps, 1.0) if decay_steps > 0 else 1.0
        # A straight line between the logarithms.
        return math.exp(math.log(lr_init) * (1 - progress) + math.log(lr_final) * progress)

    def _ramp(self, progress: float) -> float:
        if self.config.ramp == "cosine":
            return math.sin(0.5 * math.pi * progress)
        if self.config.ramp == "linear":
            return progress
        assert_never(self.config.ramp)


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
