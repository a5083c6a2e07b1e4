"""Questions asked of a triangle mesh through Open3D's rays: closest points, and what a texture layout's texels show."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray


class Mesh(NamedTuple):
    """A triangle mesh."""

    vertices: Float[ndarray, "vertices 3"]
    faces: Int[ndarray, "faces 3"]


def closest_points(
    points: Float[ndarray, "points 3"], vertices: Float[ndarray, "vertices 3"], faces: Int[ndarray, "faces 3"]
) -> tuple[Int[ndarray, "points"], Float[ndarray, "points 3"]]:
    """Find the point of a surface nearest to each given one.

    Returns:
        The triangles they lie in, and their barycentric coordinates: the weights of the triangles' corners.
    """
    import open3d

    found = raycasting_scene(vertices, faces).compute_closest_points(
        open3d.core.Tensor.from_numpy(points.astype(np.float32))
    )
    return found["primitive_ids"].numpy().astype(np.int64), barycentric(found["primitive_uvs"].numpy())


def texels_of_layout(
    size: int, uvs: Float[ndarray, "uvs 2"], uv_faces: Int[ndarray, "faces 3"]
) -> tuple[Bool[ndarray, "size size"], Int[ndarray, "texels"], Float[ndarray, "texels 3"]]:
    """Find which triangle of a texture layout each texel's centre shows.

    Args:
        size: Texels along each side.
        uvs: Texture coordinates in [0, 1], v upwards.
        uv_faces: Those of each corner of the mesh's faces.

    Returns:
        The texels that show one, the first row being the top of the texture; row by row, their triangles and
        barycentric coordinates.
    """
    import open3d

    layout = raycasting_scene(np.concatenate([uvs, np.zeros((len(uvs), 1))], axis=1), uv_faces)
    centres = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(centres, 1 - centres)
    rays = np.stack([u, v, np.ones_like(u), np.zeros_like(u), np.zeros_like(u), -np.ones_like(u)], axis=-1)
    hits = layout.cast_rays(open3d.core.Tensor.from_numpy(rays.astype(np.float32)))
    mask = np.isfinite(hits["t_hit"].numpy())
    triangles = hits["primitive_ids"].numpy()[mask].astype(np.int64)
    return mask, triangles, barycentric(hits["primitive_uvs"].numpy()[mask])


def barycentric(primitive_uvs: Float[ndarray, "points 2"]) -> Float[ndarray, "points 3"]:
    """The weights of a triangle's corners from those of its second and third."""
    return np.concatenate([1 - primitive_uvs.sum(axis=1, keepdims=True), primitive_uvs], axis=1)


def raycasting_scene(vertices: Float[ndarray, "vertices 3"], faces: Int[ndarray, "faces 3"]) -> Any:
    """Open3D's scene of one triangle mesh, for closest points and rays."""
    import open3d

    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        open3d.core.Tensor.from_numpy(vertices.astype(np.float32)),
        open3d.core.Tensor.from_numpy(faces.astype(np.uint32)),
    )
    return scene
