"""The padded box around a body, and where rays cross it."""

import torch
from jaxtyping import Float
from torch import Tensor

PARALLEL_EPSILON = 1e-5
"""Direction components of unit rays smaller than this are pushed away from zero before the slab test divides."""


def padded_box(
    points: Float[Tensor, "*batch points 3"], padding: tuple[float, float, float]
) -> Float[Tensor, "*batch 2 3"]:
    """The axis-aligned box of a point set, grown along each axis.

    Args:
        points: Positions, in metres.
        padding: Growth at both ends of each axis, in metres. Neural Body pads z alone, by 0.05.

    Returns:
        Lower and upper corners, in metres.
    """
    margin = points.new_tensor(padding)
    return torch.stack([points.amin(-2) - margin, points.amax(-2) + margin], dim=-2)


def intersect_box(
    origins: Float[Tensor, "*rays 3"],
    directions: Float[Tensor, "*rays 3"],
    boxes: Float[Tensor, "*#rays 2 3"],
) -> tuple[Float[Tensor, "*rays"], Float[Tensor, "*rays"]]:
    """Slab test of rays against axis-aligned boxes.

    Args:
        origins: Ray origins, in metres.
        directions: Ray directions, of any length but zero.
        boxes: Lower and upper corners, one box or one per ray.

    Returns:
        Near and far distances in units of the direction's length; a ray hits its box where near < far. Near is zero
        for an origin inside the box, and far is negative for a box behind the origin.
    """
    lengths = directions.norm(dim=-1)
    unit = directions / lengths[..., None]
    sign = torch.where(unit < 0, -torch.ones_like(unit), torch.ones_like(unit))
    unit = torch.where(unit.abs() < PARALLEL_EPSILON, sign * PARALLEL_EPSILON, unit)
    first = (boxes[..., 0, :] - origins) / unit
    second = (boxes[..., 1, :] - origins) / unit
    nears = torch.minimum(first, second).amax(-1).clamp_min(0)
    fars = torch.maximum(first, second).amin(-1)
    return nears / lengths, fars / lengths
