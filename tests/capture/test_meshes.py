"""Laws of subdivision, cutting and normals on an octahedron."""

import numpy as np
import pytest

from human_avatars.capture.meshes import (
    cut_along_field,
    incidence,
    loop_subdivision,
    neighbour_average,
    vertex_normals,
)

VERTICES = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
FACES = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])


def areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    corners = vertices[faces]
    return np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2


def fine_sphere() -> tuple[np.ndarray, np.ndarray]:
    vertices, faces = VERTICES, FACES
    for _ in range(3):
        faces, refine = loop_subdivision(faces, len(vertices))
        vertices = refine @ vertices
    return vertices / np.linalg.norm(vertices, axis=1, keepdims=True), faces


def test_subdivision_adds_a_vertex_per_edge_and_stays_closed() -> None:
    faces, refine = loop_subdivision(FACES, len(VERTICES))
    assert faces.shape == (32, 3)
    assert refine.shape == (18, 6)
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward = {tuple(side) for side in sides.tolist()}
    assert len(forward) == len(sides)
    assert {(b, a) for a, b in forward} == forward, "every side must be met once from each direction"


def test_subdivision_weights_are_loops() -> None:
    _, refine = loop_subdivision(FACES, len(VERTICES))
    weights = refine.toarray()
    np.testing.assert_allclose(weights.sum(1), 1)
    # Vertex 0 has four neighbours, so each weighs 3 / (8 * 4).
    np.testing.assert_allclose(weights[0], [5 / 8, 0, 3 / 32, 3 / 32, 3 / 32, 3 / 32])
    # Edge 0-2 lies between vertices 4 and 5.
    assert any(np.allclose(row, [3 / 8, 0, 3 / 8, 0, 1 / 8, 1 / 8]) for row in weights[6:])


def test_neighbour_average_of_the_octahedron() -> None:
    np.testing.assert_allclose(neighbour_average(FACES, 6) @ VERTICES, np.zeros((6, 3)), atol=1e-12)


def test_cutting_a_sphere_in_half() -> None:
    vertices, faces = fine_sphere()
    field = vertices @ np.array([0.3, 0.2, 0.9]) + 0.013
    cut_faces, carry = cut_along_field(faces, field)
    kept = carry @ field
    assert kept.min() >= -1e-12
    np.testing.assert_allclose(np.asarray(carry.sum(1)).ravel(), 1)
    other_faces, other_carry = cut_along_field(faces, -field)
    whole = areas(vertices, faces).sum()
    halves = areas(carry @ vertices, cut_faces).sum() + areas(other_carry @ vertices, other_faces).sum()
    np.testing.assert_allclose(halves, whole)


def test_cutting_keeps_the_orientation() -> None:
    vertices, faces = fine_sphere()
    cut_faces, carry = cut_along_field(faces, vertices[:, 2] - 0.21)
    corners = (carry @ vertices)[cut_faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.einsum("fc,fc->f", normals, corners.mean(1)) > 0).all()


@pytest.mark.parametrize(("value", "num_faces"), [(1.0, 8), (-1.0, 0)])
def test_cutting_where_the_field_has_one_sign(value: float, num_faces: int) -> None:
    faces, carry = cut_along_field(FACES, np.full(6, value))
    assert faces.shape == (num_faces, 3)
    np.testing.assert_allclose(areas(carry @ VERTICES, faces).sum(), areas(VERTICES, FACES).sum() * num_faces / 8)


def test_normals_of_the_octahedron_point_along_its_axes() -> None:
    np.testing.assert_allclose(vertex_normals(VERTICES, FACES, incidence(FACES, 6)), VERTICES, atol=1e-7)
