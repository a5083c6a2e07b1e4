"""Triangle mesh operators as sparse matrices: Loop subdivision, neighbour averages, cutting along a field, normals."""

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix


def loop_subdivision(
    faces: Int[np.ndarray, "faces 3"], num_vertices: int
) -> tuple[Int[np.ndarray, "fine_faces 3"], csr_matrix]:
    """One round of Loop subdivision of a closed mesh (Loop 1987, with Warren's simpler vertex weights).

    Args:
        faces: Vertex indices of each triangle.
        num_vertices: Vertices of the mesh.

    Returns:
        The four times finer triangles, and the matrix (fine vertices, vertices) that carries any per-vertex quantity
        over. Old vertices keep their index; each edge adds one.
    """
    edges, edge_of_side = np.unique(np.sort(_sides(faces), axis=1), axis=0, return_inverse=True)
    edge_of_side = edge_of_side.reshape(3, -1)
    adjacency = _adjacency(faces, num_vertices)
    degrees = np.asarray(adjacency.sum(1)).ravel()
    weights = np.where(degrees == 3, 3 / 16, 3 / (8 * np.maximum(degrees, 1)))
    old_rows = scipy.sparse.diags(1 - degrees * weights) + scipy.sparse.diags(weights) @ adjacency
    rows = np.concatenate([np.repeat(np.arange(len(edges)), 2), edge_of_side.ravel()])
    opposite = np.concatenate([faces[:, 2], faces[:, 0], faces[:, 1]])
    columns = np.concatenate([edges.ravel(), opposite])
    values = np.concatenate([np.full(2 * len(edges), 3 / 8), np.full(len(opposite), 1 / 8)])
    edge_rows = csr_matrix((values, (rows, columns)), shape=(len(edges), num_vertices))
    corners, middles = faces.T, edge_of_side + num_vertices
    fine_faces = np.concatenate(
        [
            np.stack([corners[0], middles[0], middles[2]], 1),
            np.stack([corners[1], middles[1], middles[0]], 1),
            np.stack([corners[2], middles[2], middles[1]], 1),
            middles.T,
        ]
    )
    return fine_faces, csr_matrix(scipy.sparse.vstack([old_rows, edge_rows]))


def neighbour_average(faces: Int[np.ndarray, "faces 3"], num_vertices: int) -> csr_matrix:
    """The matrix (vertices, vertices) that replaces each vertex by the mean of its neighbours."""
    adjacency = _adjacency(faces, num_vertices)
    degrees = np.asarray(adjacency.sum(1)).ravel()
    return csr_matrix(scipy.sparse.diags(1 / np.maximum(degrees, 1)) @ adjacency)


def cut_along_field(
    faces: Int[np.ndarray, "faces 3"], field: Float[np.ndarray, "vertices"]
) -> tuple[Int[np.ndarray, "cut_faces 3"], csr_matrix]:
    """Keep the part of a mesh where a linearly interpolated field is positive, with its border exactly at zero.

    Args:
        faces: Vertex indices of each triangle.
        field: One value per vertex.

    Returns:
        The triangles of the kept part, and the matrix (kept vertices, vertices) that carries any per-vertex quantity
        over.
    """
    inside = field > 0
    # Each triangle is turned so that its corner 0 is the odd one out: the only one inside, or the only one outside.
    count = inside[faces].sum(1)
    odd = np.where(count == 1, np.argmax(inside[faces], 1), np.argmin(inside[faces], 1))
    turned = np.take_along_axis(faces, (odd[:, None] + np.arange(3)) % 3, 1)
    whole, tip, stump = faces[count == 3], turned[count == 1], turned[count == 2]
    crossed = [tip[:, [0, 1]], tip[:, [0, 2]], stump[:, [0, 1]], stump[:, [0, 2]]]
    edges, cut_vertices = np.unique(np.sort(np.concatenate(crossed), axis=1), axis=0, return_inverse=True)
    cut_vertices = cut_vertices.ravel() + len(field)
    tip_first, tip_second, stump_first, stump_second = np.split(
        cut_vertices, np.cumsum([len(tip), len(tip), len(stump)])
    )
    pieces = np.concatenate(
        [
            whole,
            np.stack([tip[:, 0], tip_first, tip_second], 1),
            np.stack([stump_first, stump[:, 1], stump[:, 2]], 1),
            np.stack([stump_first, stump[:, 2], stump_second], 1),
        ]
    )
    start, end = field[edges[:, 0]], field[edges[:, 1]]
    fraction = start / (start - end)
    rows = np.repeat(np.arange(len(edges)), 2)
    values = np.stack([1 - fraction, fraction], 1).ravel()
    on_edges = csr_matrix((values, (rows, edges.ravel())), shape=(len(edges), len(field)))
    carry = csr_matrix(scipy.sparse.vstack([scipy.sparse.identity(len(field)), on_edges]))
    kept, compact = np.unique(pieces, return_inverse=True)
    return compact.reshape(-1, 3), csr_matrix(carry[kept])


def incidence(faces: Int[np.ndarray, "faces 3"], num_vertices: int) -> csr_matrix:
    """The matrix (vertices, faces) that sums over the triangles round each vertex."""
    num_faces = len(faces)
    columns = np.repeat(np.arange(num_faces), 3)
    return csr_matrix((np.ones(3 * num_faces, np.float32), (faces.ravel(), columns)), shape=(num_vertices, num_faces))


def vertex_normals(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], face_sums: csr_matrix
) -> Float[np.ndarray, "vertices 3"]:
    """Unit normals, each the area-weighted mean of the triangles round the vertex.

    Args:
        vertices: Positions.
        faces: Vertex indices of each triangle, anticlockwise seen from outside.
        face_sums: `incidence` of the mesh.
    """
    corners = vertices[faces]
    normals = face_sums @ np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _sides(faces: np.ndarray) -> np.ndarray:
    """All sides (3 faces, 2) of the triangles: first the 01 sides, then 12, then 20."""
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def _adjacency(faces: np.ndarray, num_vertices: int) -> csr_matrix:
    """The 0/1 matrix of which vertices share an edge."""
    sides = _sides(faces)
    both = np.concatenate([sides, sides[:, ::-1]])
    adjacency = csr_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(num_vertices, num_vertices))
    adjacency.data[:] = 1  # a side shared by two triangles was counted twice
    return adjacency
