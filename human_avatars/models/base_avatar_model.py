"""What every avatar is: a nerfstudio model that knows its subject, poses it by time and is measured in one way."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.model_components.renderers import RGBRenderer
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils.colormaps import apply_colormap, apply_depth_colormap
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor
from torch.nn import Parameter

from human_avatars.body_models.base_body_model import BodyPose, PosedBody, map_tensors
from human_avatars.body_models.body_pose_optimizer import BodyPoseOptimizer, BodyPoseOptimizerConfig
from human_avatars.body_models.bounds import padded_box
from human_avatars.body_models.motion import BodyMotion, Subject
from human_avatars.model_components.metrics import AvatarMetrics
from human_avatars.one_thread import SMALL_PRODUCTS_ON_ONE_THREAD
from human_avatars.viewer.body_controls import BodyControls


@dataclass
class AvatarModelConfig(ModelConfig):
    """What every avatar method is configured by."""

    enable_collider: bool = False
    """nerfstudio's collider has fixed planes; avatars bound their rays by the posed body's box instead."""
    background_color: Literal["black", "white", "random"] = "black"
    """What lies behind the person. Published Neural Body numbers are on black."""
    body_pose_optimizer: BodyPoseOptimizerConfig = field(default_factory=BodyPoseOptimizerConfig)
    """Corrections of the captured poses, learned along with the avatar."""


@dataclass(frozen=True)
class PosedFrames:
    """The distinct bodies that a batch of rays looks at."""

    frame_indices: Int[Tensor, " frames"]
    """Distinct frames of the motion."""
    bodies: PosedBody
    """One body per distinct frame."""
    boxes: Float[Tensor, "frames 2 3"]
    """Padded world box of each body, in metres."""
    entry_of_ray: Int[Tensor, " rays"]
    """Which of the distinct frames each ray looks at."""


class AvatarModel(Model):
    """Base of the avatar methods. The trained model is the avatar: `set_motion` moves it anew."""

    config: AvatarModelConfig

    def populate_modules(self) -> None:
        """Take the subject from the data and set up what all methods share."""
        # Not super(): before nerfstudio's Model comes Splatfacto in a splat avatar, whose set-up is not for people.
        Model.populate_modules(self)
        metadata = self.kwargs["metadata"]
        assert "subject" in metadata, "the data parser gives no subject: it is not one of human_avatars"
        # Not buffers: body models and captured meshes may be licensed, so they stay out of checkpoints.
        self.subject: Subject = metadata["subject"]
        self._captured_subject: Subject = self.subject
        self.train_frame_indices: Tensor = metadata["train_frame_indices"]
        self.renderer_rgb = RGBRenderer(background_color=self.config.background_color)
        self.body_pose_optimizer = self._setup_body_pose_optimizer()
        self.metrics = AvatarMetrics()
        self.body_controls = BodyControls(self.subject)
        self._has_warned_of_missing_times = False

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "AvatarModel":
        """Move the subject along with the module's parameters, to a device for instance."""
        super()._apply(fn, recurse)
        captured = map_tensors(self._captured_subject, fn)
        self.subject = captured if self.moves_as_captured else map_tensors(self.subject, fn)
        self._captured_subject = captured
        self.train_frame_indices = fn(self.train_frame_indices)
        return self

    @property
    def moves_as_captured(self) -> bool:
        """Whether the avatar is in the motion it was captured in."""
        return self.subject is self._captured_subject

    @property
    def refines_poses(self) -> bool:
        """Whether the present motion is the captured one and has corrections."""
        return self.moves_as_captured and self.config.body_pose_optimizer.mode != "off"

    def set_motion(self, motion: BodyMotion | None) -> None:
        """Move the avatar by another motion, or by the captured one again.

        Args:
            motion: Poses of the subject's body model; None for the captured motion.

        Raises:
            ValueError: The motion is of another skeleton, or the capture cannot be posed anew.
        """
        if motion is None:
            self.subject = self._captured_subject
        else:
            self.subject = self._captured_subject.with_motion(motion).to(self.device)

    def poses_in(self, frame_indices: Int[Tensor, " frames"]) -> BodyPose:
        """Poses of the present motion, with what was learned about them where it is the captured one.

        Args:
            frame_indices: Frames of the present motion.

        Returns:
            Poses, through which losses reach the corrections.
        """
        poses = self.subject.motion.poses[frame_indices]
        return self.body_pose_optimizer.apply_to_poses(poses, frame_indices) if self.refines_poses else poses

    def refined_motion(self) -> BodyMotion:
        """The captured motion with what was learned about its poses, whatever the present motion is."""
        return self.body_pose_optimizer.refined_motion(self._captured_subject.motion)

    def posed_bodies(self, times: Float[Tensor, "*rays 1"] | None, num_rays: int) -> PosedFrames:
        """Pose one body for each distinct frame that the rays look at.

        Args:
            times: Times of the rays in [0, 1]; None, as some of nerfstudio's tools leave them, for the first frame.
            num_rays: Rays in the batch.

        Returns:
            The distinct bodies, and which of them each ray looks at.
        """
        if times is None:
            self._warn_of_missing_times()
            times = torch.zeros(num_rays, 1, device=self.device)
        frames = self.subject.motion.frame_indices(times.reshape(-1))
        distinct, entry_of_ray = torch.unique(frames, return_inverse=True)
        bodies = self.subject.posed_body(distinct, self.poses_in(distinct))
        # A box says where to look for the person; which of it is best is no evidence of their pose.
        boxes = padded_box(bodies.vertices.detach(), self.subject.box_padding)
        return PosedFrames(frame_indices=distinct, bodies=bodies, boxes=boxes, entry_of_ray=entry_of_ray)

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """What all methods do in training beside their own: tell the pose corrections which step it is.

        Args:
            training_callback_attributes: Not used.

        Returns:
            Callbacks.
        """
        if self.config.body_pose_optimizer.mode == "off":
            return []
        before = [TrainingCallbackLocation.BEFORE_TRAIN_ITERATION]
        return [TrainingCallback(before, self.body_pose_optimizer.update_to_step)]

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """What all methods learn beside their own: pose corrections, where they are on.

        Returns:
            Parameter groups, to which a method adds its own.
        """
        groups: dict[str, list[Parameter]] = {}
        self.body_pose_optimizer.get_param_groups(groups)
        return groups

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """What all methods report of a step beside their own: the size of the pose corrections.

        Args:
            outputs: Not used.
            batch: Not used.

        Returns:
            Metrics by name, to which a method adds its own.
        """
        metrics: dict[str, Tensor] = {}
        self.body_pose_optimizer.get_metrics_dict(metrics)
        return metrics

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """What holds all methods back beside their own losses: the pull on pose corrections.

        Args:
            outputs: Not used.
            batch: Not used.
            metrics_dict: Not used.

        Returns:
            Losses by name, to which a method adds its own.
        """
        losses: dict[str, Tensor] = {}
        self.body_pose_optimizer.get_loss_dict(losses)
        return losses

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Measure one rendered image by every protocol, and lay it beside the truth.

        Args:
            outputs: `rgb`, `depth` and `accumulation` of a whole image.
            batch: `image` (RGB or RGBA, the alpha being the silhouette) and `mask_at_box`.

        Returns:
            Metrics by name, and pictures by name.
        """
        rgb = outputs["rgb"]
        image = batch["image"].to(rgb)
        target = self.renderer_rgb.blend_background(image)
        silhouette = image[..., 3] > 0.5 if image.shape[-1] == 4 else torch.ones_like(rgb[..., 0], dtype=torch.bool)
        mask_at_box = batch["mask_at_box"][..., 0].to(rgb.device)
        # Beside another busy process, threads that wait for each other make this ten times slower than one thread.
        with SMALL_PRODUCTS_ON_ONE_THREAD:
            metrics = self.metrics.image_metrics(rgb, target, mask_at_box, silhouette)
        pictures = {
            "img": torch.cat([target, rgb], dim=1),
            "accumulation": apply_colormap(outputs["accumulation"]),
            "depth": apply_depth_colormap(outputs["depth"], accumulation=outputs["accumulation"]),
        }
        return metrics, pictures

    def _setup_body_pose_optimizer(self) -> BodyPoseOptimizer:
        config, subject = self.config.body_pose_optimizer, self.subject
        if config.mode != "off" and not subject.vertices_match_model:
            raise ValueError(
                f"This capture's meshes do not come from {subject.body_model.name}, so its poses cannot be refined: "
                "give the body model they were fitted with to the data parser's --body-model-path, or leave "
                "--pipeline.model.body-pose-optimizer.mode off."
            )
        return config.setup(poses=subject.motion.poses, train_frame_indices=self.train_frame_indices)

    def _warn_of_missing_times(self) -> None:
        if not self._has_warned_of_missing_times:
            CONSOLE.print("[yellow]These cameras carry no time: the person stands as in the first frame.")
            self._has_warned_of_missing_times = True
