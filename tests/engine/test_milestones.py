"""Rates fall at fractions of the training, and a resumed run keeps the schedule it began with."""

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from human_avatars.engine.milestones import MilestoneSchedulerConfig


def _scheduler(**options: object) -> LambdaLR:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    return MilestoneSchedulerConfig(**options).setup().get_scheduler(optimizer, 0.5)  # pyright: ignore[reportArgumentType]


def _rates(scheduler: LambdaLR, steps: int) -> list[float]:
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def test_the_rate_falls_after_a_third_and_two_thirds() -> None:
    rates = _rates(_scheduler(max_steps=9), 9)
    assert rates == pytest.approx([0.5] * 3 + [0.05] * 3 + [0.005] * 3)


def test_milestones_and_factor_are_options() -> None:
    assert _rates(_scheduler(max_steps=4, milestones=(0.5,), factor=0.2), 4) == pytest.approx([0.5, 0.5, 0.1, 0.1])


def test_a_resumed_run_goes_on_with_its_schedule() -> None:
    first = _scheduler(max_steps=9)
    _rates(first, 4)
    resumed = _scheduler(max_steps=90)
    resumed.load_state_dict(first.state_dict())
    assert _rates(resumed, 4) == pytest.approx([0.05, 0.05, 0.005, 0.005])


def test_a_length_that_nobody_filled_in_is_an_error() -> None:
    with pytest.raises(ValueError, match="AvatarTrainerConfig"):
        _scheduler()
