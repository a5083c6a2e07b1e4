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
    """Axis-angle vectors of rotation matrices, with angles in [0, pi]; exact near zero and near pi alike.

    Args:
        matrix: Rotation matrices.

    Returns:
        Rotation axes scaled by their angles, in radians.
    """
    quaternion = matrix_to_quaternion(matrix)
    vector = quaternion[..., 1:]
    sine_squared = vector.square().sum(-1, keepdim=True)
    small = sine_squared < SMALL_ANGLE_SQUARED
    sine = torch.where(small, torch.ones_like(sine_squared), sine_squared).sqrt()
    half_angle = torch.atan2(sine, quaternion[..., :1])
    return vector * torch.where(small, 2 + sine_squared / 3, 2 * half_angle / sine)


def matrix_to_quaternion(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions of rotation matrices; the largest component is computed first, which no rotation makes inexact.

    Args:
        matrix: Rotation matrices.

    Returns:
        Quaternions (w, x, y, z), w >= 0.
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
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def quaternion_to_matrix(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of quaternions.

    Args:
        quaternion: Quaternions (w, x, y, z) of any length but zero; they are normalised here.

    Returns:
        Rotation matrices.
    """
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    xy, xz, yz = x * y, x * z, y * z
    wx, wy, wz = w * x, w * y, w * z
    half = torch.stack([-yy - zz, xy - wz, xz + wy, xy + wz, -xx - zz, yz - wx, xz - wy, yz + wx, -xx - yy], dim=-1)
    identity = torch.eye(3, dtype=quaternion.dtype, device=quaternion.device)
    return identity + 2 * half.unflatten(-1, (3, 3))


def matrix_to_rotation_6d(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    """The first two columns of rotation matrices, which say the third (Zhou et al. 2019, eq. 14).

    Args:
        matrix: Rotation matrices.

    Returns:
        The first column, then the second.
    """
    return matrix[..., :2].transpose(-1, -2).flatten(-2)


def rotation_6d_to_matrix(rotation_6d: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices by Gram-Schmidt from any two vectors that are not parallel (Zhou et al. 2019, eq. 15).

    Unlike axes and angles, the six numbers reach every rotation without a jump, which suits learned rotations.

    Args:
        rotation_6d: The first column, then the second, of any length and not quite at right angles.

    Returns:
        Rotation matrices.
    """
    first = torch.nn.functional.normalize(rotation_6d[..., :3], dim=-1)
    second = rotation_6d[..., 3:]
    second = second - (first * second).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def nearest_axis_angle(
    axis_angle: Float[Tensor, "*batch 3"], reference: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 3"]:
    """The same rotations by as many more full turns as bring their vectors nearest to reference vectors.

    A motion whose vectors pass a half turn stays continuous in this way.

    Args:
        axis_angle: Rotation axes scaled by their angles, in radians.
        reference: Where the vectors should be near, in radians.

    Returns:
        Vectors of the same rotations, in radians; those of no rotation at all, which has no axis, unchanged.
    """
    angle = axis_angle.norm(dim=-1, keepdim=True)
    axis = axis_angle / angle.clamp(min=torch.finfo(angle.dtype).tiny)
    turns = (((axis * reference).sum(-1, keepdim=True) - angle) / (2 * torch.pi)).round()
    return axis_angle + 2 * torch.pi * turns * axis


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
