"""Fewer triangles for the same surface, and what the old vertices carried handed to the new ones."""

from typing import Any

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


def closest_points(
    points: Float[ndarray, "points 3"], vertices: Float[ndarray, "vertices 3"], faces: Int[ndarray, "faces 3"]
) -> tuple[Int[ndarray, "points"], Float[ndarray, "points 3"]]:
    """Find the point of a surface nearest to each given one.

    Returns:
        The triangles they lie in, and their barycentric coordinates: the weights of the triangles' corners.
    """
    import open3d

    found = raycasting_scene(vertices, faces).compute_closest_points(
        open3d.core.Tensor.from_numpy(points.astype(np.float32))
    )
    return found["primitive_ids"].numpy().astype(np.int64), barycentric(found["primitive_uvs"].numpy())


def barycentric(primitive_uvs: Float[ndarray, "points 2"]) -> Float[ndarray, "points 3"]:
    """The weights of a triangle's corners from those of its second and third."""
    return np.concatenate([1 - primitive_uvs.sum(axis=1, keepdims=True), primitive_uvs], axis=1)


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


def raycasting_scene(vertices: Float[ndarray, "vertices 3"], faces: Int[ndarray, "faces 3"]) -> Any:
    """Open3D's scene of one triangle mesh, for closest points and rays."""
    import open3d

    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        open3d.core.Tensor.from_numpy(vertices.astype(np.float32)),
        open3d.core.Tensor.from_numpy(faces.astype(np.uint32)),
    )
    return scene
