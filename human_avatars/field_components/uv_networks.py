"""The networks that GaussianAvatar runs over UV maps of a body: feature smoother, pose encoder and point decoder."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from human_avatars.field_components.frame_batch_norm import BatchNormEval, FrameBatchNorm

HALVINGS = 5
"""Times that the pose encoder halves its map, so the sides of the map are divisible by 32."""


class FeatureSmoother(nn.Module):
    """Three linear 5x5 convolutions, which let a texel's features share what their neighbours learn (Sec. 3.2).

    Args:
        channels: Channels of the feature map.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(channels, channels, kernel_size=5, padding=2, bias=False) for _ in range(3))
        )

    def forward(self, features: Float[Tensor, "batch channels height width"]) -> Tensor:
        """Smooth a feature map.

        Args:
            features: Features of the texels; beyond the map lie zeros.

        Returns:
            A map of the same shape.
        """
        return self.layers(features)


class PoseEncoder(nn.Module):
    """The U-Net of stage 2: features of a pose from the map of the posed body's positions (Sec. 3.3, POP's encoder).

    Five strided convolutions lead down and five transposed ones up again, each of these reading beside its
    predecessor's result the one that came down at its resolution.

    Args:
        out_channels: Channels of the pose features.
        filters: Channels after the first convolution; deeper ones have up to eight times as many.
        bn_eval: Statistics of batch norm in evaluation.
    """

    def __init__(self, out_channels: int = 64, filters: int = 32, bn_eval: BatchNormEval = "running") -> None:
        super().__init__()
        f = filters
        self.down = nn.ModuleList(
            [_halving(3, f), _halving(f, 2 * f), _halving(2 * f, 4 * f), _halving(4 * f, 8 * f), _halving(8 * f, 8 * f)]
        )
        # Neither the first layer, nor the one at the bottom, nor the last one is normalised.
        self.down_norms = nn.ModuleList([FrameBatchNorm(n * f, bn_eval, affine=False) for n in (2, 4, 8)])
        self.up = nn.ModuleList(
            [
                _doubling(8 * f, 8 * f),
                _doubling(16 * f, 4 * f),
                _doubling(8 * f, 2 * f),
                _doubling(4 * f, f),
                _doubling(2 * f, out_channels, bias=True),
            ]
        )
        self.up_norms = nn.ModuleList([FrameBatchNorm(n * f, bn_eval, affine=False) for n in (8, 4, 2, 1)])

    def forward(self, positions: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels height width"]:
        """Encode a pose.

        Args:
            positions: Posed positions of the body's texels, in metres, and zeros beside the body.

        Returns:
            Pose features at the same resolution.
        """
        size = tuple(positions.shape[-2:])
        assert all(side % 2**HALVINGS == 0 for side in size), f"A position map of {size} cannot be halved five times."
        came_down = [self.down[0](positions)]
        for level, layer in enumerate(self.down[1:], start=1):
            features = layer(F.leaky_relu(came_down[-1], 0.2))
            came_down.append(features if level == HALVINGS - 1 else self.down_norms[level - 1](features))
        features = came_down.pop()
        for layer, norm in zip(self.up[:-1], self.up_norms, strict=True):
            features = torch.cat([norm(layer(F.relu(features))), came_down.pop()], dim=1)
        return self.up[-1](F.relu(features))


def _halving(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1, bias=False)


def _doubling(in_channels: int, out_channels: int, bias: bool = False) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1, bias=bias)


class DecodedPoints(NamedTuple):
    """What the point decoder's heads say of each point, before activations."""

    offset: Float[Tensor, "points 3"]
    scale: Float[Tensor, "points 1"]
    color: Float[Tensor, "points 3"]


class PointDecoder(nn.Module):
    """POP's shape decoder: a shared perceptron with one skip connection and a head for each quantity (Sec. 3.2).

    Args:
        in_channels: Channels of a point's features, its UV coordinates included.
        hidden: Width of all layers.
        bn_eval: Statistics of batch norm in evaluation.
    """

    def __init__(self, in_channels: int = 66, hidden: int = 128, bn_eval: BatchNormEval = "running") -> None:
        super().__init__()
        widths = [in_channels, hidden, hidden, hidden, in_channels + hidden]
        self.trunk = nn.ModuleList([_DecoderLayer(width, hidden, bn_eval) for width in widths])
        self.offset = _head(hidden, 3, bn_eval)
        self.scale = _head(hidden, 1, bn_eval)
        self.color = _head(hidden, 3, bn_eval)

    def forward(self, features: Float[Tensor, "points channels"]) -> DecodedPoints:
        """Decode points, each on its own but for the statistics of batch norm.

        Args:
            features: Features and UV coordinates of the points.

        Returns:
            The heads' results.
        """
        hidden = features
        for layer in self.trunk[:-1]:
            hidden = layer(hidden)
        hidden = self.trunk[-1](torch.cat([features, hidden], dim=-1))
        return DecodedPoints(offset=self.offset(hidden), scale=self.scale(hidden), color=self.color(hidden))


class _DecoderLayer(nn.Module):
    """Linear, batch norm, softplus."""

    def __init__(self, in_channels: int, out_channels: int, bn_eval: BatchNormEval) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels)
        self.norm = FrameBatchNorm(out_channels, bn_eval)

    def forward(self, features: Float[Tensor, "points channels"]) -> Float[Tensor, "points hidden"]:
        """One layer."""
        return F.softplus(self.norm(self.linear(features)))


def _head(hidden: int, out_channels: int, bn_eval: BatchNormEval) -> nn.Sequential:
    layers = [_DecoderLayer(hidden, hidden, bn_eval) for _ in range(2)]
    return nn.Sequential(*layers, nn.Linear(hidden, out_channels))
