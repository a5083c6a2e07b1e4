"""BodyPoseOptimizer: learned corrections of captured body poses, with the verbs of nerfstudio's CameraOptimizer."""

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn
from torch.nn import Parameter
from typing_extensions import assert_never

from human_avatars.body_models.base_body_model import BodyPose
from human_avatars.body_models.motion import BodyMotion
from human_avatars.transforms import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_rotation_6d,
    nearest_axis_angle,
    rotation_6d_to_matrix,
)

TRANSL_TOLERANCE = 1e-5
"""Translations nearer than this to the captured ones, in metres, count as the same; single precision writes worse."""


@dataclass
class BodyPoseOptimizerConfig(InstantiateConfig):
    """How far captured body poses may move during training.

    A frame's corrections learn from the steps that look at this frame. Let the trainer gather their gradients over
    several steps, as A-NeRF does over 20 to 50, with `gradient_accumulation_steps` of the group `body_pose_opt`.
    """

    _target: type = field(default_factory=lambda: BodyPoseOptimizer)
    mode: Literal["off", "rotations", "all"] = "off"
    """What is corrected in each training frame: nothing, the rotations of all joints, or the root's place too."""
    rotation_penalty: float = 2.0
    """Weight of the pull towards the captured rotations; the root is free. 2 as published by A-NeRF."""
    rotation_tolerance: float = 0.01
    """Squared change of an entry of a joint's 6D rotation that the pull lets pass, about 6 degrees. As published."""
    smoothness_penalty: float = 0.0
    """Weight of the squared second differences between neighbouring training frames. A-NeRF's is 0.05, and off by
    default."""
    smoothness_of: Literal["poses", "corrections"] = "poses"
    """What changes evenly over time: the refined poses, as published, where the captured ones jitter; or the
    corrections, where the capture's errors last from frame to frame."""
    start_step: int = 0
    """Training step from which the corrections learn; an avatar that knows nothing yet would only mislead them."""
    freeze_step: int | None = None
    """Training step from which they stay as they are; None lets them learn to the end."""


class BodyPoseOptimizer(nn.Module):
    """Layer that corrects the poses of the training frames, learned along with the avatar.

    A correction is added to the first two columns of a joint's captured rotation, which are then made a rotation again
    (Zhou et al. 2019): A-NeRF's parameters (Su et al. 2021, Sec. 3.3), counted from the captured pose.

    Args:
        config: How far poses may move.
        poses: Captured poses of every frame of the motion.
        train_frame_indices: Frames that train. The others have no correction, and no parameters.
    """

    config: BodyPoseOptimizerConfig

    def __init__(
        self,
        config: BodyPoseOptimizerConfig,
        poses: BodyPose,
        train_frame_indices: Int[Tensor, " train_frames"],
    ) -> None:
        super().__init__()
        self.config = config
        self._step = 0
        self._rows_of_step: Tensor | None = None
        if config.mode == "off":
            return
        frames = train_frame_indices.unique()
        captured = poses[frames]
        row_of_frame = torch.full(poses.batch_shape, -1, dtype=torch.long, device=frames.device)
        row_of_frame[frames] = torch.arange(len(frames), device=frames.device)
        self.row_of_frame: Tensor
        self.is_smoothed: Tensor
        self.captured_rotations: Tensor
        self.captured_transl: Tensor
        # All of this comes from the capture, so checkpoints hold the corrections alone.
        self.register_buffer("row_of_frame", row_of_frame, persistent=False)
        self.register_buffer("is_smoothed", _amid_neighbours(frames), persistent=False)
        self.register_buffer("captured_rotations", _rotations_6d(captured), persistent=False)
        self.register_buffer("captured_transl", captured.transl.clone(), persistent=False)
        self.rotation_corrections = Parameter(torch.zeros_like(self.captured_rotations))
        if config.mode == "all":
            self.transl_corrections = Parameter(torch.zeros_like(self.captured_transl))
        elif config.mode != "rotations":
            assert_never(config.mode)

    @property
    def is_learning(self) -> bool:
        """Whether the corrections learn at the present step, unless their parameters were told not to."""
        config = self.config
        if config.mode == "off" or self._step < config.start_step or not self.rotation_corrections.requires_grad:
            return False
        return config.freeze_step is None or self._step < config.freeze_step

    def update_to_step(self, step: int) -> None:
        """Say which training step comes next.

        Args:
            step: The step, from 0.
        """
        self._step = step

    def apply_to_poses(self, poses: BodyPose, frame_indices: Int[Tensor, " frames"]) -> BodyPose:
        """Correct captured poses.

        Args:
            poses: Captured poses of the frames.
            frame_indices: The frames of the motion that they belong to.

        Returns:
            Refined poses; those of frames that do not train as they were given.
        """
        if self.config.mode == "off":
            return poses
        rows = self.row_of_frame[frame_indices]
        if self.training:
            self._rows_of_step = rows[rows >= 0]
        return self._refine(poses, rows)

    @torch.no_grad()
    def refined_motion(self, motion: BodyMotion) -> BodyMotion:
        """The captured motion with its corrections.

        Args:
            motion: The captured motion, every frame of it.

        Returns:
            The refined motion; frames that do not train as they were captured.
        """
        if self.config.mode == "off":
            return motion
        refined = self._refine(motion.poses, self.row_of_frame)
        axis_angle = nearest_axis_angle(refined.axis_angle, motion.poses.axis_angle)
        return replace(motion, poses=BodyPose.from_axis_angle(axis_angle, refined.transl))

    @torch.no_grad()
    def set_from_motion(self, motion: BodyMotion) -> None:
        """Set the corrections so that `refined_motion` gives these poses in the frames that train.

        Args:
            motion: Refined poses of every frame of the captured motion.

        Raises:
            ValueError: Corrections are off, the motion has other frames or joints than the captured one, or it moves
                the root's place where only rotations are corrected.
        """
        if self.config.mode == "off":
            raise ValueError(
                "Refined poses were given, but corrections of poses are off: set body-pose-optimizer.mode."
            )
        found = (motion.num_frames, motion.poses.body_pose.shape[-2] + 1)
        expected = (len(self.row_of_frame), self.captured_rotations.shape[1])
        if found != expected:
            raise ValueError(
                f"The refined motion has {found[0]} frames of {found[1]} joints, the captured one {expected[0]} frames "
                f"of {expected[1]}: give the motion that was refined from this capture."
            )
        poses = motion.poses[self.row_of_frame >= 0]
        moved = poses.transl.to(self.captured_transl) - self.captured_transl
        if self.config.mode == "all":
            self.transl_corrections.copy_(moved)
        elif moved.abs().amax() > TRANSL_TOLERANCE:
            raise ValueError(
                f"The refined motion moves the body by up to {moved.norm(dim=-1).amax() * 1000:.1f} mm, but rotations "
                "alone are corrected: set body-pose-optimizer.mode to all."
            )
        self.rotation_corrections.copy_(_rotations_6d(poses).to(self.captured_rotations) - self.captured_rotations)

    def get_loss_dict(self, loss_dict: dict[str, Tensor]) -> None:
        """Add the pull towards the captured poses, and the smoothness, of the frames that this step looked at.

        Args:
            loss_dict: Losses by name. Nothing is added in evaluation, or while the corrections do not learn.
        """
        rows = self._rows_of_step
        if not (self.training and self.is_learning) or rows is None or len(rows) == 0:
            return
        # As A-NeRF's released code has it: a joint's six entries are summed, and the root has none.
        entries = self.rotation_corrections.index_select(0, rows)[:, 1:]
        excess = (entries.square() - self.config.rotation_tolerance).clamp(min=0)
        loss_dict["body_pose_opt_regularizer"] = self.config.rotation_penalty * excess.sum(-1).mean()
        if self.config.smoothness_penalty > 0:
            loss_dict["body_pose_opt_smoothness"] = self.config.smoothness_penalty * self._roughness(rows)

    def get_metrics_dict(self, metrics_dict: dict[str, Tensor]) -> None:
        """Add the mean correction in the frames that this step looked at, in degrees and in millimetres.

        Args:
            metrics_dict: Metrics by name.
        """
        rows = self._rows_of_step
        if self.config.mode == "off" or rows is None or len(rows) == 0:
            return
        with torch.no_grad():
            captured = self.captured_rotations[rows]
            refined = rotation_6d_to_matrix(captured + self.rotation_corrections[rows])
            # Two rotations that are an angle apart differ by a matrix of length 2 sqrt(2) sin(angle / 2).
            chord = (refined - rotation_6d_to_matrix(captured)).norm(dim=(-1, -2))
            angles = 2 * torch.asin((chord / 8**0.5).clamp(max=1))
            metrics_dict["body_pose_opt_rotation_degrees"] = torch.rad2deg(angles).mean()
            if self.config.mode == "all":
                distances = self.transl_corrections[rows].norm(dim=-1)
                metrics_dict["body_pose_opt_transl_millimetres"] = 1000 * distances.mean()

    def get_param_groups(self, param_groups: dict[str, list[Parameter]]) -> None:
        """Add the corrections under the name `body_pose_opt`.

        Args:
            param_groups: Parameters by group.
        """
        if self.config.mode != "off":
            param_groups["body_pose_opt"] = list(self.parameters())

    def _refine(self, poses: BodyPose, rows: Int[Tensor, " frames"]) -> BodyPose:
        """Poses with the corrections in their rows; row -1 has none."""
        is_corrected = rows >= 0
        rows = rows.clamp(min=0)
        rotations = self.captured_rotations[rows] + self._learned(self.rotation_corrections, rows)
        refined = matrix_to_axis_angle(rotation_6d_to_matrix(rotations))
        axis_angle = torch.where(is_corrected[:, None, None], refined, poses.axis_angle)
        transl = poses.transl
        if self.config.mode == "all":
            transl = transl + is_corrected[:, None] * self._learned(self.transl_corrections, rows)
        return BodyPose.from_axis_angle(axis_angle, transl)

    def _learned(self, corrections: Parameter, rows: Int[Tensor, " frames"]) -> Tensor:
        chosen = corrections.index_select(0, rows)
        # Without a gradient an optimizer leaves a parameter alone; zeros would still move it by its momentum.
        return chosen if self.is_learning else chosen.detach()

    def _roughness(self, rows: Int[Tensor, " frames"]) -> Float[Tensor, ""]:
        """Mean squared second difference around frames, of rotations per joint and of the root's place.

        Of the second difference, not the first: what stays, or changes evenly, costs nothing. So it neither draws
        corrections towards zero, which is the pull's task, nor slows a motion down.
        """
        rows = rows[self.is_smoothed[rows]]
        triples = (rows[:, None] + torch.arange(-1, 2, device=rows.device)).flatten()
        rotations = self.rotation_corrections.index_select(0, triples)
        transl = self.transl_corrections.index_select(0, triples) if self.config.mode == "all" else None
        if self.config.smoothness_of == "poses":
            rotations = rotations + self.captured_rotations[triples]
            transl = None if transl is None else transl + self.captured_transl[triples]
        elif self.config.smoothness_of != "corrections":
            assert_never(self.config.smoothness_of)
        # A step may look at no frame between two neighbours: of nothing a mean is not a number, a sum is zero.
        frames = max(len(rows), 1)
        roughness = _squared_second_differences(rotations) / (frames * rotations.shape[1])
        return roughness if transl is None else roughness + _squared_second_differences(transl) / frames


def _rotations_6d(poses: BodyPose) -> Float[Tensor, "*batch joints 6"]:
    return matrix_to_rotation_6d(axis_angle_to_matrix(poses.axis_angle))


def _squared_second_differences(tripled: Float[Tensor, "tripled *channels"]) -> Float[Tensor, ""]:
    before, at, after = tripled.unflatten(0, (len(tripled) // 3, 3)).unbind(1)
    return (before - 2 * at + after).square().sum()


def _amid_neighbours(frames: Int[Tensor, " rows"]) -> Tensor:
    """Whether a frame has a neighbour on both sides; across a gap wider than the usual one there is none."""
    is_amid = torch.zeros_like(frames, dtype=torch.bool)
    if len(frames) >= 3:
        gaps = frames.diff()
        is_near = gaps == gaps.mode().values
        is_amid[1:-1] = is_near[:-1] & is_near[1:]
    return is_amid
