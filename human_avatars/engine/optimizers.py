"""The Adams that the methods are trained with, where nerfstudio's has no options for what they need."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.engine.optimizers import AdamOptimizerConfig


class ValueClippedAdam(torch.optim.Adam):
    """Adam on gradients whose every entry is first clipped to [-clip_value, clip_value].

    Clipping in `step` and not before it keeps mixed precision right: the gradient scaler has divided its scale out
    of the gradients by then.

    Args:
        params: Parameters, or groups of them.
        clip_value: Largest magnitude of a gradient entry.
        **kwargs: Adam's own options.
    """

    def __init__(self, params: Any, clip_value: float, **kwargs: Any) -> None:
        super().__init__(params, **kwargs)
        self.clip_value = clip_value

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Clip the gradients, then take one Adam step.

        Args:
            closure: Computes the gradients and returns the loss, where the caller did not do so before.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            torch.nn.utils.clip_grad_value_(group["params"], self.clip_value)
        super().step()
        return loss


@dataclass
class ValueClippedAdamConfig(AdamOptimizerConfig):
    """Adam with clipped gradient values."""

    _target: type = field(default_factory=lambda: ValueClippedAdam)
    clip_value: float = 40.0
    """Largest magnitude of a gradient entry; Neural Body's published training uses 40."""


@dataclass
class FusedAdamConfig(AdamOptimizerConfig):
    """Adam in one pass over each parameter: splats have few, large parameters and steps of milliseconds."""

    betas: tuple[float, float] = (0.9, 0.99)
    """Decay of the running means of gradients and of their squares. A short memory of squares suits short trainings."""
    fused: bool = True
    """Whether PyTorch uses its fused kernels."""
