"""What every avatar is: a nerfstudio model that knows its subject, poses it by time and is measured in one way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from nerfstudio.model_components.renderers import RGBRenderer
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils.colormaps import apply_colormap, apply_depth_colormap
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from human_avatars.body_models.base_body_model import PosedBody, map_tensors
from human_avatars.body_models.bounds import padded_box
from human_avatars.body_models.motion import BodyMotion, Subject
from human_avatars.model_components.metrics import AvatarMetrics
from human_avatars.viewer.body_controls import BodyControls


@dataclass
class AvatarModelConfig(ModelConfig):
    """What every avatar method is configured by."""

    enable_collider: bool = False
    """nerfstudio's collider has fixed planes; avatars bound their rays by the posed body's box instead."""
    background_color: Literal["black", "white", "random"] = "black"
    """What lies behind the person. Published Neural Body numbers are on black."""


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
        # Not super(): between nerfstudio's Model and a splat avatar stands Splatfacto, whose set-up this package replaces.
        Model.populate_modules(self)
        metadata = self.kwargs["metadata"]
        assert "subject" in metadata, "the data parser gives no subject: it is not one of human_avatars"
        # Not buffers: body models and captured meshes may be licensed, so they stay out of checkpoints.
        self.subject: Subject = metadata["subject"]
        self._captured_subject: Subject = self.subject
        self.train_frame_indices: Tensor = metadata["train_frame_indices"]
        self.renderer_rgb = RGBRenderer(background_color=self.config.background_color)
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
        bodies = self.subject.posed_body(distinct)
        boxes = padded_box(bodies.vertices, self.subject.box_padding)
        return PosedFrames(frame_indices=distinct, bodies=bodies, boxes=boxes, entry_of_ray=entry_of_ray)

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
        metrics = self.metrics.image_metrics(rgb, target, mask_at_box, silhouette)
        pictures = {
            "img": torch.cat([target, rgb], dim=1),
            "accumulation": apply_colormap(outputs["accumulation"]),
            "depth": apply_depth_colormap(outputs["depth"], accumulation=outputs["accumulation"]),
        }
        return metrics, pictures

    def _warn_of_missing_times(self) -> None:
        if not self._has_warned_of_missing_times:
            CONSOLE.print("[yellow]These cameras carry no time: the person stands as in the first frame.")
            self._has_warned_of_missing_times = True
