"""Rotations and rigid transforms, batched, differentiable and safe at the identity."""

import torch
from jaxtyping import Float
from torch import Tensor

SMALL_ANGLE_SQUARED = 1e-6
"""Below this squared angle (radians squared) the Taylor series is more accurate than the quotient."""


def axis_angle_to_matrix(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices by Rodrigues' formula, with finite gradients at zero.

    Args:
        axis_angle: Rotation axes scaled by their angles, in radians.

    Returns:
        Rotation matrices.
    """
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    squared = axis_angle.square().sum(-1)
    small = squared < SMALL_ANGLE_SQUARED
    # Both branches are evaluated, so the unused one must stay finite for its gradient to be zero, not NaN.
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    first = torch.where(small, 1 - squared / 6, torch.sin(angle) / angle)[..., None, None]
    second = torch.where(small, 0.5 - squared / 24, (1 - torch.cos(angle)) / safe)[..., None, None]
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + first * cross + second * (cross @ cross)


def matrix_to_axis_angle(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Axis-angle vectors of rotation matrices, with angles in [0, pi].

    Goes through the unit quaternion, whose largest component is computed first: exact near zero and near pi alike.

    Args:
        matrix: Rotation matrices.

    Returns:
        Rotation axes scaled by their angles, in radians.
    """
    m00, m11, m22 = matrix[..., 0, 0], matrix[..., 1, 1], matrix[..., 2, 2]
    s01, s02, s12 = (matrix[..., i, j] + matrix[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    d21, d02, d10 = (matrix[..., i, j] - matrix[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    # Row k is the quaternion (w, x, y, z) times four times its k-th component.
    rows = [
        torch.stack([1 + m00 + m11 + m22, d21, d02, d10], -1),
        torch.stack([d21, 1 + m00 - m11 - m22, s01, s02], -1),
        torch.stack([d02, s01, 1 - m00 + m11 - m22, s12], -1),
        torch.stack([d10, s02, s12, 1 - m00 - m11 + m22], -1),
    ]
    candidates = torch.stack(rows, dim=-2)
    largest = torch.diagonal(candidates, dim1=-2, dim2=-1).argmax(-1)
    chosen = candidates.gather(-2, largest[..., None, None].expand(*largest.shape, 1, 4)).squeeze(-2)
    quaternion = torch.nn.functional.normalize(chosen, dim=-1)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    vector = quaternion[..., 1:]
    sine_squared = vector.square().sum(-1, keepdim=True)
    small = sine_squared < SMALL_ANGLE_SQUARED
    sine = torch.where(small, torch.ones_like(sine_squared), sine_squared).sqrt()
    half_angle = torch.atan2(sine, quaternion[..., :1])
    return vector * torch.where(small, 2 + sine_squared / 3, 2 * half_angle / sine)


def rigid_from_rotation_translation(
    rotation: Float[Tensor, "*batch 3 3"], translation: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 4 4"]:
    """Homogeneous transforms `p -> R p + t`.

    Args:
        rotation: Rotation matrices.
        translation: Translations, in metres.

    Returns:
        Rigid transforms with last row (0, 0, 0, 1).
    """
    top = torch.cat([rotation, translation[..., None]], dim=-1)
    bottom = top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*top.shape[:-2], 1, 4)
    return torch.cat([top, bottom], dim=-2)


def invert_rigid(transform: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Inverse of rigid transforms, `(R, t) -> (R^T, -R^T t)`.

    Args:
        transform: Rigid transforms.

    Returns:
        Their inverses.
    """
    inverse_rotation = transform[..., :3, :3].transpose(-1, -2)
    translation = -(inverse_rotation @ transform[..., :3, 3:]).squeeze(-1)
    return rigid_from_rotation_translation(inverse_rotation, translation)


def transform_points(
    transform: Float[Tensor, "*batch 4 4"], points: Float[Tensor, "*batch points 3"]
) -> Float[Tensor, "*batch points 3"]:
    """Apply one rigid transform per batch entry to many points.

    Args:
        transform: Rigid transforms.
        points: Positions, in metres.

    Returns:
        Transformed positions, in metres.
    """
    return points @ transform[..., :3, :3].transpose(-1, -2) + transform[..., None, :3, 3]
