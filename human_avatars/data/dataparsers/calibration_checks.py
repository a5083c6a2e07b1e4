"""What every calibration must satisfy, whatever file it comes from."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ROTATION_TOLERANCE = 1e-2
"""Largest entry of R R^T - I that still passes for a rotation."""

CENTRE_TOLERANCE = 0.2
"""A principal point further than this from the image's centre, in image sizes, belongs to another image size."""


def are_rotations(matrices: Float[Tensor, "cameras 3 3"]) -> Bool[Tensor, " cameras"]:
    """Tell rotations from other matrices, reflections among them.

    Args:
        matrices: What a file gives as rotations.

    Returns:
        True for a rotation.
    """
    identity = torch.eye(3, dtype=matrices.dtype, device=matrices.device)
    error = (matrices @ matrices.transpose(-1, -2) - identity).abs().amax((-1, -2))
    return (error <= ROTATION_TOLERANCE) & (torch.linalg.det(matrices) > 0)


def is_calibrated_for(intrinsics: Float[Tensor, "3 3"], size: tuple[int, int]) -> bool:
    """Tell whether a camera matrix may belong to images of a size.

    Args:
        intrinsics: OpenCV camera matrix, in pixels.
        size: Height and width of the images, in pixels.

    Returns:
        Whether the principal point lies near the images' centre.
    """
    height, width = size
    u, v = intrinsics[:2, 2].tolist()
    return abs(u / width - 0.5) <= CENTRE_TOLERANCE and abs(v / height - 0.5) <= CENTRE_TOLERANCE
