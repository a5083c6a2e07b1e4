"""Neural Body: implicit representations with structured latent codes for novel view synthesis of dynamic humans.

Peng et al., CVPR 2021: learned codes sit on the vertices of the body, are diffused by sparse convolutions in each
frame, and condition a radiance field.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import mse_loss, relu, softplus
from typing_extensions import assert_never

from human_avatars.body_models.body_pose_optimizer import BodyPoseOptimizerConfig
from human_avatars.field_components.frame_batch_norm import BatchNormEval
from human_avatars.fields.neural_body_field import CodeVolumes, NeuralBodyField
from human_avatars.model_components.body_collider import collide_with_bodies, rays_that_hit
from human_avatars.model_components.volume_rendering import compositing_weights, expected_depth, sample_distances
from human_avatars.models.base_avatar_model import AvatarModel, AvatarModelConfig, PosedFrames

SOFTPLUS_SHIFT = -1.0
"""Added before softplus, so that a fresh field is a thin fog (mip-NeRF, Sec. 3)."""


@dataclass
class NeuralBodyModelConfig(AvatarModelConfig):
    """The published setting of Neural Body, unless a field says otherwise.

    Codes follow refined poses. Voxels have no gradient, so poses learn from what a sample would see if its nearest
    vertex moved: the root's place exactly, rotations nearly.
    """

    _target: type = field(default_factory=lambda: NeuralBodyModel)
    voxel_size: float = 0.005
    """Edge of a voxel of the code volume, in metres."""
    code_dim: int = 16
    """Width of the latent code of each vertex."""
    hidden_dim: int = 256
    """Width of the density and colour heads."""
    frame_code_dim: int = 128
    """Width of the appearance code of each training frame."""
    num_samples: int = 64
    """Samples on each ray, from the near to the far side of the body's box."""
    density_scale: float = 1.0
    """Factor on the density; 1 as published. A larger one lets surfaces harden in fewer steps."""
    density_activation: Literal["relu", "softplus"] = "relu"
    """What makes densities positive; relu as published. softplus has a gradient everywhere, so empty space can fill."""
    last_interval: float = 1e10
    """Length given to the interval behind the last sample, in metres; practically endless, as published. Whatever is
    dense at the far side of the box is opaque then, which shows as black blocks where a hand touches the box."""
    empty_space_level: int | None = None
    """Skip samples where this level of the code volume (1: half resolution ... 4: a sixteenth) has no code in reach.
    None, as published, evaluates every sample."""
    bn_eval: BatchNormEval = "frame"
    """Batch norm outside training: statistics of the frame, as the published evaluation, or the running ones."""
    eval_num_rays_per_chunk: int = 2048
    """Rays rendered at a time."""
    body_pose_optimizer: BodyPoseOptimizerConfig = field(
        default_factory=lambda: BodyPoseOptimizerConfig(start_step=500)
    )
    """Corrections of the captured poses, learned along with the avatar; not before the fog that a fresh field is has
    become a body, which would mislead them."""


class NeuralBodyModel(AvatarModel):
    """Structured latent codes rendered as a radiance field."""

    config: NeuralBodyModelConfig

    def populate_modules(self) -> None:
        """Build the field for the subject's mesh and the training frames."""
        super().populate_modules()
        self.field = NeuralBodyField(
            num_vertices=self.subject.num_vertices,
            num_frame_codes=len(self.train_frame_indices),
            box_padding=self.subject.box_padding,
            code_dim=self.config.code_dim,
            hidden_dim=self.config.hidden_dim,
            frame_code_dim=self.config.frame_code_dim,
            voxel_size=self.config.voxel_size,
            bn_eval=self.config.bn_eval,
        )

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """All weights, under nerfstudio's name for what a field learns.

        Returns:
            Their group, and that of the pose corrections where they are on.
        """
        return {"fields": list(self.field.parameters()), **super().get_param_groups()}

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        """Render flat rays.

        Args:
            ray_bundle: Rays, whose times choose the body that each looks at.

        Returns:
            `rgb` (rays 3), `accumulation` (rays 1) and `depth` (rays 1), the depth in metres.
        """
        rays = _in_floats(ray_bundle)
        frames = self.posed_bodies(rays.times, len(rays))
        return self._render(rays, frames, self._diffuse(frames))

    @torch.no_grad()
    def get_outputs_for_camera_ray_bundle(self, camera_ray_bundle: RayBundle) -> dict[str, Tensor]:
        """Render a whole image: the codes are diffused once, and rays that miss the body cost nothing.

        Args:
            camera_ray_bundle: Rays (height width).

        Returns:
            Outputs as images (height width channels).
        """
        height, width = camera_ray_bundle.origins.shape[:2]
        rays = _in_floats(camera_ray_bundle.flatten().to(self.device))
        frames = self.posed_bodies(rays.times, len(rays))
        volumes = self._diffuse(frames)
        chunks = defaultdict(list)
        for start in range(0, len(rays), self.config.eval_num_rays_per_chunk):
            end = start + self.config.eval_num_rays_per_chunk
            part = replace(frames, entry_of_ray=frames.entry_of_ray[start:end])
            for name, value in self._render(rays[start:end], part, volumes).items():
                chunks[name].append(value)
        device = camera_ray_bundle.origins.device
        return {name: torch.cat(parts).view(height, width, -1).to(device) for name, parts in chunks.items()}

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """PSNR over the batch's rays, and the size of the pose corrections.

        Args:
            outputs: Rendered rays.
            batch: `image`, the true colours.

        Returns:
            The metrics by name.
        """
        psnr = -10 * torch.log10(self._image_loss(outputs, batch).detach())
        return {"psnr": psnr, **super().get_metrics_dict(outputs, batch)}

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Mean squared colour error (Sec. 3.5), and the pull on pose corrections.

        Args:
            outputs: Rendered rays.
            batch: `image`, the true colours.
            metrics_dict: Unused.

        Returns:
            The losses by name.
        """
        return {"rgb_loss": self._image_loss(outputs, batch), **super().get_loss_dict(outputs, batch)}

    def _image_loss(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        predicted, target = self.renderer_rgb.blend_background_for_loss_computation(
            outputs["rgb"], outputs["accumulation"], batch["image"].to(outputs["rgb"])
        )
        return mse_loss(predicted, target)

    def _diffuse(self, frames: PosedFrames) -> list[CodeVolumes]:
        """The code volume of each distinct frame."""
        roots = frames.bodies.bone_transforms[:, 0]
        return [
            self.field.diffuse(vertices, root) for vertices, root in zip(frames.bodies.vertices, roots, strict=True)
        ]

    def _frame_code_index(self, frame_index: int) -> int:
        """A training frame's own code; the last one for every other pose, as the published evaluation does."""
        matches = torch.nonzero(self.train_frame_indices == frame_index)
        if self.moves_as_captured and len(matches):
            return int(matches[0])
        return len(self.train_frame_indices) - 1

    def _render(self, rays: RayBundle, frames: PosedFrames, volumes: list[CodeVolumes]) -> dict[str, Tensor]:
        """Render flat rays through volumes that are ready."""
        rays = collide_with_bodies(rays, frames.boxes[frames.entry_of_ray])
        outputs = self._empty_outputs(rays)
        hits = rays_that_hit(rays)
        for entry, volume in enumerate(volumes):
            index = hits[frames.entry_of_ray[hits] == entry]
            if len(index) == 0:
                continue
            code = self._frame_code_index(int(frames.frame_indices[entry]))
            rendered = self._render_hits(rays[index], volume, code)
            outputs = {name: value.index_copy(0, index, rendered[name]) for name, value in outputs.items()}
        return outputs

    def _empty_outputs(self, rays: RayBundle) -> dict[str, Tensor]:
        """What rays see that miss the person: the background, at the far end of its box."""
        weights = torch.zeros_like(rays.origins[:, None, :1])
        rgb = self.renderer_rgb(torch.zeros_like(rays.origins[:, None]), weights)
        assert rays.fars is not None
        return {"rgb": rgb, "accumulation": weights[:, 0], "depth": rays.fars.clamp(min=0)}

    def _render_hits(self, rays: RayBundle, volume: CodeVolumes, frame_code_index: int) -> dict[str, Tensor]:
        """Volume rendering of rays that all cross the box of one body (Sec. 3.4)."""
        assert rays.nears is not None
        assert rays.fars is not None
        distances = sample_distances(rays.nears, rays.fars, self.config.num_samples, stratified=self.training)
        points = (rays.origins[:, None] + rays.directions[:, None] * distances[..., None]).flatten(0, 1)
        ray_of_point = torch.arange(len(rays), device=points.device).repeat_interleave(self.config.num_samples)
        kept = self._occupied_points(volume, points)
        if kept is not None:
            points, ray_of_point = points[kept], ray_of_point[kept]
        raw_density, rgb = self.field(volume, points, rays.directions, frame_code_index, ray_of_point)
        density = self.config.density_scale * self._activate(raw_density)
        if kept is not None:
            total = distances.numel()
            density = density.new_zeros(total, 1).index_copy(0, kept, density)
            rgb = rgb.new_zeros(total, 3).index_copy(0, kept, rgb)
        weights = compositing_weights(density.view_as(distances), distances, self.config.last_interval)
        return {
            "rgb": self.renderer_rgb(rgb.view(*distances.shape, 3), weights[..., None]),
            "accumulation": weights.sum(-1, keepdim=True),
            "depth": expected_depth(weights, distances),
        }

    def _activate(self, raw_density: Float[Tensor, "points 1"]) -> Float[Tensor, "points 1"]:
        """Non-negative densities."""
        if self.config.density_activation == "relu":
            return relu(raw_density)
        if self.config.density_activation == "softplus":
            return softplus(raw_density + SOFTPLUS_SHIFT)
        assert_never(self.config.density_activation)

    def _occupied_points(self, volume: CodeVolumes, points: Float[Tensor, "points 3"]) -> Tensor | None:
        """Indices of the points worth evaluating; None where all are evaluated."""
        if self.config.empty_space_level is None:
            return None
        return torch.nonzero(self.field.occupied(volume, points, self.config.empty_space_level))[:, 0]


def _in_floats(rays: RayBundle) -> RayBundle:
    """The rays of a camera path that was written by hand may hold whole numbers as integers."""
    times = None if rays.times is None else rays.times.float()
    return replace(rays, origins=rays.origins.float(), directions=rays.directions.float(), times=times)
