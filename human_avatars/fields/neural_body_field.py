"""Neural Body's field: codes on the body's vertices, diffused, read and decoded (Peng et al., CVPR 2021)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from human_avatars.field_components.frame_batch_norm import BatchNormEval
from human_avatars.field_components.frequency_encoding import frequency_encoding
from human_avatars.field_components.sparse_convolution import LEVELS, Kernel, SparseConvNet
from human_avatars.field_components.sparse_sampling import find_corners, sum_corners, touches
from human_avatars.field_components.sparse_voxels import SparseVoxels, VoxelGrid, VoxelLevel
from human_avatars.field_components.surface_motion import follow_surface

# Sec. 3.3 and Table 7 of the paper.
POSITION_FREQUENCIES = 10
DIRECTION_FREQUENCIES = 4
POSITION_CHANNELS = 3 * (1 + 2 * POSITION_FREQUENCIES)
DIRECTION_CHANNELS = 3 * (1 + 2 * DIRECTION_FREQUENCIES)


@dataclass(frozen=True)
class CodeVolumes:
    """Codes diffused around the body of one frame, ready to be read at any number of points."""

    root_transform: Float[Tensor, "4 4"]
    """World from model: the body's root rotation and translation."""
    grid: VoxelGrid
    """The voxels' place in the model's space."""
    levels: tuple[VoxelLevel, ...]
    """Filled voxels at 1/2, 1/4, 1/8 and 1/16 of the resolution."""
    features: tuple[Float[Tensor, "_ _"], ...]
    """Diffused codes of those voxels."""
    moving_vertices: Float[Tensor, "vertices 3"] | None
    """World vertices of a body whose pose learns, in metres; None where it does not."""

    def unit_points(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """World points as fractions of the grid's edges."""
        # Row vectors: (p - t) R applies the inverse rotation.
        return self.grid.unit_points((points - self.root_transform[:3, 3]) @ self.root_transform[:3, :3])


class NeuralBodyField(nn.Module):
    """Density and colour from codes anchored to the vertices of a posed body.

    Args:
        num_vertices: Vertices of the body model, one code each.
        num_frame_codes: Training frames, one appearance code each.
        box_padding: Margin of the voxel grid on each axis of the model's space, in metres.
        code_dim: Length of a vertex code.
        hidden_dim: Width of the heads.
        frame_code_dim: Length of a frame's appearance code.
        voxel_size: Edge of a full-resolution voxel, in metres.
        bn_eval: Statistics of batch norm in evaluation.
        kernel: How sparse convolutions are computed; by default as made for the device.
    """

    def __init__(
        self,
        num_vertices: int,
        num_frame_codes: int,
        box_padding: tuple[float, float, float],
        code_dim: int = 16,
        hidden_dim: int = 256,
        frame_code_dim: int = 128,
        voxel_size: float = 0.005,
        bn_eval: BatchNormEval = "frame",
        kernel: Kernel | None = None,
    ) -> None:
        super().__init__()
        self.box_padding = box_padding
        self.voxel_size = voxel_size
        self.kernel: Kernel | None = kernel
        self.codes = nn.Embedding(num_vertices, code_dim)
        self.diffusion = SparseConvNet(code_dim, bn_eval)
        self.frame_codes = nn.Embedding(num_frame_codes, frame_code_dim)
        self.heads = NeuralBodyHeads(
            sum(channels for channels, _ in LEVELS[1:]), hidden_dim=hidden_dim, frame_code_dim=frame_code_dim
        )

    def diffuse(self, vertices: Float[Tensor, "vertices 3"], root_transform: Float[Tensor, "4 4"]) -> CodeVolumes:
        """Spread the codes through the space around a posed body (Sec. 3.2).

        The rulebook depends on the pose alone and costs a few milliseconds, so it is made anew at every call: a pose
        may change between any two. Keep the result for all points of one pose.

        Args:
            vertices: Posed vertices in the world, in metres.
            root_transform: World from model.

        Raises:
            ValueError: The vertices are not finite, or span more voxels than a body can.
        """
        assert len(vertices) == self.codes.num_embeddings, "One code for each vertex."
        with torch.no_grad():
            model_vertices = (vertices - root_transform[:3, 3]) @ root_transform[:3, :3]
            grid = VoxelGrid.around(model_vertices, self.box_padding, self.voxel_size)
            voxels = SparseVoxels.from_coordinates(grid.coordinates(model_vertices), grid.shape)
        features = self.diffusion(voxels.sum_codes(self.codes.weight), voxels, self.kernel)
        return CodeVolumes(
            # The vertices tell of the root's motion too.
            root_transform=root_transform.detach(),
            grid=grid,
            levels=voxels.levels[1:],
            features=features,
            moving_vertices=vertices if vertices.requires_grad else None,
        )

    def occupied(self, volumes: CodeVolumes, points: Float[Tensor, "points 3"], level: int) -> Bool[Tensor, "points"]:
        """Whether a point reads any diffused code at a level.

        Args:
            volumes: Codes of the frame.
            points: World positions, in metres.
            level: 1 to 4: the grid of 1/2 to 1/16 of the resolution.
        """
        voxels = volumes.levels[level - 1]
        with torch.no_grad():
            rows, _ = find_corners(voxels, volumes.unit_points(points))
            return touches(rows, voxels)

    def forward(
        self,
        volumes: CodeVolumes,
        points: Float[Tensor, "points 3"],
        directions: Float[Tensor, "directions 3"],
        frame_code_index: int,
        ray_indices: Int[Tensor, "points"] | None = None,
    ) -> tuple[Float[Tensor, "points 1"], Float[Tensor, "points 3"]]:
        """Density and colour at points in the world (Sec. 3.3, eqs. 1-4).

        Args:
            volumes: Codes of the frame.
            points: World positions, in metres.
            directions: Unit viewing directions in the world: one for each point, or one for each ray.
            frame_code_index: Appearance code to use.
            ray_indices: Row of `directions` for each point, where it holds one for each ray.

        Returns:
            Density before its activation, and colour in [0, 1].
        """
        vertices = volumes.moving_vertices
        unit_points = volumes.unit_points(points if vertices is None else follow_surface(points, vertices))
        rows, weights = zip(*(find_corners(level, unit_points) for level in volumes.levels), strict=True)
        with torch.no_grad():
            reached = torch.stack([touches(r, level) for r, level in zip(rows, volumes.levels, strict=True)]).any(dim=0)
            reached_points = reached.nonzero().squeeze(-1)
            # All others read zeros, so one of them stands for all in the part of the heads that sees codes alone.
            selected = torch.cat([reached_points, (~reached).nonzero().squeeze(-1)[:1]])
        features = sum_corners(volumes.features, tuple(r[selected] for r in rows), tuple(w[selected] for w in weights))
        density, hidden = self.heads.decode_codes(features, self.frame_codes.weight[frame_code_index])
        if len(reached_points) < len(points):
            density = _spread(density, reached_points, len(points))
            hidden = _spread(hidden, reached_points, len(points))
        encoded_directions = frequency_encoding(directions, DIRECTION_FREQUENCIES)
        if ray_indices is not None:
            encoded_directions = encoded_directions.index_select(0, ray_indices)
        encoded = torch.cat([encoded_directions, frequency_encoding(points, POSITION_FREQUENCIES)], dim=-1)
        return density, self.heads.decode_color(hidden, encoded)


def _spread(values: Float[Tensor, "selected channels"], rows: Int[Tensor, "reached"], num_points: int) -> Tensor:
    """The first values at their rows and the last one at every other row."""
    own, shared = values.split([len(rows), 1])
    # Its gradient is a sum over rows: no scatter, so the same on every run and device.
    return shared.expand(num_points, -1).index_copy(0, rows, own)


class NeuralBodyHeads(nn.Module):
    """The multilayer perceptrons that turn diffused codes into density and colour.

    Args:
        feature_dim: Length of a diffused code, all levels together.
        hidden_dim: Width.
        frame_code_dim: Length of a frame's appearance code.
    """

    def __init__(self, feature_dim: int, hidden_dim: int, frame_code_dim: int) -> None:
        super().__init__()
        self.trunk = nn.ModuleList(
            [nn.Linear(feature_dim, hidden_dim), nn.Linear(hidden_dim, hidden_dim), nn.Linear(hidden_dim, hidden_dim)]
        )
        self.density = nn.Linear(hidden_dim, 1)
        self.feature = nn.Linear(hidden_dim, hidden_dim)
        self.latent = nn.Linear(hidden_dim + frame_code_dim, hidden_dim)
        self.view = nn.Linear(hidden_dim + DIRECTION_CHANNELS + POSITION_CHANNELS, hidden_dim // 2)
        self.color = nn.Linear(hidden_dim // 2, 3)

    def decode_codes(
        self, features: Float[Tensor, "points feature"], frame_code: Float[Tensor, "frame_code"]
    ) -> tuple[Float[Tensor, "points 1"], Float[Tensor, "points hidden"]]:
        """The part that depends on the diffused codes alone.

        Args:
            features: Diffused codes at the points.
            frame_code: The frame's appearance code.

        Returns:
            Density before its activation, and what the codes add to the colour's hidden layer.
        """
        for layer in self.trunk:
            features = F.relu(layer(features), inplace=True)
        # Between the trunk and the view layer the published network has no activation and one code for all points, so
        # its three products are one, of a matrix and a bias that are folded here: view @ (latent @ [feature, code]).
        hidden_dim = self.feature.out_features
        view = self.view.weight[:, :hidden_dim]
        view_latent = view @ self.latent.weight[:, :hidden_dim]
        code_bias = self.latent.weight[:, hidden_dim:] @ frame_code + self.latent.bias
        bias = view_latent @ self.feature.bias + view @ code_bias + self.view.bias
        return self.density(features), F.linear(features, view_latent @ self.feature.weight, bias)

    def decode_color(
        self, hidden: Float[Tensor, "points hidden"], encoded: Float[Tensor, "points encoded"]
    ) -> Float[Tensor, "points 3"]:
        """Colour in [0, 1] from the codes' share of the hidden layer and the encoded direction and position."""
        weight = self.view.weight[:, self.feature.out_features :]
        hidden = F.relu(torch.addmm(hidden, encoded, weight.t()), inplace=True)
        return torch.sigmoid(self.color(hidden))
