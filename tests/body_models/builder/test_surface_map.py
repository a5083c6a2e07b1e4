"""Laws of baking surface maps, on a textured plane."""

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from human_avatars.body_models.builder.surface_map import bake_surface_map
from human_avatars.body_models.mesh_queries import Mesh
from human_avatars.body_models.surface_map import SurfaceMap

# A rectangle of 2 by 1 metres in the plane z = 0, its texture on the lower half of the unit square.
CORNERS = np.array([[0.0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0]])
UVS = np.array([[0.0, 0], [1, 0], [1, 0.5], [0, 0.5]])
FACES = np.array([[0, 1, 2], [0, 2, 3]])
SIZE = 32


def _target() -> Mesh:
    """The same rectangle in other triangles, around a vertex inside it."""
    vertices = np.concatenate([CORNERS, [[0.7, 0.4, 0.0]]])
    return Mesh(vertices, np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]))


def positions(surface_map: SurfaceMap, mesh: Mesh) -> Float[ndarray, "texels 3"]:
    return surface_map.points().interpolate(torch.from_numpy(mesh.vertices)).numpy()


def test_texels_lie_where_the_texture_shows_them() -> None:
    baked = bake_surface_map(SIZE, _target(), Mesh(CORNERS, FACES), UVS, FACES)
    # The first row is the top of the texture, v = 1, which is empty here.
    assert not baked.mask[: SIZE // 2].any()
    assert baked.mask[SIZE // 2 :].all()
    rows, columns = np.nonzero(baked.mask.numpy())
    u, v = (columns + 0.5) / SIZE, 1 - (rows + 0.5) / SIZE
    expected = np.stack([2 * u, 2 * v, np.zeros_like(u)], axis=1)
    np.testing.assert_allclose(positions(baked, _target()), expected, atol=1e-6)


def test_a_map_follows_its_mesh() -> None:
    target = _target()
    baked = bake_surface_map(SIZE, target, Mesh(CORNERS, FACES), UVS, FACES)
    lifted = Mesh(target.vertices @ np.diag([1.0, 3, 1]) + [0, 0, 5], target.faces)
    np.testing.assert_allclose(
        positions(baked, lifted), positions(baked, target) @ np.diag([1.0, 3, 1]) + [0, 0, 5], atol=1e-12
    )
