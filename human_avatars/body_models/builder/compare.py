"""How far a body built anew is from another: surface, skinning, joints, shape space, landmarks and surface maps."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from scipy.linalg import subspace_angles
from scipy.spatial import KDTree

from human_avatars.body_models.builder.body_files import OpenBody
from human_avatars.body_models.builder.decimation import interpolation_matrix
from human_avatars.body_models.mesh_queries import Mesh, closest_points

MILLIMETRES = 1e3
SAME_PLACE = 1e-6
"""Vertices nearer than this, in metres, are the same one."""


class Figure(NamedTuple):
    """One difference between two bodies, and how large it may be."""

    name: str
    value: float
    tolerance: float

    @property
    def within_tolerance(self) -> bool:
        """Whether the difference may pass."""
        return bool(self.value <= self.tolerance)


def compare_bodies(built: OpenBody, packaged: OpenBody) -> list[Figure]:
    """Measure the differences between two bodies; where their triangles differ, at the closest points.

    The tolerances let pass what another machine's rounding changes: which of two mirrored edges is collapsed first, and
    with it the places of some vertices, but not the surface that they sample.
    """
    mesh, packaged_mesh = _mesh(built), _mesh(packaged)
    distances = KDTree(mesh.vertices).query(packaged_mesh.vertices)[0]
    if np.array_equal(mesh.faces, packaged_mesh.faces):
        transfer = np.eye(len(mesh.vertices))
    else:
        located = closest_points(packaged_mesh.vertices, *mesh)
        transfer = interpolation_matrix(*located, mesh.faces, len(mesh.vertices)).toarray()
    names = ("weights", "shapedirs")
    moved = {name: np.tensordot(transfer, built.arrays[name].astype(np.float64), axes=1) for name in names}
    differences = {name: np.abs(moved[name] - packaged.arrays[name]).max() for name in names}
    spans = [values.reshape(-1, values.shape[-1]) for values in (moved["shapedirs"], packaged.arrays["shapedirs"])]
    landmarks = packaged.arrays["landmarks"][:, 1].astype(int)
    return [
        Figure("vertices elsewhere on the surface", float((distances > SAME_PLACE).sum()), 200.0),
        Figure("surface, mm", distance_to_surface(packaged_mesh, mesh) * MILLIMETRES, 1.5),
        Figure("surface the other way, mm", distance_to_surface(mesh, packaged_mesh) * MILLIMETRES, 1.5),
        Figure("vertices, mm", np.abs(transfer @ mesh.vertices - packaged_mesh.vertices).max() * MILLIMETRES, 1.5),
        Figure("skinning weights", float(differences["weights"]), 0.05),
        Figure("joints, mm", _furthest(joints(built), joints(packaged)) * MILLIMETRES, 1.0),
        Figure("shape space, mm per standard deviation", float(differences["shapedirs"]) * MILLIMETRES, 1.0),
        Figure("shape space, largest principal angle in degrees", np.rad2deg(subspace_angles(*spans).max()), 1.0),
        Figure(
            "landmarks, mm", _furthest(mesh.vertices[landmarks], packaged_mesh.vertices[landmarks]) * MILLIMETRES, 6.0
        ),
        *(_compare_surface_maps(built, packaged, size) for size in packaged.surface_maps),
    ]


def joints(body: OpenBody) -> Float[ndarray, "joints 3"]:
    """The joints of a body's template, in metres."""
    rows, columns = body.arrays["J_regressor_nz"]
    regressor = np.zeros((body.arrays["weights"].shape[1], len(body.arrays["v_template"])))
    regressor[rows, columns] = body.arrays["J_regressor_val"]
    return regressor @ body.arrays["v_template"]


def distance_to_surface(points_of: Mesh, surface: Mesh) -> float:
    """The largest distance of one mesh's vertices and triangle centres from another's surface, in its unit."""
    points = np.concatenate([points_of.vertices, points_of.vertices[points_of.faces].mean(axis=1)])
    faces, weights = closest_points(points, *surface)
    return _furthest((weights[:, :, None] * surface.vertices[surface.faces[faces]]).sum(axis=1), points)


def _compare_surface_maps(built: OpenBody, packaged: OpenBody, size: int) -> Figure:
    mine, other = built.surface_maps[size], packaged.surface_maps[size]
    positions = []
    for body, surface_map in ((built, mine), (packaged, other)):
        located = surface_map.points().interpolate(torch.from_numpy(body.arrays["v_template"]))
        positions.append(surface_map.scatter(located).permute(1, 2, 0)[mine.mask & other.mask].numpy())
    name = f"surface map of {size}, mm ({(mine.mask ^ other.mask).sum()} texels in one only)"
    return Figure(name, _furthest(*positions) * MILLIMETRES, 4.0)


def _mesh(body: OpenBody) -> Mesh:
    return Mesh(body.arrays["v_template"].astype(np.float64), body.arrays["f"].astype(np.int64))


def _furthest(points: Float[ndarray, "*points 3"], others: Float[ndarray, "*points 3"]) -> float:
    return float(np.linalg.norm(points - others, axis=-1).max())
