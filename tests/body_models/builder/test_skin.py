"""Laws of cutting the skin out of a mesh: caps, triangles, cavities and the membranes across them."""

import numpy as np
import pytest
from jaxtyping import Float, Int
from numpy import ndarray

from human_avatars.body_models.builder import skin as skin_module
from human_avatars.body_models.builder.makehuman_files import BaseMesh
from human_avatars.body_models.builder.skin import (
    Membrane,
    Skin,
    adjacency,
    cap_holes,
    connected_parts,
    cut_skin,
    find_cavities,
    quad_edges,
    smooth,
    split_quads,
    triangle_edges,
)


def _grid(columns: int, rows: int) -> tuple[Float[ndarray, "vertices 3"], Int[ndarray, "quads 4"]]:
    """A plane of unit squares that faces +z; vertex = column + row * (columns + 1)."""
    x, y = np.meshgrid(np.arange(columns + 1.0), np.arange(rows + 1.0))
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    first = (np.arange(columns) + np.arange(rows)[:, None] * (columns + 1)).ravel()
    return vertices, first[:, None] + np.array([0, 1, columns + 2, columns + 1])


def _directed_edges(polygons: Int[ndarray, "polygons corners"]) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for polygon in polygons for a, b in zip(polygon, np.roll(polygon, -1), strict=True)]


def test_a_cap_closes_its_hole_with_the_same_winding() -> None:
    vertices, quads = _grid(4, 4)
    tip = np.array([12])
    capped, uv_capped = cap_holes(vertices, quads, quads, tip)
    # Four quads around the tip go; the ring of eight vertices takes three.
    assert len(capped) == len(quads) - 4 + 3
    assert 12 not in capped
    edges, before = _directed_edges(capped), _directed_edges(quads)
    assert len(set(edges)) == len(edges)
    boundary = {edge for edge in before if edge[::-1] not in before}
    assert {edge for edge in edges if edge[::-1] not in edges} == boundary
    np.testing.assert_array_equal(uv_capped, capped)


def test_a_cap_begins_at_the_edge_nearest_to_the_midline() -> None:
    vertices, quads = _grid(4, 4)
    ring_above_midline = vertices + np.array([0.3, 0, 0])
    ring_above_midline[[6, 11], 0] -= 0.4
    capped, _ = cap_holes(ring_above_midline, quads, quads, np.array([12]))
    assert {6, 11} <= set(capped[-3].tolist())


def test_the_left_cap_comes_before_the_right_one() -> None:
    vertices, quads = _grid(8, 4)
    capped, _ = cap_holes(vertices - [4.0, 0, 0], quads, quads, np.array([20, 24]))
    left, right = vertices[capped[-6:-3]][..., 0] - 4, vertices[capped[-3:]][..., 0] - 4
    assert left.min() > 0 > right.max()


def test_quads_split_along_their_shorter_diagonal() -> None:
    vertices = np.array([[0.0, 0, 0], [2, 0, 0], [3, 1, 0], [1, 1, 0]])
    quads = np.array([[0, 1, 2, 3], [1, 2, 3, 0]])
    faces, uv_faces = split_quads(vertices, quads, quads + 10)
    diagonals = [set(faces[2 * quad]) & set(faces[2 * quad + 1]) for quad in range(2)]
    assert diagonals == [{1, 3}, {1, 3}]
    np.testing.assert_array_equal(uv_faces, faces + 10)
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[:, 2] > 0).all()


def test_a_cavity_is_its_island_in_the_texture_and_the_rings_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, quads = _grid(8, 6)
    centres = vertices[quads].mean(axis=1)
    lined = (np.abs(centres[:, :2] - 3) < 1).all(axis=1)
    cube = np.array([[63, 64, 65, 66]])
    mesh = BaseMesh(
        vertices=np.concatenate([vertices, np.tile([3.0, 3, 0], (4, 1))]),
        uvs=np.zeros((200, 2)),
        quads=np.concatenate([quads, cube]),
        uv_quads=np.concatenate([np.where(lined[:, None], quads + 100, quads), cube]),
        groups=("body",) * 48 + ("joint-mouth",),
    )
    monkeypatch.setattr(skin_module, "CAVITIES", (("joint-mouth", 1),))
    cavities = find_cavities(mesh, mesh.quads[:48], mesh.uv_quads[:48])
    x, y = vertices[:, 0] - 3, vertices[:, 1] - 3
    one_ring = ((np.abs(x) <= 2) & (np.abs(y) <= 1)) | ((np.abs(x) <= 1) & (np.abs(y) <= 2))
    assert lined.sum() == 4
    np.testing.assert_array_equal(cavities[:63] == 0, one_ring)
    assert (cavities[63:] == -1).all()


def test_the_skin_numbers_only_the_vertices_that_it_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, quads = _grid(4, 4)
    mesh = BaseMesh(
        vertices=np.concatenate([vertices, np.tile([2.0, 2, 0], (4, 1))]),
        uvs=np.zeros((29, 2)),
        quads=np.concatenate([quads, [[25, 26, 27, 28]]]),
        uv_quads=np.concatenate([quads, [[25, 26, 27, 28]]]),
        groups=("body",) * 16 + ("helper",),
    )
    monkeypatch.setattr(skin_module, "CAVITIES", ())
    skin = cut_skin(mesh, np.array([12]))
    assert skin.base_vertices.tolist() == [vertex for vertex in range(25) if vertex != 12]
    assert skin.faces.min() == 0
    assert skin.faces.max() == 23
    np.testing.assert_array_equal(skin.base_vertices[skin.faces], skin.uv_faces)
    assert not skin.in_cavity.any()


def test_a_membrane_over_a_hollow_is_flat_again() -> None:
    vertices, quads = _grid(6, 6)
    faces, _ = split_quads(vertices, quads, quads)
    inside = (np.abs(vertices[:, 0] - 3) <= 1) & (np.abs(vertices[:, 1] - 3) <= 1)
    hollow = vertices - np.where(inside[:, None], [0, 0, 2.0], 0)
    membrane = Membrane(Skin(np.arange(len(vertices)), faces, faces, np.where(inside, 0, -1)))
    spanned = membrane.span(hollow)
    np.testing.assert_allclose(spanned[:, 2], 0, atol=1e-12)
    np.testing.assert_array_equal(spanned[~inside], hollow[~inside])
    neighbours = adjacency(triangle_edges(faces), len(vertices)).toarray()
    means = neighbours @ spanned / neighbours.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(spanned[inside], means[inside], atol=1e-12)


def test_smoothing_keeps_a_constant_and_shrinks_differences() -> None:
    vertices, quads = _grid(5, 5)
    faces, _ = split_quads(vertices, quads, quads)
    values = np.stack([np.ones(36), np.arange(36) % 2], axis=1)
    smoothed = smooth(values, faces, 4)
    np.testing.assert_allclose(smoothed[:, 0], 1)
    assert np.ptp(smoothed[:, 1]) < 0.5


def test_parts_of_a_graph() -> None:
    parts = connected_parts(np.array([[0, 1], [1, 2], [4, 3]]), 6)
    assert parts[0] == parts[1] == parts[2]
    assert parts[3] == parts[4]
    assert len(set(parts.tolist())) == 3


def test_adjacency_counts_a_shared_edge_once() -> None:
    _, quads = _grid(2, 1)
    matrix = adjacency(quad_edges(quads), 6).toarray()
    np.testing.assert_array_equal(matrix, matrix.T)
    assert set(np.unique(matrix)) == {0.0, 1.0}
    assert matrix.sum() == 2 * 7
