"""Fewer triangles for the same surface, and what the old vertices carried handed to the new ones."""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy import sparse


def decimate(
    vertices: Float[ndarray, "vertices 3"], faces: Int[ndarray, "faces 3"], num_faces: int
) -> tuple[Float[ndarray, "kept 3"], Int[ndarray, "fewer 3"]]:
    """Collapse edges by quadric error (Garland and Heckbert 1997) until `num_faces` triangles are left."""
    import open3d

    mesh = open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(vertices), open3d.utility.Vector3iVector(faces.astype(np.int32))
    ).simplify_quadric_decimation(num_faces)
    return np.asarray(mesh.vertices), np.asarray(mesh.triangles).astype(np.int64)


def interpolation_matrix(
    face_indices: Int[ndarray, "points"],
    weights: Float[ndarray, "points 3"],
    faces: Int[ndarray, "faces 3"],
    num_vertices: int,
) -> sparse.csr_matrix:
    """The matrix (points by vertices) that blends vertex values at points inside triangles; its rows sum to one."""
    rows = np.repeat(np.arange(len(face_indices)), 3)
    entries = (weights.ravel(), (rows, faces[face_indices].ravel()))
    return sparse.csr_matrix(entries, shape=(len(face_indices), num_vertices))
