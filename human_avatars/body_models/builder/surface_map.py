"""Bakes surface maps: for each texel of MakeHuman's texture layout, the open body's triangle and the point in it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt16
from numpy import ndarray

from human_avatars.body_models.builder.decimation import barycentric, closest_points, raycasting_scene

RESOLUTIONS = (128, 256, 512)
BARYCENTRIC_STEPS = 255
"""Barycentric coordinates are stored in this many steps."""


class Mesh(NamedTuple):
    """A triangle mesh."""

    vertices: Float[ndarray, "vertices 3"]
    faces: Int[ndarray, "faces 3"]


@dataclass(frozen=True)
class SurfaceMap:
    """Where the texels of a square texture lie on a triangle mesh."""

    mask: Bool[ndarray, "size size"]
    """Texels that show the body; the first row is the top of the texture."""
    triangles: UInt16[ndarray, "texels"]
    """The triangle of each such texel, row by row."""
    corner_weights: UInt8[ndarray, "texels 2"]
    """Weights of the triangle's second and third corner, in `BARYCENTRIC_STEPS`."""

    def positions(self, mesh: Mesh) -> Float[ndarray, "texels 3"]:
        """Where the texels lie on a mesh of the same triangles, in its unit."""
        weights = barycentric(self.corner_weights / BARYCENTRIC_STEPS)
        return (weights[:, :, None] * mesh.vertices[mesh.faces[self.triangles]]).sum(axis=1)

    def arrays(self) -> dict[str, ndarray]:
        """The arrays of the packaged file; the mask's bits are packed, row by row."""
        return {"mask": np.packbits(self.mask), "tri": self.triangles, "bary": self.corner_weights}

    @staticmethod
    def from_arrays(arrays: Mapping[str, ndarray]) -> "SurfaceMap":
        """The inverse of `arrays`."""
        bits = np.unpackbits(arrays["mask"]).astype(bool)
        size = math.isqrt(len(bits))
        return SurfaceMap(bits.reshape(size, size), arrays["tri"], arrays["bary"])


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
    import open3d

    layout = raycasting_scene(np.concatenate([uvs, np.zeros((len(uvs), 1))], axis=1), uv_faces)
    centres = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(centres, 1 - centres)
    rays = np.stack([u, v, np.ones_like(u), np.zeros_like(u), np.zeros_like(u), -np.ones_like(u)], axis=-1)
    hits = layout.cast_rays(open3d.core.Tensor.from_numpy(rays.astype(np.float32)))
    mask = np.isfinite(hits["t_hit"].numpy())
    weights = barycentric(hits["primitive_uvs"].numpy()[mask])
    corners = source.vertices[source.faces[hits["primitive_ids"].numpy()[mask]]]
    triangles, target_weights = closest_points((weights[:, :, None] * corners).sum(axis=1), *target)
    steps = np.round(target_weights[:, 1:] * np.float32(BARYCENTRIC_STEPS))
    return SurfaceMap(mask, triangles.astype(np.uint16), steps.astype(np.uint8))
