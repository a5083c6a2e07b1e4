"""A person over time: poses by time, and the subject that moves by them."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from human_avatars.body_models.base_body_model import BodyModel, BodyPose, PosedBody, ShapedBody, map_tensors
from human_avatars.body_models.bounds import padded_box


@dataclass(frozen=True)
class BodyMotion:
    """Poses by time, for every frame of a capture, held-out ones too."""

    times: Float[Tensor, " frames"]
    """Increasing times in [0, 1]."""
    poses: BodyPose
    """One pose per frame."""
    vertices: Float[Tensor, "frames vertices 3"] | None = None
    """World vertices per frame, where the dataset ships meshes that the body model does not reproduce, in metres."""

    @classmethod
    def evenly_timed(cls, poses: BodyPose, vertices: Float[Tensor, "frames vertices 3"] | None = None) -> "BodyMotion":
        """A motion whose frames are spread evenly over [0, 1].

        Args:
            poses: One pose per frame.
            vertices: World vertices per frame, in metres.

        Returns:
            The motion.
        """
        (num_frames,) = poses.batch_shape
        times = torch.linspace(0, 1, num_frames) if num_frames > 1 else torch.zeros(1)
        return cls(times=times.to(poses.transl), poses=poses, vertices=vertices)

    @property
    def num_frames(self) -> int:
        """Frames in the motion."""
        return self.times.shape[0]

    def frame_indices(self, times: Float[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """The frame nearest to each time; times outside [0, 1] go to the first or last frame.

        Args:
            times: Times, as nerfstudio's cameras carry them.

        Returns:
            Frame indices.
        """
        midpoints = (self.times[1:] + self.times[:-1]) / 2
        return torch.searchsorted(midpoints, times.contiguous().to(midpoints))


@dataclass(frozen=True)
class Subject:
    """A person: a body model, a shape, and a motion."""

    body_model: BodyModel
    """The body that moves."""
    betas: Float[Tensor, " betas"]
    """Shape coefficients, in standard deviations."""
    motion: BodyMotion
    """The captured motion, or one that was set in its place."""
    box_padding: tuple[float, float, float]
    """Growth of the box around the body along each world axis, in metres; part of a dataset's protocol."""

    @cached_property
    def shaped_body(self) -> ShapedBody:
        """The body in the rest pose."""
        return self.body_model.with_shape(self.betas)

    @property
    def num_vertices(self) -> int:
        """Vertices of the posed bodies."""
        return self.body_model.num_vertices if self.motion.vertices is None else self.motion.vertices.shape[1]

    @property
    def vertices_match_model(self) -> bool:
        """Whether the body model makes the vertices; otherwise they are known for the captured frames alone."""
        return self.motion.vertices is None

    def posed_body(self, frame_indices: Int[Tensor, " frames"], poses: BodyPose | None = None) -> PosedBody:
        """The body at frames of its motion.

        Args:
            frame_indices: Frames of the motion.
            poses: Refined poses of these frames; None for the motion's own.

        Returns:
            Posed bodies with one batch axis.
        """
        posed = self.shaped_body.with_pose(self.motion.poses[frame_indices] if poses is None else poses)
        if self.motion.vertices is None:
            return posed
        return replace(posed, vertices=self.motion.vertices[frame_indices])

    def world_boxes(self, frame_indices: Int[Tensor, " frames"]) -> Float[Tensor, "frames 2 3"]:
        """The padded world boxes of the body at frames of its motion.

        Args:
            frame_indices: Frames of the motion.

        Returns:
            Lower and upper corners, in metres.
        """
        return padded_box(self.posed_body(frame_indices).vertices, self.box_padding)

    def with_motion(self, motion: BodyMotion) -> "Subject":
        """The same person in another motion.

        Args:
            motion: Poses of this body model.

        Returns:
            The subject that moves by them.

        Raises:
            ValueError: The subject's vertices come from a dataset, not from its body model, or the poses are of
                another skeleton.
        """
        if not self.vertices_match_model and motion.vertices is None:
            raise ValueError(
                f"This capture's meshes do not come from {self.body_model.name}, so it cannot be posed anew: give the "
                "body model they were fitted with to the data parser's --body-model-path."
            )
        joints = motion.poses.body_pose.shape[-2] + 1
        if joints != self.body_model.num_joints:
            raise ValueError(
                f"The motion moves {joints} joints, {self.body_model.name} has {self.body_model.num_joints}: "
                "use a motion of the same skeleton."
            )
        return replace(self, motion=motion)

    def to(self, device: torch.device | str) -> "Subject":
        """The same subject with its tensors on a device.

        Args:
            device: Where to.

        Returns:
            The copy.
        """
        return map_tensors(self, lambda tensor: tensor.to(device))
