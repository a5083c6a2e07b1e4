"""Forward kinematics and linear blend skinning."""

import torch
from jaxtyping import Float
from torch import Tensor

from human_avatars.transforms import invert_rigid, rigid_from_rotation_translation


def forward_kinematics(
    rotations: Float[Tensor, "*batch joints 3 3"],
    rest_joints: Float[Tensor, "*batch joints 3"],
    parents: tuple[int, ...],
) -> Float[Tensor, "*batch joints 4 4"]:
    """Chain every joint's rotation down the skeleton.

    Args:
        rotations: Rotation of each joint relative to its parent.
        rest_joints: Joint positions in the rest pose, in metres.
        parents: Parent of each joint, -1 for the root; a parent comes before its children.

    Returns:
        Body-from-joint transforms; the root joint stays at its rest position.
    """
    parent_indices = [max(parent, 0) for parent in parents]
    offsets = rest_joints - rest_joints[..., parent_indices, :]
    offsets = torch.cat([rest_joints[..., :1, :], offsets[..., 1:, :]], dim=-2)
    local = rigid_from_rotation_translation(rotations, offsets)
    chain: list[Tensor] = []
    for joint, parent in enumerate(parents):
        transform = local[..., joint, :, :]
        chain.append(transform if parent < 0 else chain[parent] @ transform)
    return torch.stack(chain, dim=-3)


def bone_transforms_from_joints(
    joint_transforms: Float[Tensor, "*batch joints 4 4"], rest_joints: Float[Tensor, "*batch joints 3"]
) -> Float[Tensor, "*batch joints 4 4"]:
    """What each bone does to points given in the rest pose.

    Args:
        joint_transforms: World-from-joint transforms; at rest, joint axes are parallel to the world's.
        rest_joints: Joint positions in the rest pose, in metres.

    Returns:
        World-from-rest transforms.
    """
    identity = torch.eye(3, dtype=rest_joints.dtype, device=rest_joints.device)
    rest = rigid_from_rotation_translation(identity.expand(*rest_joints.shape[:-1], 3, 3), rest_joints)
    return joint_transforms @ invert_rigid(rest)


def linear_blend_skinning(
    points: Float[Tensor, "*batch points 3"],
    weights: Float[Tensor, "points joints"],
    bone_transforms: Float[Tensor, "*batch joints 4 4"],
) -> Float[Tensor, "*batch points 3"]:
    """Carry rest-pose points into the posed body (SMPL, eq. 7).

    Args:
        points: Rest-pose positions, in metres.
        weights: Skinning weights; every row sums to one.
        bone_transforms: World-from-rest transform of each joint.

    Returns:
        World positions, in metres.
    """
    blended = torch.einsum("pj,...jrc->...prc", weights, bone_transforms[..., :3, :])
    return (blended[..., :3] @ points[..., None]).squeeze(-1) + blended[..., 3]
