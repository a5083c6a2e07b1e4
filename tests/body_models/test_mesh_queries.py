"""Laws of closest points on a mesh and of the texels of a texture layout, on a sphere and by hand."""

import numpy as np
import pytest

from human_avatars.body_models.mesh_queries import Mesh, barycentric, closest_points, texels_of_layout


@pytest.fixture(scope="module")
def sphere() -> Mesh:
    import open3d

    mesh = open3d.geometry.TriangleMesh.create_sphere(radius=1.0, resolution=20)
    return Mesh(np.asarray(mesh.vertices), np.asarray(mesh.triangles).astype(np.int64))


def test_a_vertex_is_its_own_closest_point(sphere: Mesh) -> None:
    triangles, weights = closest_points(sphere.vertices, *sphere)
    found = (weights[:, :, None] * sphere.vertices[sphere.faces[triangles]]).sum(axis=1)
    np.testing.assert_allclose(found, sphere.vertices, atol=1e-6)


def test_barycentric_coordinates_by_hand() -> None:
    np.testing.assert_allclose(
        barycentric(np.array([[0, 0], [1, 0], [0.25, 0.5]])), [[1, 0, 0], [0, 1, 0], [0.25, 0.25, 0.5]]
    )


def test_texels_of_one_triangle_by_hand() -> None:
    # The triangle covers u + v <= 1: of the texels' centres at 1/8, 3/8, ... those on or below the diagonal.
    uvs, uv_faces = np.array([[0.0, 0], [1.001, 0], [0, 1.001]]), np.array([[0, 1, 2]])
    mask, triangles, weights = texels_of_layout(4, uvs, uv_faces)
    # The first row is the top.
    assert mask.astype(int).tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert (triangles == 0).all()
    np.testing.assert_allclose((weights @ uvs)[:2], [[0.125, 0.875], [0.125, 0.625]], atol=1e-6)
