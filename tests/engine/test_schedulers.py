"""Schedules: published values, the stock formula, and checkpoints that load without trusting pickles."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.engine.optimizers import AdamOptimizerConfig, Optimizers
from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig, SchedulerConfig
from torch.optim.lr_scheduler import LRScheduler

from human_avatars.engine.schedulers import EpochDecaySchedulerConfig, FloatExponentialDecaySchedulerConfig


def _rates(config: SchedulerConfig, lr_init: float, steps: int) -> list[float]:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=lr_init)
    scheduler: LRScheduler = config.setup().get_scheduler(optimizer, lr_init)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def _trainer_optimizers(config: SchedulerConfig) -> Optimizers:
    parameters = {"fields": [torch.nn.Parameter(torch.ones(3))]}
    optimizers = Optimizers({"fields": {"optimizer": AdamOptimizerConfig(lr=1e-3), "scheduler": config}}, parameters)
    parameters["fields"][0].grad = torch.ones(3)
    optimizers.optimizer_step_all()
    optimizers.schedulers["fields"].step()
    return optimizers


def _save_as_trainer(optimizers: Optimizers, path: Path) -> None:
    torch.save(
        {
            "step": 1,
            "pipeline": {"_model.weight": torch.ones(3)},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.optimizers.items()},
            "schedulers": {name: scheduler.state_dict() for name, scheduler in optimizers.schedulers.items()},
            "scalers": {},
        },
        path,
    )


def _loads_in_a_fresh_process(path: Path) -> subprocess.CompletedProcess[str]:
    code = f"import torch; print(torch.load({str(path)!r}, weights_only=True)['step'])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_epoch_decay_is_constant_within_an_epoch_and_falls_between() -> None:
    config = EpochDecaySchedulerConfig(steps_per_epoch=3, decay_epochs=2)
    rates = _rates(config, 1.0, 8)
    assert rates == pytest.approx([1, 1, 1, 10**-0.5, 10**-0.5, 10**-0.5, 0.1, 0.1])


def test_epoch_decay_ends_the_published_training_at_two_in_ten_thousand() -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=5e-4)
    scheduler = EpochDecaySchedulerConfig().setup().get_scheduler(optimizer, 5e-4)
    (rate_factor,) = scheduler.lr_lambdas
    assert rate_factor(499) == 1.0
    assert 5e-4 * rate_factor(500) == pytest.approx(5e-4 * 0.1**0.001)
    assert 5e-4 * rate_factor(400 * 500) == pytest.approx(1.9905e-4, rel=1e-4)


@pytest.mark.parametrize("ramp", ["linear", "cosine"])
@pytest.mark.parametrize("lr_final", [None, 1e-4])
def test_exponential_decay_is_the_stock_schedule(ramp: str, lr_final: float | None) -> None:
    options = {"warmup_steps": 4, "max_steps": 12, "lr_final": lr_final, "ramp": ramp}
    ours = _rates(FloatExponentialDecaySchedulerConfig(**options), 1e-2, 15)
    stock = _rates(ExponentialDecaySchedulerConfig(**options), 1e-2, 15)
    np.testing.assert_allclose(ours, stock, rtol=1e-12)


def test_exponential_decay_survives_a_warmup_as_long_as_the_run() -> None:
    rates = _rates(FloatExponentialDecaySchedulerConfig(warmup_steps=2, max_steps=2, lr_final=1e-3), 1e-2, 4)
    assert rates[2:] == pytest.approx([1e-3, 1e-3])


@pytest.mark.parametrize(
    "config", [EpochDecaySchedulerConfig(), FloatExponentialDecaySchedulerConfig(lr_final=1e-4, warmup_steps=5)]
)
def test_checkpoints_load_without_any_registration(config: SchedulerConfig, tmp_path: Path) -> None:
    _save_as_trainer(_trainer_optimizers(config), tmp_path / "step-000000001.ckpt")
    result = _loads_in_a_fresh_process(tmp_path / "step-000000001.ckpt")
    assert result.returncode == 0, result.stderr


def test_the_stock_schedule_still_needs_replacing(tmp_path: Path) -> None:
    """When this fails, nerfstudio or PyTorch has mended it and the replacement can go."""
    _save_as_trainer(_trainer_optimizers(ExponentialDecaySchedulerConfig()), tmp_path / "stock.ckpt")
    result = _loads_in_a_fresh_process(tmp_path / "stock.ckpt")
    assert "Unsupported global" in result.stderr


def _resumed(steps_before: int, steps_after: int, max_steps: tuple[int, int]) -> list[float]:
    """Rates of a run's second part, whose configuration gives another length than the first part's."""
    first, second = (FloatExponentialDecaySchedulerConfig(lr_final=1e-4, max_steps=steps) for steps in max_steps)
    optimizers, resumed = _trainer_optimizers(first), _trainer_optimizers(second)
    for _ in range(steps_before - 1):  # one was taken
        optimizers.schedulers["fields"].step()
    resumed.load_optimizers({"fields": optimizers.optimizers["fields"].state_dict()})
    resumed.load_schedulers({"fields": optimizers.schedulers["fields"].state_dict()})
    rates = []
    for _ in range(steps_after):
        rates.append(resumed.optimizers["fields"].param_groups[0]["lr"])
        resumed.schedulers["fields"].step()
    return rates


@pytest.mark.parametrize("max_steps", [5, 10, 100])
def test_a_resumed_run_goes_on_with_the_schedule_it_began_with(max_steps: int) -> None:
    whole = _rates(FloatExponentialDecaySchedulerConfig(lr_final=1e-4, max_steps=10), 1e-3, 14)
    assert _resumed(4, 10, (10, max_steps)) == pytest.approx(whole[4:])
    assert _resumed(10, 4, (10, max_steps)) == pytest.approx([1e-4] * 4)


def test_the_length_of_the_training_must_be_filled_in() -> None:
    with pytest.raises(ValueError, match=r"AvatarTrainerConfig.*max-steps"):
        _rates(FloatExponentialDecaySchedulerConfig(max_steps=None), 1e-3, 1)


def test_resuming_from_numpy_scalars_leaves_plain_floats() -> None:
    stock = _trainer_optimizers(ExponentialDecaySchedulerConfig(lr_final=1e-4))
    ours = _trainer_optimizers(FloatExponentialDecaySchedulerConfig(lr_final=1e-4))
    ours.load_optimizers({name: optimizer.state_dict() for name, optimizer in stock.optimizers.items()})
    ours.load_schedulers({name: scheduler.state_dict() for name, scheduler in stock.schedulers.items()})
    scheduler, (group,) = ours.schedulers["fields"], ours.optimizers["fields"].param_groups
    numbers = [*scheduler.base_lrs, *scheduler.get_last_lr(), group["lr"], group["initial_lr"]]
    assert {type(number) for number in numbers} == {float}
    assert scheduler.last_epoch == 1
