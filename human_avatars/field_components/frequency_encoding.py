"""NeRF's positional encoding in the order in which human NeRFs store their weights."""

import torch
from jaxtyping import Float
from torch import Tensor


def frequency_encoding(
    values: Float[Tensor, "*batch channels"], num_frequencies: int
) -> Float[Tensor, "*batch encoded"]:
    """x, sin(x), cos(x), sin(2 x), cos(2 x), ..., each over all channels: frequencies 2^k without pi.

    Args:
        values: What to encode.
        num_frequencies: Octaves.

    Returns:
        `channels * (1 + 2 * num_frequencies)` numbers.
    """
    octaves = 2.0 ** torch.arange(num_frequencies, device=values.device, dtype=values.dtype)
    angles = values[..., None, :] * octaves[:, None]
    waves = torch.stack([angles.sin(), angles.cos()], dim=-2)
    return torch.cat([values, waves.flatten(-3)], dim=-1)
