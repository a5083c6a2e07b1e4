"""When GaussianAvatar's texels are decoded: once for several training images, once for all in evaluation."""

from collections.abc import Callable
from dataclasses import fields
from itertools import chain
from typing import Any

from torch import Tensor, nn

from human_avatars.body_models.base_body_model import map_tensors
from human_avatars.fields.gaussian_avatar_field import TexelGaussians


class SharedDecoding:
    """One decoding for the images of several training steps between which no weight changes.

    The decoder costs more than everything else of a step. All steps but the last leave their gradients at the decoded
    values; the last adds them to its own on the way back, so that the weights receive the sum of all steps.

    Args:
        decode: Decodes the texels.
    """

    def __init__(self, decode: Callable[[], TexelGaussians]) -> None:
        self._decode = decode
        self._decoded: TexelGaussians | None = None
        self._waiting: TexelGaussians | None = None

    def of_step(self, step: int, steps_per_update: int) -> TexelGaussians:
        """The texels for one training step.

        Args:
            step: The step, from 0. Weights change after every `steps_per_update` of them.
            steps_per_update: Steps that share a decoding.

        Returns:
            The Gaussians. Every tensor of them must receive a gradient in this step.
        """
        place = step % steps_per_update
        if place == 0 or self._decoded is None or self._waiting is None:
            self._decoded = self._decode()
            self._waiting = map_tensors(self._decoded, lambda tensor: tensor.detach().requires_grad_())
        decoded, waiting = self._decoded, self._waiting
        if place < steps_per_update - 1:
            return waiting
        self._decoded = self._waiting = None
        return _with_gradients_of(decoded, waiting)


def _with_gradients_of(decoded: TexelGaussians, waiting: TexelGaussians) -> TexelGaussians:
    """The decoded values, to whose gradients those are added that wait."""
    for field in fields(decoded):
        tensor, earlier = getattr(decoded, field.name), getattr(waiting, field.name).grad
        if earlier is not None:
            tensor.register_hook(lambda gradient, earlier=earlier: gradient + earlier)
    return decoded


class BakedTexels:
    """Keeps decoded texels until the weights they came from change.

    Args:
        module: Whose weights decide.
    """

    def __init__(self, module: nn.Module) -> None:
        # Walking the modules' names takes longer than posing a body.
        self._modules = list(module.modules())
        self._key: Any = None
        self._baked: TexelGaussians | None = None

    def get(self, pose: Any, decode: Callable[[], TexelGaussians]) -> TexelGaussians:
        """The texels for a pose, decoded where they are not at hand.

        Args:
            pose: What they depend on beside the weights; None where on nothing.
            decode: Decodes them.

        Returns:
            The Gaussians, without gradients.
        """
        tensors = chain.from_iterable((*m._parameters.values(), *m._buffers.values()) for m in self._modules)
        key = (pose, [_state(tensor) for tensor in tensors if tensor is not None])
        if self._baked is None or key != self._key:
            self._baked = map_tensors(decode(), lambda tensor: tensor.detach())
            self._key = key
        return self._baked


def _state(tensor: Tensor) -> tuple[int, int]:
    """Changes with every write into a tensor, and when it moves to another device."""
    return tensor.data_ptr(), tensor._version
