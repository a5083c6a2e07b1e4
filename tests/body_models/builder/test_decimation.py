"""Laws of decimation and of the transfer by barycentric coordinates."""

import numpy as np
import pytest

from human_avatars.body_models.builder.decimation import decimate, interpolation_matrix
from human_avatars.body_models.mesh_queries import Mesh, closest_points


@pytest.fixture(scope="module")
def sphere() -> Mesh:
    import open3d

    mesh = open3d.geometry.TriangleMesh.create_sphere(radius=1.0, resolution=20)
    return Mesh(np.asarray(mesh.vertices), np.asarray(mesh.triangles).astype(np.int64))


def test_decimation_keeps_a_closed_surface_closed(sphere: Mesh) -> None:
    vertices, faces = decimate(*sphere, 300)
    assert len(faces) == 300
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 2).all()
    assert len(vertices) - len(counts) + len(faces) == 2
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 1, atol=0.02)


def test_affine_values_transfer_exactly(sphere: Mesh) -> None:
    random = np.random.default_rng(0)
    directions = random.normal(size=(200, 3))
    points = 1.1 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    faces, weights = closest_points(points, *sphere)
    matrix = interpolation_matrix(faces, weights, sphere.faces, len(sphere.vertices))
    np.testing.assert_allclose(np.asarray(matrix.sum(axis=1)), 1, atol=1e-6)
    found = matrix @ sphere.vertices
    gradient = np.array([[1.0, -2, 0.5]])
    np.testing.assert_allclose(matrix @ (sphere.vertices @ gradient.T + 3), found @ gradient.T + 3, atol=1e-5)
    # The closest point of a sphere lies below the point.
    np.testing.assert_allclose(found, points / 1.1, atol=0.06)
