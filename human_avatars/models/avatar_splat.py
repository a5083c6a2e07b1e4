"""avatar-splat: Gaussians on the surface of the body, carried by its skeleton and lit by a light of its own.

In the manner of GauHuman (Hu and Liu, CVPR 2024) and GART (Lei et al., CVPR 2024): parameters of each Gaussian in the
rest pose, linear blend skinning, 3D Gaussian splatting (Kerbl et al. 2023).
"""

import math
import zlib
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.utils.math import components_from_spherical_harmonics
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import normalize

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.body_models.surface import (
    SurfacePoints,
    sample_surface,
    surface_area,
    tangent_frames,
    vertex_normals,
)
from human_avatars.field_components.body_light import BodyLight
from human_avatars.field_components.gaussian_skinning import blend_transforms, skin_gaussians
from human_avatars.field_components.self_shadow import self_visibility
from human_avatars.models.base_splat_model import SplatModel, SplatModelConfig
from human_avatars.one_thread import SMALL_PRODUCTS_ON_ONE_THREAD
from human_avatars.rasterization.gaussians import Gaussians
from human_avatars.transforms import matrix_to_quaternion

INITIAL_HEIGHT = 0.008
"""Clothes and hair lie outside of the body: Gaussians start this far above its surface, in metres."""
INITIAL_WIDTH, INITIAL_FLATNESS = 0.6, 0.4
"""Standard deviation along the surface, in mean distances between Gaussians, and across it, as a part of that."""
INITIAL_OPACITY = 0.9
KEPT_SHADOWS = 256
"""Frames whose shadows are kept, about 0.9 MB each with 32 directions."""


@dataclass
class AvatarSplatModelConfig(SplatModelConfig):
    """An avatar whose Gaussians have parameters of their own."""

    _target: type = field(default_factory=lambda: AvatarSplatModel)
    num_gaussians: int = 10_000
    """Gaussians on the body."""
    sh_degree: int = 0
    """Degree of the spherical harmonics by which a Gaussian's colour depends on the side it is seen from; up to 4."""
    light_directions: int = 32
    """Directions of the light that falls on the person; 0 for colours that no light changes."""


class AvatarSplatModel(SplatModel):
    """Gaussians with parameters of their own, on the surface of the body."""

    config: AvatarSplatModelConfig
    triangles: Tensor
    barycentric: Tensor
    body_fingerprint: Tensor

    def populate_modules(self) -> None:
        """Spread flat, grey Gaussians over the body by area."""
        super().populate_modules()
        num, body, faces = self.config.num_gaussians, self.subject.shaped_body, self.subject.body_model.faces
        if num < 1:
            raise ValueError(f"num_gaussians is {num}: an avatar needs at least one, and thousands to look like one.")
        surface = sample_surface(body.rest_vertices, faces, num, torch.Generator().manual_seed(0))
        # Where Gaussians sit belongs to the weights; where that is in space comes from the subject's body.
        self.register_buffer("triangles", surface.triangles)
        self.register_buffer("barycentric", surface.barycentric)
        self.register_buffer("body_fingerprint", fingerprint(self.subject.body_model))
        self._sit_on(surface)
        spacing = math.sqrt(float(surface_area(body.rest_vertices, faces)) / num)
        scales = spacing * INITIAL_WIDTH * torch.tensor([1.0, 1.0, INITIAL_FLATNESS])
        self.offsets = Parameter(INITIAL_HEIGHT * self.rest_normals)
        self.log_scales = Parameter(scales.log().repeat(num, 1))
        self.rest_quats = Parameter(matrix_to_quaternion(tangent_frames(self.rest_normals)))
        self.opacity_logits = Parameter(torch.full((num,), math.log(INITIAL_OPACITY / (1 - INITIAL_OPACITY))))
        self.color_logits = Parameter(torch.zeros(num, 3))
        self.color_harmonics = Parameter(torch.zeros(num, (self.config.sh_degree + 1) ** 2 - 1, 3))
        self.light = BodyLight(self.config.light_directions) if self.config.light_directions > 0 else None

    def _sit_on(self, surface: SurfacePoints) -> None:
        """Work out where points on the body are, and which joints move them."""
        vertices, model = self.subject.shaped_body.rest_vertices, self.subject.body_model
        self.surface = surface
        self.rest_points = surface.interpolate(vertices)
        self.rest_normals = normalize(surface.interpolate(vertex_normals(vertices, model.faces)), dim=-1)
        self.skinning_weights = surface.interpolate(model.skinning_weights)
        self._shadows: dict[int, Tensor] = {}

    def _apply(self, fn: Any, recurse: bool = True) -> "AvatarSplatModel":
        """Move what was worked out from the subject's body along with the parameters."""
        super()._apply(fn, recurse)
        faces = self.subject.body_model.faces
        self._sit_on(SurfacePoints.in_triangles(faces, self.triangles, self.barycentric))
        return self

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        """Load the weights of an avatar on the same body.

        Args:
            state_dict: The weights.
            *args: As of any module.
            **kwargs: As of any module.

        Raises:
            ValueError: They are of another method, another body or another number of Gaussians.
        """
        self._check(state_dict)
        loaded = super().load_state_dict(state_dict, *args, **kwargs)
        faces = self.subject.body_model.faces
        self._sit_on(SurfacePoints.in_triangles(faces, self.triangles, self.barycentric))
        return loaded

    def _check(self, weights: Any) -> None:
        if "body_fingerprint" not in weights:
            raise ValueError("These are no weights of avatar-splat: give a checkpoint that it wrote.")
        if not torch.equal(weights["body_fingerprint"].to(self.device), self.body_fingerprint):
            raise ValueError(
                f"These weights of avatar-splat sit on another body than {self.subject.body_model.name}: give the data "
                "parser the --body-model-path that they were trained with."
            )
        if len(weights["triangles"]) != self.config.num_gaussians:
            raise ValueError(
                f"These weights are of {len(weights['triangles'])} Gaussians, the model has "
                f"{self.config.num_gaussians}: set --pipeline.model.num-gaussians {len(weights['triangles'])}."
            )

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """What is learned, under nerfstudio's names for splats where it has one.

        Returns:
            Parameter groups.
        """
        groups = super().get_param_groups() | {
            "means": [self.offsets],
            "scales": [self.log_scales],
            "quats": [self.rest_quats],
            "opacities": [self.opacity_logits],
            "features_dc": [self.color_logits],
        }
        if self.config.sh_degree > 0:
            groups["features_rest"] = [self.color_harmonics]
        return groups if self.light is None else groups | {"light": list(self.light.parameters())}

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """As of every avatar, and a step's small products on one thread: the compiled loops share the work themselves.

        Args:
            training_callback_attributes: Not used.

        Returns:
            Callbacks.
        """
        one_thread = SMALL_PRODUCTS_ON_ONE_THREAD
        return [
            *super().get_training_callbacks(training_callback_attributes),
            TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], lambda step: one_thread.__enter__()),
            TrainingCallback(
                [TrainingCallbackLocation.AFTER_TRAIN_ITERATION], lambda step: one_thread.__exit__(None, None, None)
            ),
        ]

    def set_motion(self, motion: Any) -> None:
        """As of every avatar; the shadows of the motion before are forgotten."""
        super().set_motion(motion)
        self._shadows = {}

    def posed_gaussians(self, frame: int, camera_position: Float[Tensor, "3"] | None) -> Gaussians:
        """The person's Gaussians in a frame of the motion.

        Args:
            frame: Frame of the present motion.
            camera_position: From where they are seen, in metres; None leaves out what depends on that.

        Returns:
            Gaussians in world space, with RGB colours.
        """
        transforms = blend_transforms(self.skinning_weights, self.bone_transforms(frame))
        # The blended matrix turns the shapes too. Making it a rotation first, by its polar decomposition or by mixing
        # the bones' quaternions, changed the demo's walk by no more than 0.02 dB.
        rotations = transforms[..., :3]
        points = self.rest_points + self.offsets
        displacement = self._pose_displacement(frame)
        points = points if displacement is None else points + displacement
        means, covariances = skin_gaussians(points, self.rest_quats, self.log_scales.exp(), transforms, rotations)
        return Gaussians(
            means=means,
            covariances=covariances,
            opacities=torch.sigmoid(self.opacity_logits),
            colors=self._colors(frame, means, rotations, camera_position),
        )

    def _colors(
        self, frame: int, means: Tensor, rotations: Tensor, camera_position: Tensor | None
    ) -> Float[Tensor, "gaussians 3"]:
        logits = self.color_logits
        if self.config.sh_degree > 0 and camera_position is not None:
            # A Gaussian's own harmonics turn with the body.
            views = (rotations.mT @ (means.detach() - camera_position)[..., None])[..., 0].detach()
            bases = components_from_spherical_harmonics(self.config.sh_degree + 1, normalize(views, dim=-1))
            logits = logits + (bases[:, 1:, None] * self.color_harmonics).sum(1)
        if self.light is None:
            return torch.sigmoid(logits)
        normals = normalize((rotations.detach() @ self.rest_normals[..., None])[..., 0], dim=-1)
        return torch.sigmoid(logits) * self.light(normals, self.surface.interpolate(self._visibility(frame)))

    @torch.no_grad()
    def _pose_displacement(self, frame: int) -> Float[Tensor, "gaussians 3"] | None:
        """What the body model's pose blend shapes do at the Gaussians; None for a model without them."""
        if self.subject.body_model.pose_directions is None:
            return None
        poses = self.poses_in(torch.tensor([frame], device=self.device))
        displacement = self.subject.shaped_body.pose_displacement(poses)
        assert displacement is not None
        return self.surface.interpolate(displacement[0])

    @torch.no_grad()
    def _visibility(self, frame: int) -> Float[Tensor, "vertices directions"]:
        """How much of each direction's light reaches the vertices past the body, in the pose as captured."""
        assert self.light is not None
        if frame not in self._shadows:
            faces = self.subject.body_model.faces
            vertices = self.subject.posed_body(torch.tensor([frame], device=self.device)).vertices[0]
            occluders = torch.cat([vertices, vertices[faces].mean(1)])
            normals = vertex_normals(vertices, faces)
            if len(self._shadows) >= KEPT_SHADOWS:
                self._shadows.pop(next(iter(self._shadows)))
            self._shadows[frame] = self_visibility(vertices, normals, occluders, self.light.directions).contiguous()
        return self._shadows[frame]


def fingerprint(body_model: BodyModel) -> Tensor:
    """A number that tells body models apart by their triangles and template.

    Args:
        body_model: The body model.

    Returns:
        A checksum of faces and template, the latter to tenths of a millimetre.
    """
    template = (body_model.rest_template.double() * 1e4).round().long()
    content = body_model.faces.cpu().numpy().tobytes() + template.cpu().numpy().tobytes()
    return torch.tensor(zlib.crc32(content))
