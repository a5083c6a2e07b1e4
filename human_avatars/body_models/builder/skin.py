"""The closed skin cut out of MakeHuman's base mesh: nipples capped, eye and mouth cavities spanned by membranes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import splu

from human_avatars.body_models.builder.makehuman_files import BaseMesh

CAVITIES: tuple[tuple[str, int], ...] = (("joint-l-eye", 3), ("joint-r-eye", 3), ("joint-tongue-3", 2))
"""Joint cube in each cavity, and how many rings of vertices around its lining, lids or lips, count as part of it."""


@dataclass(frozen=True)
class Skin:
    """The body's surface as triangles, its vertices numbered anew."""

    base_vertices: Int[ndarray, "vertices"]
    """The vertex of the base mesh that each one is."""
    faces: Int[ndarray, "faces 3"]
    uv_faces: Int[ndarray, "faces 3"]
    """Texture coordinates of each corner, as indices into the base mesh's."""
    cavities: Int[ndarray, "vertices"]
    """The cavity of `CAVITIES` that each vertex lines, or -1."""

    @property
    def in_cavity(self) -> Bool[ndarray, "vertices"]:
        """Whether each vertex lines a cavity."""
        return self.cavities >= 0


def cut_skin(base_mesh: BaseMesh, nipple_tips: Int[ndarray, "tips"]) -> Skin:
    """Take the base mesh's body group, without nipples, as a closed surface of triangles.

    Args:
        base_mesh: MakeHuman's base mesh with its helper geometry.
        nipple_tips: Vertices that the target "nipple-point-incr" moves; removed, and the rings around them capped.
    """
    body = base_mesh.quads_of_group["body"]
    quads, uv_quads = base_mesh.quads[body], base_mesh.uv_quads[body]
    cavities = find_cavities(base_mesh, quads, uv_quads)
    quads, uv_quads = cap_holes(base_mesh.vertices, quads, uv_quads, nipple_tips)
    faces, uv_faces = split_quads(base_mesh.vertices, quads, uv_quads)
    base_vertices, faces = np.unique(faces, return_inverse=True)
    return Skin(base_vertices, faces.reshape(-1, 3), uv_faces, cavities[base_vertices])


def find_cavities(
    base_mesh: BaseMesh, quads: Int[ndarray, "quads 4"], uv_quads: Int[ndarray, "quads 4"]
) -> Int[ndarray, "vertices"]:
    """Find the vertices of the base mesh that line the eye sockets and the mouth.

    Each lining is an island of its own in texture space: the one whose mean vertex is nearest to the cavity's cube.

    Returns:
        The cavity of `CAVITIES` that each vertex lines, or -1.
    """
    corner_islands = connected_parts(quad_edges(uv_quads), len(base_mesh.uvs))[uv_quads[:, 0]]
    islands = np.unique(corner_islands)
    vertices_of = {island: np.unique(quads[corner_islands == island]) for island in islands}
    centres = np.stack([base_mesh.vertices[vertices_of[island]].mean(axis=0) for island in islands])
    neighbours = adjacency(quad_edges(quads), len(base_mesh.vertices))
    cavities = np.full(len(base_mesh.vertices), -1)
    for number, (cube, num_rings) in enumerate(CAVITIES):
        cube_centre = base_mesh.vertices[base_mesh.vertices_of_group(cube)].mean(axis=0)
        island = islands[np.linalg.norm(centres - cube_centre, axis=1).argmin()]
        lining = np.zeros(len(base_mesh.vertices), dtype=bool)
        lining[vertices_of[island]] = True
        for _ in range(num_rings):
            lining |= (neighbours @ lining) > 0
        cavities[lining] = number
    return cavities


def cap_holes(
    vertices: Float[ndarray, "vertices 3"],
    quads: Int[ndarray, "quads 4"],
    uv_quads: Int[ndarray, "quads 4"],
    tips: Int[ndarray, "tips"],
) -> tuple[Int[ndarray, "capped 4"], Int[ndarray, "capped 4"]]:
    """Remove the quads around some vertices and zip each hole shut from its edge nearest to the midline outwards.

    Returns:
        The quads that are kept, then the caps', the body's left first; and the same of their texture coordinates.
    """
    removed = np.isin(quads, tips).any(axis=1)
    uv_of_vertex = dict(zip(quads[removed].ravel().tolist(), uv_quads[removed].ravel().tolist(), strict=True))
    successor = {
        start: end
        for start, end in quad_edges(quads[removed]).tolist()
        if start not in set(tips.tolist()) and end not in set(tips.tolist())
    }
    caps: list[list[int]] = []
    for ring in sorted(_cycles(successor), key=lambda ring: -vertices[ring, 0].mean()):
        edge_offsets = np.abs(vertices[ring, 0] + vertices[np.roll(ring, -1), 0])
        first = int(edge_offsets.argmin())
        ring = ring[first:] + ring[:first]
        behind, ahead = [ring[0], *ring[:0:-1]], ring[1:]
        for rung in range(len(ring) // 2 - 1):
            caps.append([behind[rung + 1], behind[rung], ahead[rung], ahead[rung + 1]])
    uv_caps = [[uv_of_vertex[vertex] for vertex in cap] for cap in caps]
    new_shape = (-1, 4)
    return (
        np.concatenate([quads[~removed], np.array(caps, dtype=int).reshape(new_shape)]),
        np.concatenate([uv_quads[~removed], np.array(uv_caps, dtype=int).reshape(new_shape)]),
    )


def split_quads(
    vertices: Float[ndarray, "vertices 3"], quads: Int[ndarray, "quads 4"], uv_quads: Int[ndarray, "quads 4"]
) -> tuple[Int[ndarray, "faces 3"], Int[ndarray, "faces 3"]]:
    """Split each quad along its shorter diagonal into two triangles that follow each other."""
    corners = vertices[quads]
    first_diagonal = np.linalg.norm(corners[:, 0] - corners[:, 2], axis=1)
    second_diagonal = np.linalg.norm(corners[:, 1] - corners[:, 3], axis=1)
    along_first = (first_diagonal < second_diagonal)[:, None]
    corner_order = np.where(along_first, [[0, 1, 2, 2, 3, 0]], [[0, 1, 3, 3, 1, 2]])
    return (
        np.take_along_axis(quads, corner_order, axis=1).reshape(-1, 3),
        np.take_along_axis(uv_quads, corner_order, axis=1).reshape(-1, 3),
    )


class Membrane:
    """Spans the cavities by values that are, at each vertex inside, the mean of its neighbours' (discrete Laplace)."""

    def __init__(self, skin: Skin) -> None:
        """Factorise the Laplace system of the vertices inside the cavities."""
        neighbours = adjacency(triangle_edges(skin.faces), len(skin.base_vertices))
        laplacian = (sparse.diags(np.asarray(neighbours.sum(axis=1)).ravel()) - neighbours).tocsr()
        self.inside, self.outside = np.flatnonzero(skin.in_cavity), np.flatnonzero(~skin.in_cavity)
        self._coupling = laplacian[self.inside][:, self.outside]
        self._solver = splu(laplacian[self.inside][:, self.inside].tocsc())

    def span(self, values: Float[ndarray, "vertices channels"]) -> Float[ndarray, "vertices channels"]:
        """Replace the values inside the cavities by the membrane that their rims hold."""
        spanned = values.copy()
        spanned[self.inside] = self._solver.solve(-(self._coupling @ values[self.outside]))
        return spanned


def smooth(
    values: Float[ndarray, "vertices channels"], faces: Int[ndarray, "faces 3"], num_steps: int
) -> Float[ndarray, "vertices channels"]:
    """Move each vertex's values halfway to the mean of its neighbours', several times."""
    neighbours = adjacency(triangle_edges(faces), len(values))
    averaging = sparse.diags(1 / np.asarray(neighbours.sum(axis=1)).ravel()) @ neighbours
    for _ in range(num_steps):
        values = 0.5 * values + 0.5 * (averaging @ values)
    return values


def quad_edges(quads: Int[ndarray, "quads 4"]) -> Int[ndarray, "edges 2"]:
    """The directed edges of quads, one row for each side of each quad."""
    return np.concatenate([quads[:, [side, (side + 1) % 4]] for side in range(4)])


def triangle_edges(faces: Int[ndarray, "faces 3"]) -> Int[ndarray, "edges 2"]:
    """The directed edges of triangles, one row for each side of each triangle."""
    return np.concatenate([faces[:, [side, (side + 1) % 3]] for side in range(3)])


def adjacency(edges: Int[ndarray, "edges 2"], num_vertices: int) -> sparse.csr_matrix:
    """The symmetric matrix that holds a one for every two vertices that share an edge."""
    ends = np.concatenate([edges, edges[:, ::-1]])
    counts = sparse.csr_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(num_vertices, num_vertices))
    counts.data[:] = 1
    return counts


def connected_parts(edges: Int[ndarray, "edges 2"], num_vertices: int) -> Int[ndarray, "vertices"]:
    """Number the connected parts of a graph; returns the part of each vertex."""
    return csgraph.connected_components(adjacency(edges, num_vertices), directed=False)[1]


def _cycles(successor: dict[int, int]) -> list[list[int]]:
    remaining, cycles = dict(successor), []
    while remaining:
        vertex, cycle = next(iter(remaining)), []
        while vertex in remaining:
            cycle.append(vertex)
            vertex = remaining.pop(vertex)
        cycles.append(cycle)
    return cycles
