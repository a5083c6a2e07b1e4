"""GaussianAvatar: towards realistic human avatar modeling from a single video via animatable 3D Gaussians.

Hu et al., CVPR 2024: one Gaussian per texel of the body's surface, decoded from a learned feature map, in stage 2 with
features of the pose. Defaults follow the paper; where its release does otherwise, an option says so.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from torch import Tensor
from torch.nn import Parameter
from typing_extensions import assert_never

from human_avatars.body_models.base_body_model import map_tensors
from human_avatars.body_models.motion import BodyMotion
from human_avatars.body_models.surface import surface_area
from human_avatars.body_models.surface_map import SurfaceMap
from human_avatars.body_models.surface_transfer import surface_map_of
from human_avatars.field_components.frame_batch_norm import BatchNormEval
from human_avatars.field_components.uv_body import CanonicalTexels, PositionSpace, position_map
from human_avatars.fields.gaussian_avatar_field import DecodedTexels, GaussianAvatarField, Stage, TexelGaussians
from human_avatars.fields.texel_decoding import BakedTexels, SharedDecoding
from human_avatars.model_components.perceptual_loss import PerceptualLoss
from human_avatars.models.base_splat_model import SplatModel, SplatModelConfig
from human_avatars.models.gaussian_avatar_stages import BUILT_FOR, check_weights, start_from_stage1
from human_avatars.rasterization.gaussians import Gaussians, isotropic_covariances


@dataclass
class GaussianAvatarModelConfig(SplatModelConfig):
    """The published setting of GaussianAvatar, unless a field says otherwise."""

    _target: type = field(default_factory=lambda: GaussianAvatarModel)
    stage: Stage = 1
    """1: one appearance for all poses, poses refined along with it. 2: the appearance also depends on the pose; poses
    and feature map stay as stage 1 left them."""
    stage1_checkpoint: Path | None = None
    """Where stage 2 starts: a run of stage 1, or a checkpoint file of it."""
    uv_size: int = 512
    """Texels along each side of the UV map, a Gaussian for each that shows the body. 512 as published; on a CPU 128."""
    feature_size: int = 128
    """Texels along each side of the feature map and of stage 2's position map; divisible by 32. 128 as published."""
    uv_obj: Path | None = None
    """An .obj file of the body's triangles with another UV layout than the open body's, such as the original's
    template_mesh_smpl_uv.obj."""
    background_color: Literal["black", "white"] = "white"
    """What lies behind the person. Published numbers are on white."""
    random_background: bool = False
    """Whether training draws a background for every image; the published one is always white."""
    silhouette_weight: float = 0.0
    """Weight on the mean absolute difference of opacity and silhouette; the published loss has no such term."""
    lpips_weight: float = 0.2
    """Weight on LPIPS, where its network's weights are on this machine."""
    lpips_start_epoch: int = 30
    """Epochs before LPIPS begins. An epoch is as many steps as there are training images."""
    offset_weight: float = 10.0
    """Weight on the mean squared offset from the canonical body, in square metres."""
    offset_decay: float = 0.85
    """Factor on `offset_weight` every 20 epochs."""
    scale_weight: float = 0.03
    """Weight on the mean radius in stage 1, in metres."""
    feature_weight: float = 1.0
    """Weight on the mean squared feature in stage 1."""
    pose_feature_weight: float = 10.0
    """Weight on the mean squared pose feature in stage 2."""
    initial_radius: Literal["ramp", "spacing"] = "ramp"
    """How radii begin in stage 1. "ramp", as published: at half a metre by the network, times a factor that grows to 1
    over `ramp_steps`. "spacing": at the distance between texels, which suits short trainings."""
    ramp_steps: int = 2000
    """Steps of that ramp; a thousand updates of two images each as published."""
    bn_eval: BatchNormEval = "running"
    """Batch norm outside of training: running averages, or statistics of the frame, as released."""
    decoded_texels: DecodedTexels = "valid"
    """Texels that are decoded: those of the body, or all, as released, which shifts batch norm's statistics."""
    position_space: PositionSpace = "root"
    """Where stage 2 measures positions: at the body's root, or in the world, as released."""


DECAY_EPOCHS = 20
"""Epochs that share one weight of the offsets. As released."""


class GaussianAvatarModel(SplatModel):
    """Gaussians decoded from a feature map of the body's surface."""

    config: GaussianAvatarModelConfig

    def populate_modules(self) -> None:
        """Lay the texels out on the subject's body and build the field for them."""
        super().populate_modules()
        config, body = self.config, self.subject.shaped_body
        surface_map = self._surface_map(config.uv_size)
        self.texels = CanonicalTexels(body, surface_map)
        self.field = GaussianAvatarField(
            surface_map.mask,
            stage=config.stage,
            feature_size=config.feature_size,
            bn_eval=config.bn_eval,
            decoded_texels=config.decoded_texels,
        )
        built_for = [config.stage, self.field.num_texels, body.body_model.num_joints]
        self.built_for: Tensor
        self.register_buffer(BUILT_FOR, torch.tensor(built_for))
        # Not a buffer: whatever is derived from a body model stays out of checkpoints.
        self.position_texels = self._surface_map(config.feature_size) if config.stage == 2 else None
        if config.stage == 2:
            self.field.features.requires_grad_(False)
            self.body_pose_optimizer.requires_grad_(False)
        if config.initial_radius == "spacing":
            area = float(surface_area(body.rest_vertices, body.body_model.faces))
            self.field.set_initial_radius(math.sqrt(area / self.field.num_texels))
        elif config.initial_radius != "ramp":
            assert_never(config.initial_radius)
        self._perceptual_loss = PerceptualLoss()
        self._step, self._steps_per_update, self._has_weights = 0, 1, False
        self._shared, self._baked = SharedDecoding(self.field), BakedTexels(self)
        self._last_texels: TexelGaussians | None = None
        self._last_pose_features: Tensor | None = None

    def _apply(self, fn: Any, recurse: bool = True) -> "GaussianAvatarModel":
        """Move the position map's texels along with the parameters."""
        super()._apply(fn, recurse)
        if self.position_texels is not None:
            self.position_texels = map_tensors(self.position_texels, fn)
        return self

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """What is learned in this stage; networks have a group per stage, because stage 2 trains the decoder slower.

        Returns:
            Parameter groups.
        """
        field = self.field
        decoder = [*field.smoother.parameters(), *field.decoder.parameters()]
        if field.pose_encoder is None:
            return super().get_param_groups() | {"features": [field.features], "decoder": decoder}
        return {"decoder_stage2": decoder, "pose_encoder": list(field.pose_encoder.parameters())}

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Follow the steps; in stage 2 start from stage 1, unless training goes on from an earlier checkpoint.

        Args:
            training_callback_attributes: Its trainer tells how many steps share an update.

        Returns:
            Callbacks.

        Raises:
            ValueError: Stage 2 has nothing to start from, or something that does not fit.
        """
        if self.config.stage == 2 and not self._has_weights:
            start_from_stage1(self, self.config.stage1_checkpoint, self.built_for)
        trainer = training_callback_attributes.trainer
        if trainer is not None and self.config.stage == 1:
            steps = {trainer.gradient_accumulation_steps[group] for group in ("features", "decoder")}
            if len(steps) > 1:
                raise ValueError(
                    "The groups features and decoder must accumulate gradients over the same number of steps."
                )
            (self._steps_per_update,) = steps
        before = [TrainingCallbackLocation.BEFORE_TRAIN_ITERATION]
        return [
            *super().get_training_callbacks(training_callback_attributes),
            TrainingCallback(before, self.update_to_step),
        ]

    def set_motion(self, motion: BodyMotion | None) -> None:
        """As of every avatar; in stage 2, what was decoded for a pose of the motion before is forgotten."""
        super().set_motion(motion)
        if self.config.stage == 2:
            self._baked = BakedTexels(self)

    def update_to_step(self, step: int) -> None:
        """Say which training step it is.

        Args:
            step: The step, from 0.
        """
        self._step = step

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        """Load weights of this stage and body.

        Args:
            state_dict: The weights.
            *args: As of any module.
            **kwargs: As of any module.

        Raises:
            ValueError: They are of the other stage, or of another body.
        """
        check_weights(state_dict, self.built_for)
        self._has_weights = True
        return super().load_state_dict(state_dict, *args, **kwargs)

    def posed_gaussians(self, frame: int, camera_position: Float[Tensor, "3"] | None) -> Gaussians:
        """The person's Gaussians in a frame of the motion.

        Args:
            frame: Frame of the present motion.
            camera_position: Not used: colours do not depend on the view.

        Returns:
            Gaussians in world space, with RGB colours.
        """
        texels = self._decoded(frame)
        radii = self._ramp() * texels.radii
        return Gaussians(
            means=self.texels(texels.offsets, self.bone_transforms(frame)),
            covariances=isotropic_covariances(radii),
            opacities=torch.ones_like(radii),
            colors=texels.colors,
        )

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The published losses of the stage: on the image, on offsets, and on radii and features (Sec. 3.4).

        Args:
            outputs: The rendered image.
            batch: `image` (height width 4) RGBA, `mask` (height width 1) valid pixels.
            metrics_dict: Unused.

        Returns:
            The losses by name.
        """
        config, texels = self.config, self._last_texels
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        epoch = 1 + self._step // max(self.num_train_data, 1)
        if config.lpips_weight > 0 and epoch > config.lpips_start_epoch:
            target, _, valid = self._target(outputs, batch)
            rgb = torch.where(valid[..., None], outputs["rgb"], target)
            distance = self._perceptual_loss(rgb, target)
            if distance is not None:
                losses["lpips_loss"] = config.lpips_weight * distance
        if not self.training or texels is None:
            return losses
        offset_weight = config.offset_weight * config.offset_decay ** (epoch // DECAY_EPOCHS)
        losses["offset_loss"] = offset_weight * texels.squared_offset
        if self._last_pose_features is None:
            losses["scale_loss"] = config.scale_weight * self._ramp() * texels.radii.mean()
            losses["feature_loss"] = config.feature_weight * self.field.features.square().mean()
        else:
            losses["pose_feature_loss"] = config.pose_feature_weight * self._last_pose_features.square().mean()
        return losses

    def _decoded(self, frame: int) -> TexelGaussians:
        """The texels before posing: for training, shared by the steps of an update; otherwise baked."""
        depends_on_pose = self.config.stage == 2
        if self.training:
            pose_features = self._pose_features(frame) if depends_on_pose else None
            texels = (
                self.field(pose_features)
                if depends_on_pose
                else self._shared.of_step(self._step, self._steps_per_update)
            )
            self._last_texels, self._last_pose_features = texels, pose_features
            return texels
        if torch.is_grad_enabled():
            return self.field(self._pose_features(frame) if depends_on_pose else None)
        if depends_on_pose:
            return self._baked.get(frame, lambda: self.field(self._pose_features(frame)))
        return self._baked.get(None, self.field)

    @torch.no_grad()
    def _posed_positions(self, frame: int) -> Float[Tensor, "3 size size"]:
        assert self.position_texels is not None
        index = torch.tensor([frame], device=self.device)
        posed = self.subject.posed_body(index, self.poses_in(index))
        body = map_tensors(posed, lambda tensor: tensor[0])
        return position_map(body, self.position_texels, self.config.position_space)

    def _pose_features(self, frame: int) -> Tensor:
        return self.field.encode_pose(self._posed_positions(frame))

    def _ramp(self) -> float:
        """Factor on radii: they begin tiny, and grow to what the network says."""
        if self.config.initial_radius == "spacing" or self.config.stage == 2:
            return 1.0
        return min(1.0, (self._step + 1) / self.config.ramp_steps)

    def _surface_map(self, size: int) -> SurfaceMap:
        return surface_map_of(self.subject.body_model, size, self.config.uv_obj)
