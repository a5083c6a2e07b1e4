"""The methods' Adams: clipping of gradient values by hand-worked numbers, and the fused one against PyTorch's own."""

from typing import Any

import pytest
import torch
from nerfstudio.engine.optimizers import Optimizers
from torch.testing import assert_close

from human_avatars.engine.optimizers import FusedAdamConfig, ValueClippedAdam, ValueClippedAdamConfig


def _parameter(*gradient: float) -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(torch.zeros(len(gradient)))
    parameter.grad = torch.tensor(gradient)
    return parameter


def test_moments_are_those_of_clipped_values() -> None:
    parameter = _parameter(100.0, -100.0, 7.0)
    optimizer = ValueClippedAdamConfig(lr=0.5).setup([parameter])
    optimizer.step()
    # First step: moment = (1 - 0.9) * gradient, of gradients 40, -40 and 7.
    assert_close(optimizer.state[parameter]["exp_avg"], torch.tensor([4.0, -4.0, 0.7]))
    assert_close(optimizer.state[parameter]["exp_avg_sq"], torch.tensor([1.6, 1.6, 0.049]))
    assert_close(parameter.detach(), torch.tensor([-0.5, 0.5, -0.5]))


def test_small_gradients_make_it_adam() -> None:
    clipped, plain = _parameter(39.0, -3.0), _parameter(39.0, -3.0)
    ours, adam = ValueClippedAdam([clipped], clip_value=40.0, lr=1e-3), torch.optim.Adam([plain], lr=1e-3)
    for _ in range(3):
        ours.step()
        adam.step()
    assert_close(clipped, plain, rtol=0, atol=0)


def test_parameters_without_gradient_are_left_alone() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    ValueClippedAdam([parameter, _parameter(1.0)], clip_value=1.0, lr=1.0).step()
    assert_close(parameter.detach(), torch.ones(2))


def test_clipping_follows_the_gradient_scaler() -> None:
    """Gradients scaled by 1024 are brought back before they are clipped."""
    parameter = _parameter(30.0 * 1024, 50.0 * 1024)
    config = ValueClippedAdamConfig(lr=0.5)
    optimizers = Optimizers({"fields": {"optimizer": config, "scheduler": None}}, {"fields": [parameter]})
    scaler: Any = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(torch.zeros(1))  # the scale exists from the first use on
    optimizers.optimizer_scaler_step_all(scaler)
    assert_close(optimizers.optimizers["fields"].state[parameter]["exp_avg"], torch.tensor([3.0, 4.0]))


def test_a_closure_computes_the_gradients_that_are_clipped() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = ValueClippedAdam([parameter], clip_value=40.0, lr=0.5)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (100 * parameter).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == pytest.approx(100.0)
    assert_close(optimizer.state[parameter]["exp_avg"], torch.tensor([4.0]))


def test_the_fused_adam_is_adam() -> None:
    parameters = [torch.nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2)]
    fused = FusedAdamConfig(lr=0.1).setup([parameters[0]])
    plain = torch.optim.Adam([parameters[1]], lr=0.1, betas=(0.9, 0.99), eps=fused.defaults["eps"], fused=False)
    assert fused.defaults["fused"]
    for _ in range(5):
        for optimizer, parameter in zip((fused, plain), parameters, strict=True):
            optimizer.zero_grad()
            (parameter**4 - parameter).sum().backward()
            optimizer.step()
    assert_close(parameters[0], parameters[1])


def test_the_fused_adam_forgets_squares_soon() -> None:
    parameter = _parameter(2.0)
    optimizer = FusedAdamConfig(lr=0.5).setup([parameter])
    optimizer.step()
    # Moments (1 - 0.9) * 2 and (1 - 0.99) * 4; the first step is as long as the learning rate.
    assert_close(optimizer.state[parameter]["exp_avg"], torch.tensor([0.2]))
    assert_close(optimizer.state[parameter]["exp_avg_sq"], torch.tensor([0.04]))
    assert_close(parameter.detach(), torch.tensor([-0.5]))


def test_the_fused_adam_follows_the_gradient_scaler() -> None:
    """Fused kernels divide the scale out themselves."""
    parameter = _parameter(2.0 * 1024)
    optimizers = Optimizers(
        {"means": {"optimizer": FusedAdamConfig(lr=0.5), "scheduler": None}}, {"means": [parameter]}
    )
    scaler: Any = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(torch.zeros(1))
    optimizers.optimizer_scaler_step_all(scaler)
    assert_close(optimizers.optimizers["means"].state[parameter]["exp_avg"], torch.tensor([0.2]))
