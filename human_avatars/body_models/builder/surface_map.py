"""Bakes surface maps: for each texel of MakeHuman's texture layout, the open body's triangle and the point in it."""

import torch
from jaxtyping import Float, Int
from numpy import ndarray

from human_avatars.body_models.mesh_queries import Mesh, closest_points, texels_of_layout
from human_avatars.body_models.surface_map import SurfaceMap


def bake_surface_map(
    size: int, target: Mesh, source: Mesh, uvs: Float[ndarray, "uvs 2"], uv_faces: Int[ndarray, "faces 3"]
) -> SurfaceMap:
    """Read positions off the textured source at texel centres and find them on the target.

    Args:
        size: Texels along each side.
        target: The mesh the map is for.
        source: The mesh the texture layout was made for, of the same shape up to its tessellation.
        uvs: Texture coordinates in [0, 1], v upwards.
        uv_faces: Those of each corner of the source's faces.
    """
    mask, source_triangles, weights = texels_of_layout(size, uvs, uv_faces)
    corners = source.vertices[source.faces[source_triangles]]
    triangles, target_weights = closest_points((weights[:, :, None] * corners).sum(axis=1), *target)
    located = torch.from_numpy(triangles)
    faces = torch.from_numpy(target.faces)
    return SurfaceMap(torch.from_numpy(mask), located, torch.from_numpy(target_weights), faces[located])
