"""GaussianAvatar's field: a feature map of the surface, decoded to a Gaussian per texel (Hu et al., CVPR 2024)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import assert_never

from human_avatars.field_components.frame_batch_norm import BatchNormEval
from human_avatars.field_components.uv_networks import FeatureSmoother, PointDecoder, PoseEncoder

OFFSET_SCALE = 0.02
"""Metres per unit of the offset head, which is linear: not a bound. As released."""
FEATURE_DEVIATION = 0.01
"""Standard deviation of a fresh feature map. As released."""

Stage = Literal[1, 2]
"""1: one appearance for all poses. 2: features of the pose are added."""
DecodedTexels = Literal["valid", "all"]
"""Which texels are decoded. "all", as released, lets those beside the body take part in batch norm's statistics."""


@dataclass(frozen=True)
class TexelGaussians:
    """The Gaussians of the body's texels before posing, row by row; opacity is 1 and rotation none (Sec. 3.1)."""

    offsets: Float[Tensor, "texels 3"]
    """Displacement from the surface of the canonical body, in metres."""
    radii: Float[Tensor, " texels"]
    """Standard deviation in all directions, in metres."""
    colors: Float[Tensor, "texels 3"]
    """RGB in [0, 1]."""
    squared_offset: Float[Tensor, ""]
    """Mean square over the coordinates of all decoded offsets, in square metres."""


class GaussianAvatarField(nn.Module):
    """Gaussians from a learned feature map of the surface and, in stage 2, from features of the pose.

    Args:
        mask: Texels of the square UV map that show the body; one Gaussian each.
        stage: Whether the appearance depends on the pose.
        feature_size: Texels along each side of the feature map and of the position map; divisible by 32 in stage 2.
        feature_channels: Channels of the feature map.
        hidden: Width of the decoder.
        encoder_filters: Channels after the pose encoder's first convolution.
        bn_eval: Statistics of batch norm in evaluation.
        decoded_texels: Which texels are decoded.
    """

    def __init__(
        self,
        mask: Bool[Tensor, "size size"],
        stage: Stage = 1,
        feature_size: int = 128,
        feature_channels: int = 64,
        hidden: int = 128,
        encoder_filters: int = 32,
        bn_eval: BatchNormEval = "running",
        decoded_texels: DecodedTexels = "valid",
    ) -> None:
        super().__init__()
        self.stage: Stage = stage
        self.decoded_texels: DecodedTexels = decoded_texels
        self.features = nn.Parameter(FEATURE_DEVIATION * torch.randn(1, feature_channels, feature_size, feature_size))
        self.smoother = FeatureSmoother(feature_channels)
        self.decoder = PointDecoder(feature_channels + 2, hidden, bn_eval)
        self.pose_encoder = PoseEncoder(feature_channels, encoder_filters, bn_eval) if stage == 2 else None
        # Derived from the body's surface map, which is at hand wherever the field is made.
        self.register_buffer("valid", mask.reshape(-1).nonzero().squeeze(-1), persistent=False)
        self.valid: Tensor
        self.map_size = len(mask)

    @property
    def feature_size(self) -> int:
        """Texels along each side of the feature map, and of the position map of stage 2."""
        return self.features.shape[-1]

    @property
    def num_texels(self) -> int:
        """Texels of the body, one Gaussian each."""
        return len(self.valid)

    @torch.no_grad()
    def set_initial_radius(self, radius: float) -> None:
        """Let a fresh field's Gaussians be about this large, in metres, instead of half a metre."""
        last = self.decoder.scale[-1]
        assert isinstance(last, nn.Linear)
        last.bias.fill_(math.log(radius / (1 - radius)))

    def encode_pose(
        self, position_map: Float[Tensor, "3 feature_size feature_size"]
    ) -> Float[Tensor, "1 channels feature_size feature_size"]:
        """Features of a pose (Sec. 3.3).

        Args:
            position_map: Positions of the posed body's texels, in metres, and zeros beside the body.

        Returns:
            What is added to the smoothed feature map.
        """
        assert self.pose_encoder is not None, "Stage 1 has no pose encoder."
        return self.pose_encoder(position_map[None])

    def forward(
        self, pose_features: Float[Tensor, "1 channels feature_size feature_size"] | None = None
    ) -> TexelGaussians:
        """Decode the body's texels (Sec. 3.2).

        Args:
            pose_features: Of `encode_pose` in stage 2; None in stage 1.

        Returns:
            One Gaussian per texel of the body. In stage 1 they are the same for all poses.
        """
        assert (pose_features is None) == (self.stage == 1), "Stage 2 decodes features of a pose, stage 1 none."
        features = self.smoother(self.features)
        if pose_features is not None:
            features = features + pose_features
        decoded = self.decoder(self._read(features))
        offsets = OFFSET_SCALE * decoded.offset
        squared_offset = offsets.square().mean()
        radii, colors = torch.sigmoid(decoded.scale[:, 0]), torch.sigmoid(decoded.color)
        if self.decoded_texels == "all":
            offsets, radii, colors = offsets[self.valid], radii[self.valid], colors[self.valid]
        return TexelGaussians(offsets=offsets, radii=radii, colors=colors, squared_offset=squared_offset)

    def _read(
        self, features: Float[Tensor, "1 channels feature_size feature_size"]
    ) -> Float[Tensor, "decoded channels_and_uv"]:
        """Features of the texels to decode and their place in the map: row, then column, from 0 to 1."""
        texels = self._texels()
        rows = torch.div(texels, self.map_size, rounding_mode="floor")
        place = torch.stack([rows, texels % self.map_size], dim=-1).to(features) / (self.map_size - 1)
        if self.map_size == self.feature_size:
            read = features.flatten(2)[0, :, texels]
        else:
            # grid_sample counts from -1 to 1 and takes the column first. As released, the first and last texel lie on
            # the outer edge of the feature map, half a feature beyond its last centre.
            grid = 2 * place.flip(-1) - 1
            read = F.grid_sample(features, grid[None, None], mode="bilinear", align_corners=False)[0, :, 0]
        return torch.cat([read.t(), place], dim=-1)

    def _texels(self) -> Tensor:
        if self.decoded_texels == "valid":
            return self.valid
        if self.decoded_texels == "all":
            return torch.arange(self.map_size**2, device=self.valid.device)
        assert_never(self.decoded_texels)
