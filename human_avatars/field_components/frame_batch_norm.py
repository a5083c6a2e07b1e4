"""Batch norm over the elements of one frame, which may keep using that frame's statistics in evaluation."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

BatchNormEval = Literal["frame", "running"]
"""Statistics of batch norm in evaluation: of the frame at hand, as some originals render, or the running averages."""


class FrameBatchNorm(_BatchNorm):
    """Batch norm for any number of spatial axes, whose statistics in evaluation are a choice.

    Args:
        channels: Length of the second axis.
        bn_eval: Statistics in evaluation.
        eps: Added to the variance.
        momentum: Weight of the newest statistics in the running averages.
        affine: Whether a factor and an offset per channel are learned.
    """

    def __init__(
        self, channels: int, bn_eval: BatchNormEval, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True
    ) -> None:
        super().__init__(channels, eps=eps, momentum=momentum, affine=affine)
        self.bn_eval: BatchNormEval = bn_eval

    def forward(self, input: Float[Tensor, "elements channels *space"]) -> Float[Tensor, "elements channels *space"]:
        """Normalise; only training moves the running averages."""
        if self.training or self.bn_eval == "running":
            return super().forward(input)
        return F.batch_norm(input, None, None, self.weight, self.bias, training=True, eps=self.eps)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes will do."""
