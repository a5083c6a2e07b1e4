"""The light that falls on a person: one distant light field for all of their surface."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

DISPLAY_GAMMA = 2.2
"""Image values are about the 1/2.2th power of the light that fell on the sensor."""
DARKEST = 1e-4
"""Irradiance counts as at least about this, so that its root has a slope in full shadow."""


class BodyLight(nn.Module):
    """A factor on the colours: the light that arrives at a matt surface from all directions it sees.

    A body that turns under a fixed light changes its colours, and its limbs throw shadows that move. Both follow from
    the pose and one light field, learned once for all points and frames, so they hold for poses and orientations that
    were never seen, where colours per point would freeze the light onto the body.

    Args:
        num_directions: Directions that the light field is made of.
    """

    directions: Tensor

    def __init__(self, num_directions: int) -> None:
        super().__init__()
        self.register_buffer("directions", even_directions(num_directions), persistent=False)
        # Light that is even from all sides gives a factor of one: the cosines of a half sphere sum to a quarter.
        self.log_radiance = nn.Parameter(torch.full((num_directions, 3), math.log(4 / num_directions)))

    def forward(
        self, normals: Float[Tensor, "points 3"], visibility: Float[Tensor, "points directions"]
    ) -> Float[Tensor, "points 3"]:
        """The factor at points.

        Args:
            normals: Unit normals in world space.
            visibility: How much of each direction's light gets through.

        Returns:
            Positive factors on RGB; about 1 for a fresh light that nothing shadows.
        """
        arriving = (normals @ self.directions.T).clamp(min=0) * visibility
        irradiance = arriving @ self.log_radiance.exp()
        return (irradiance + DARKEST) ** (1 / DISPLAY_GAMMA)


def even_directions(count: int) -> Float[Tensor, "directions 3"]:
    """Nearly even directions: a Fibonacci spiral on the sphere.

    Args:
        count: Number of directions.

    Returns:
        Unit vectors.
    """
    index = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1 - 2 * index / count
    azimuth = math.pi * (1 + math.sqrt(5)) * index
    ring = (1 - z * z).sqrt()
    return torch.stack([ring * azimuth.cos(), ring * azimuth.sin(), z], dim=-1).float()
