"""The body in three steps: a model is given a shape, the shaped body a pose, and the posed body has vertices."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from human_avatars.body_models.skinning import (
    bone_transforms_from_joints,
    forward_kinematics,
    linear_blend_skinning,
)
from human_avatars.transforms import axis_angle_to_matrix

T = TypeVar("T")
TensorMap = Callable[[Tensor], Tensor]


def map_tensors(record: T, function: TensorMap) -> T:
    """A copy of a dataclass with every tensor in it, nested dataclasses included, passed through a function.

    Args:
        record: A dataclass instance.
        function: For instance `lambda tensor: tensor.to(device)`.

    Returns:
        The copy; fields of other types are shared with the original.
    """
    changes: dict[str, Any] = {}
    for field in fields(record):  # pyright: ignore[reportArgumentType]
        value = getattr(record, field.name)
        if isinstance(value, Tensor):
            changes[field.name] = function(value)
        elif hasattr(value, "__dataclass_fields__"):
            changes[field.name] = map_tensors(value, function)
    return replace(record, **changes)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class BodyPose:
    """Joint rotations and place of a body, in smplx's convention: v = R (v0 - J0) + J0 + transl for the root."""

    global_orient: Float[Tensor, "*batch 3"]
    """Axis-angle rotation of the root about the rest pelvis J0, in radians."""
    body_pose: Float[Tensor, "*batch joints 3"]
    """Axis-angle rotation of every other joint relative to its parent, in radians."""
    transl: Float[Tensor, "*batch 3"]
    """Translation of the root, in metres."""

    @classmethod
    def zeros(cls, batch: tuple[int, ...], num_joints: int) -> "BodyPose":
        """The rest pose.

        Args:
            batch: Batch axes.
            num_joints: Joints of the body, the root included.

        Returns:
            A pose of zeros.
        """
        return cls.from_axis_angle(torch.zeros(*batch, num_joints, 3), torch.zeros(*batch, 3))

    @classmethod
    def from_axis_angle(
        cls, axis_angle: Float[Tensor, "*batch joints 3"], transl: Float[Tensor, "*batch 3"]
    ) -> "BodyPose":
        """A pose from one table of joint rotations, the root first.

        Args:
            axis_angle: Joint rotations, in radians.
            transl: Root translations, in metres.

        Returns:
            The pose.
        """
        return cls(global_orient=axis_angle[..., 0, :], body_pose=axis_angle[..., 1:, :], transl=transl)

    @property
    def axis_angle(self) -> Float[Tensor, "*batch joints 3"]:
        """Joint rotations with the root first, in radians."""
        return torch.cat([self.global_orient[..., None, :], self.body_pose], dim=-2)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The batch axes."""
        return tuple(self.transl.shape[:-1])

    def __getitem__(self, index: Any) -> "BodyPose":
        """The poses at an index into the first batch axis."""
        return map_tensors(self, lambda tensor: tensor[index])


@dataclass(frozen=True)
class PosedBody:
    """A body in a pose, in world space."""

    vertices: Float[Tensor, "*batch vertices 3"]
    """Vertex positions, in metres."""
    joint_transforms: Float[Tensor, "*batch joints 4 4"]
    """World-from-joint transforms."""
    bone_transforms: Float[Tensor, "*batch joints 4 4"]
    """World-from-rest transforms; the root's one is Neural Body's (Rh, Th)."""


@dataclass(frozen=True)
class BodyModel:
    """A SMPL-family body model (Loper et al. 2015): template, blend shapes, joint regressor and skinning weights."""

    name: str
    """What it is and where it came from, for messages."""
    rest_template: Float[Tensor, "vertices 3"]
    """Mean shape in the rest pose, in metres."""
    faces: Int[Tensor, "faces 3"]
    """Vertex indices of the triangles, counter-clockwise from outside."""
    skinning_weights: Float[Tensor, "vertices joints"]
    """Rows sum to one."""
    joint_regressor: Float[Tensor, "joints vertices"]
    """Rest joints from rest vertices; rows sum to one."""
    shape_directions: Float[Tensor, "vertices 3 betas"]
    """Displacement per unit of each shape coefficient, in metres."""
    pose_directions: Float[Tensor, "vertices 3 pose_features"] | None
    """Displacement per entry of (R - I) of each joint but the root, in metres; None where the model has none."""
    parents: tuple[int, ...]
    """Parent of each joint, -1 for the root."""

    @property
    def num_vertices(self) -> int:
        """Vertices of the mesh."""
        return self.rest_template.shape[0]

    @property
    def num_joints(self) -> int:
        """Joints of the skeleton, the root included."""
        return len(self.parents)

    @property
    def num_betas(self) -> int:
        """Shape coefficients."""
        return self.shape_directions.shape[-1]

    def with_shape(self, betas: Float[Tensor, "*batch betas"]) -> "ShapedBody":
        """The rest body of a person.

        Args:
            betas: Shape coefficients, in standard deviations.

        Returns:
            The shaped body.
        """
        rest_vertices = self.rest_template + torch.einsum("vcb,...b->...vc", self.shape_directions, betas)
        rest_joints = torch.einsum("jv,...vc->...jc", self.joint_regressor, rest_vertices)
        return ShapedBody(body_model=self, rest_vertices=rest_vertices, rest_joints=rest_joints)


@dataclass(frozen=True)
class ShapedBody:
    """A body with its own shape, in the rest pose."""

    body_model: BodyModel
    """The model whose shape this is."""
    rest_vertices: Float[Tensor, "*batch vertices 3"]
    """Vertex positions, in metres."""
    rest_joints: Float[Tensor, "*batch joints 3"]
    """Joint positions, in metres."""

    def with_pose(self, pose: BodyPose) -> PosedBody:
        """Pose the body (SMPL, eq. 2-9).

        Args:
            pose: Joint rotations and root translation; batch axes broadcast with the shape's.

        Returns:
            The posed body in world space.
        """
        joints, bones = self.joint_and_bone_transforms(pose)
        displacement = self.pose_displacement(pose)
        rest = self.rest_vertices if displacement is None else self.rest_vertices + displacement
        rest = rest.expand(*bones.shape[:-3], *rest.shape[-2:])
        vertices = linear_blend_skinning(rest, self.body_model.skinning_weights, bones)
        return PosedBody(vertices=vertices, joint_transforms=joints, bone_transforms=bones)

    def joint_and_bone_transforms(
        self, pose: BodyPose
    ) -> tuple[Float[Tensor, "*batch joints 4 4"], Float[Tensor, "*batch joints 4 4"]]:
        """The skeleton in a pose, without the skin.

        Args:
            pose: Joint rotations and root translation; batch axes broadcast with the shape's.

        Returns:
            World-from-joint and world-from-rest transforms.
        """
        batch = torch.broadcast_shapes(pose.batch_shape, self.rest_joints.shape[:-2])
        rotations = axis_angle_to_matrix(pose.axis_angle)
        rest_joints = self.rest_joints.expand(*batch, *self.rest_joints.shape[-2:])
        joints = forward_kinematics(
            rotations.expand(*batch, *rotations.shape[-3:]), rest_joints, self.body_model.parents
        )
        translation = torch.zeros_like(joints)
        translation[..., :3, 3] = pose.transl[..., None, :]
        joints = joints + translation
        return joints, bone_transforms_from_joints(joints, rest_joints)

    def pose_displacement(self, pose: BodyPose) -> Float[Tensor, "*batch vertices 3"] | None:
        """Pose blend shapes, SMPL eq. 9.

        Args:
            pose: Joint rotations.

        Returns:
            Displacement of the rest vertices, in metres; None for a model without pose blend shapes.
        """
        directions = self.body_model.pose_directions
        if directions is None:
            return None
        rotations = axis_angle_to_matrix(pose.body_pose)
        identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        features = (rotations - identity).flatten(-3)
        return torch.einsum("vcp,...p->...vc", directions, features)
