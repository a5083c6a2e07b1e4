"""Points on a body's triangles: drawing them, reading vertex values at them, normals and tangent frames."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class SurfacePoints:
    """Points that stick to a triangle mesh, whatever its vertices do."""

    triangles: Int64[Tensor, " points"]
    """Triangle that each point lies in: a row of the body's faces."""
    barycentric: Float[Tensor, "points 3"]
    """Weights of the triangle's corners; rows sum to one."""
    corners: Int64[Tensor, "points 3"]
    """Vertices of that triangle."""

    @classmethod
    def in_triangles(
        cls,
        faces: Int64[Tensor, "faces 3"],
        triangles: Int64[Tensor, " points"],
        barycentric: Float[Tensor, "points 3"],
    ) -> "SurfacePoints":
        """Points given by triangle and barycentric coordinates.

        Args:
            faces: Vertex indices of the mesh's triangles.
            triangles: Triangle of each point.
            barycentric: Weights of its corners.
        """
        return cls(triangles=triangles, barycentric=barycentric, corners=faces[triangles])

    @property
    def num_points(self) -> int:
        """How many points there are."""
        return len(self.triangles)

    def __getitem__(self, index: Any) -> "SurfacePoints":
        """Some of the points, by a mask, a slice or indices."""
        return SurfacePoints(self.triangles[index], self.barycentric[index], self.corners[index])

    def interpolate(
        self, vertex_values: Float[Tensor, "*batch vertices channels"]
    ) -> Float[Tensor, "*batch points channels"]:
        """Read values that vary linearly inside the triangles; differentiable in them.

        Args:
            vertex_values: Anything per vertex: positions in metres, skinning weights, features.

        Returns:
            Values at the points.
        """
        by_vertex = vertex_values.movedim(-2, 0)
        blended = _Blend.apply(self, by_vertex.flatten(1))
        return blended.unflatten(1, by_vertex.shape[1:]).movedim(0, -2)

    @cached_property
    def _points_by_vertex(self) -> tuple[Tensor, Tensor, Tensor]:
        """The points of each vertex, one vertex after the other, their weights, and how many each vertex has."""
        corners = self.corners.flatten()
        order = corners.argsort(stable=True)
        return order // 3, self.barycentric.flatten()[order], corners.bincount()


class _Blend(torch.autograd.Function):
    """Sums over three corners one way and over each vertex's points the other.

    `embedding_bag` does both without an array of the corners' values, several times faster than a gather and its
    gradient; its own gradient, which this replaces, is the slowest of all.
    """

    @staticmethod
    def forward(ctx: Any, points: SurfacePoints, values: Tensor) -> Tensor:
        ctx.points, ctx.num_vertices = points, len(values)
        weights = points.barycentric.to(values.dtype)
        return F.embedding_bag(points.corners, values.contiguous(), per_sample_weights=weights, mode="sum")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        points, weights, counts = ctx.points._points_by_vertex
        # The counts end with the last vertex that any point needs.
        offsets = F.pad(counts, (1, ctx.num_vertices - len(counts))).cumsum(0)
        return None, F.embedding_bag(
            points,
            gradient.contiguous(),
            offsets,
            per_sample_weights=weights.to(gradient.dtype),
            mode="sum",
            include_last_offset=True,
        )


@torch.no_grad()
def sample_surface(
    vertices: Float[Tensor, "vertices 3"],
    faces: Int64[Tensor, "faces 3"],
    num_points: int,
    generator: torch.Generator,
) -> SurfacePoints:
    """Draw points evenly by area: the surface is cut into as many pieces of equal area, and each gets one.

    A triangle's number of points is therefore within two of its share, where independent draws would scatter by its
    square root. Inside the triangles points are uniform.

    Args:
        vertices: Vertex positions, in metres.
        faces: Vertex indices of the triangles.
        num_points: Points to draw.
        generator: Source of the random numbers, on any device; its state decides the points.

    Returns:
        The points, ordered by triangle, on the vertices' device.
    """
    # In double precision, so that small triangles keep their share of a long sum.
    area_before = triangle_areas(vertices.double(), faces).cumsum(0)
    assert num_points > 0, "no points to draw"
    assert 0 < area_before[-1] < torch.inf, "a surface without a finite area has no points"
    draws = torch.rand(num_points, 3, generator=generator, device=generator.device, dtype=torch.float64)
    place, first, second = draws.to(vertices.device).unbind(-1)
    places = (torch.arange(num_points, device=vertices.device) + place) * (area_before[-1] / num_points)
    triangles = torch.searchsorted(area_before, places, right=True).clamp(max=len(faces) - 1)
    # The square root makes the distance from the first corner uniform by area.
    away = first.sqrt()
    barycentric = torch.stack([1 - away, away * (1 - second), away * second], dim=-1)
    return SurfacePoints.in_triangles(faces, triangles, barycentric.to(vertices.dtype))


def triangle_areas(
    vertices: Float[Tensor, "*batch vertices 3"], faces: Int64[Tensor, "faces 3"]
) -> Float[Tensor, "*batch faces"]:
    """Areas of a mesh's triangles.

    Args:
        vertices: Vertex positions, in metres.
        faces: Vertex indices of the triangles.

    Returns:
        Areas, in square metres.
    """
    return _side_products(vertices, faces).norm(dim=-1) / 2


def surface_area(
    vertices: Float[Tensor, "*batch vertices 3"], faces: Int64[Tensor, "faces 3"]
) -> Float[Tensor, "*batch"]:
    """Area of a mesh, in square metres.

    Args:
        vertices: Vertex positions, in metres.
        faces: Vertex indices of the triangles.
    """
    return triangle_areas(vertices, faces).sum(-1)


def vertex_normals(
    vertices: Float[Tensor, "*batch vertices 3"], faces: Int64[Tensor, "faces 3"]
) -> Float[Tensor, "*batch vertices 3"]:
    """Unit normals, each the area-weighted mean of the triangles round the vertex.

    Args:
        vertices: Vertex positions, in metres.
        faces: Vertex indices of the triangles, counter-clockwise from outside.

    Returns:
        Unit vectors that point outwards; zero at a vertex without triangles.
    """
    products = _side_products(vertices, faces)
    sums = torch.zeros_like(vertices)
    for corner in faces.unbind(-1):
        sums = sums.index_add(-2, corner, products)
    return F.normalize(sums, dim=-1)


def tangent_frames(normals: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations that turn the z axis into each normal by the shortest way.

    They vary smoothly with the normal but for one direction: opposite to the z axis every half turn is as short.

    Args:
        normals: Unit vectors.

    Returns:
        Rotation matrices: two tangents and, as the third column, the normal.
    """
    x, y, z = normals.unbind(-1)
    sine_squared = x.square() + y.square()
    # Nearer than rounding to the one direction; the root, because the gradient squares this again.
    opposite = (z < 0) & (sine_squared < torch.finfo(normals.dtype).tiny ** 0.5)
    # 1 / (1 + z), which below the equator loses its digits; both branches stay finite for their gradients.
    below = (1 - z) / torch.where(z < 0, torch.where(opposite, 1.0, sine_squared), 1.0)
    scale = torch.where(z < 0, below, 1 / (1 + z.clamp(min=0)))
    xx, xy, yy = scale * x.square(), scale * x * y, torch.where(opposite, 2.0, scale * y.square())
    return torch.stack([1 - xx, -xy, x, -xy, 1 - yy, y, -x, -y, z], dim=-1).unflatten(-1, (3, 3))


def _side_products(
    vertices: Float[Tensor, "*batch vertices 3"], faces: Int64[Tensor, "faces 3"]
) -> Float[Tensor, "*batch faces 3"]:
    """Cross products of two sides of each triangle: its outward normal, twice its area long."""
    first, second, third = (vertices.index_select(-2, corner) for corner in faces.unbind(-1))
    return torch.linalg.cross(second - first, third - first)
