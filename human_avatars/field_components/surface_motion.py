"""How a field that is tied to a moving surface learns of the surface's motion."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

POINTS_AT_ONCE = 4096
"""Points whose distances to all vertices are held together where no tree is searched; bounds the memory."""


def follow_surface(
    points: Float[Tensor, "points 3"], vertices: Float[Tensor, "vertices 3"]
) -> Float[Tensor, "points 3"]:
    """The points themselves, with the gradient that they have while the surface moves beneath them.

    What a field holds near a surface goes along with it. Moved by d, the field has at p what it had at p - d, and d is
    the motion of the nearest vertex; the surface's turning about that vertex is left out. So losses reach a body's pose
    also through a field that is made anew around each body in steps without a gradient, such as voxels.

    Args:
        points: World positions, in metres.
        vertices: World positions that depend on the pose, in metres.

    Returns:
        Positions equal to `points`.
    """
    nearest = vertices[nearest_vertices(points.detach(), vertices.detach())]
    return points - (nearest - nearest.detach())


def nearest_vertices(
    points: Float[Tensor, "points 3"], vertices: Float[Tensor, "vertices 3"]
) -> Int[Tensor, " points"]:
    """The vertex nearest to each point.

    Args:
        points: Positions, in metres.
        vertices: Positions, in metres.

    Returns:
        Indices of vertices.
    """
    if points.device.type != "cpu":
        return _search_all(points, vertices)
    from scipy.spatial import KDTree

    _, indices = KDTree(vertices.numpy()).query(points.numpy())
    return torch.from_numpy(indices)


def _search_all(points: Tensor, vertices: Tensor) -> Tensor:
    return torch.cat([torch.cdist(part, vertices).argmin(-1) for part in points.split(POINTS_AT_ONCE)])
