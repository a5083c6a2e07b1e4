"""Lays one body's surface over another's of the SMPL family: by the joints, then the loose ends, then the skin."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial.transform import Rotation

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.body_models.mesh_queries import Mesh, closest_points
from human_avatars.body_models.surface import vertex_normals

NUM_BODY_JOINTS = 22
"""Joints without hands and face, which SMPL, SMPL-H and SMPL-X share and number alike."""
TWIST_PRIOR = 1e-4
"""Pull towards the parent's rotation, in square metres: decides what a single bone leaves open, the twist about it."""
LOOSE_END_STEPS = 6
LOOSE_END_PRIOR = 1e-2
"""Pull of a step towards none, as a fraction of the part's squared size."""
SMOOTHNESS = (30.0, 20.0, 10.0, 5.0, 3.0, 2.0, 1.0, 0.5)
"""Weight on squared differences between neighbours' displacements, step by step."""
SAME_SIDE = 0.5
"""Least cosine between the normals of two points that may be the same: keeps fingers and thighs apart."""


def register_body(source: BodyModel, target: BodyModel) -> Float[ndarray, "vertices 3"]:
    """Find where each vertex of one body would lie on another: both of the SMPL family, their meshes of any kind.

    Limbs follow the joints, and head, hands and feet turn and grow until they fit. What is left is closed by a smooth
    displacement towards closest points, whose smoothness is relaxed step by step.

    Args:
        source: The body to lay over.
        target: The body to be covered.

    Returns:
        The source's vertices near the surface of the target's template, in metres.

    Raises:
        ValueError: The skeletons are not of one family.
    """
    num_joints = _num_shared_joints(source, target)
    weights = _fold_weights(source, num_joints)
    mesh = _template_mesh(source)
    goal = _template_mesh(target)
    joints, goal_joints = (_rest_joints(body)[:num_joints] for body in (source, target))
    vertices = _follow_joints(mesh.vertices, weights, joints, goal_joints, source.parents[:num_joints])
    for joint in set(range(num_joints)) - set(source.parents[:num_joints]):
        vertices = _fit_loose_end(Mesh(vertices, mesh.faces), goal, weights[:, joint], goal_joints[joint])
    return _close_gap(Mesh(vertices, mesh.faces), goal)


def _num_shared_joints(source: BodyModel, target: BodyModel) -> int:
    if source.parents == target.parents:
        return source.num_joints
    if source.parents[:NUM_BODY_JOINTS] != target.parents[:NUM_BODY_JOINTS]:
        raise ValueError(
            f"{target.name}: its skeleton begins with the parents {target.parents[:NUM_BODY_JOINTS]}, expected SMPL's "
            f"{source.parents[:NUM_BODY_JOINTS]}. A texture layout can only be guessed for SMPL, SMPL-H and SMPL-X: "
            "give the body's own as an .obj file with texture coordinates."
        )
    return NUM_BODY_JOINTS


def _fold_weights(body: BodyModel, num_joints: int) -> Float[ndarray, "vertices joints"]:
    """Skinning weights of the leading joints, each with those of the joints left out below it."""
    weights = body.skinning_weights.cpu().double().numpy().copy()
    for joint in range(body.num_joints - 1, num_joints - 1, -1):
        weights[:, body.parents[joint]] += weights[:, joint]
    return weights[:, :num_joints]


def _template_mesh(body: BodyModel) -> Mesh:
    return Mesh(body.rest_template.cpu().double().numpy(), body.faces.cpu().numpy())


def _rest_joints(body: BodyModel) -> Float[ndarray, "joints 3"]:
    return (body.joint_regressor.cpu().double() @ body.rest_template.cpu().double()).numpy()


def _follow_joints(
    vertices: Float[ndarray, "vertices 3"],
    weights: Float[ndarray, "vertices joints"],
    joints: Float[ndarray, "joints 3"],
    goal_joints: Float[ndarray, "joints 3"],
    parents: tuple[int, ...],
) -> Float[ndarray, "vertices 3"]:
    """Skin vertices with the similarity that takes each joint, and its children, to their goals."""
    bones, goal_bones = (places[1:] - places[list(parents[1:])] for places in (joints, goal_joints))
    overall = _length(goal_bones) / _length(bones)
    rotations: list[ndarray] = []
    moved = np.zeros_like(vertices)
    for joint, parent in enumerate(parents):
        below = np.flatnonzero(np.array(parents[1:]) == joint)
        prior = rotations[parent] if parent >= 0 else np.eye(3)
        rotation = _nearest_rotation(goal_bones[below].T @ bones[below] + TWIST_PRIOR * prior)
        scale = _length(goal_bones[below]) / _length(bones[below]) if len(below) else overall
        rotations.append(rotation)
        placed = goal_joints[joint] + scale * (vertices - joints[joint]) @ rotation.T
        moved += weights[:, joint, None] * placed
    return moved


def _length(bones: Float[ndarray, "bones 3"]) -> float:
    return float(np.linalg.norm(bones, axis=1).sum())


def _nearest_rotation(matrix: Float[ndarray, "3 3"]) -> Float[ndarray, "3 3"]:
    """The rotation nearest to a matrix (Kabsch 1976)."""
    left, _, right = np.linalg.svd(matrix)
    return left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right


def _fit_loose_end(
    mesh: Mesh, goal: Mesh, weights: Float[ndarray, "vertices"], joint: Float[ndarray, "3"]
) -> Float[ndarray, "vertices 3"]:
    """Turn and scale the part that ends a chain of joints about its joint, until it fits the goal point to plane."""
    vertices, part = mesh.vertices, weights > 0.5
    assert part.any(), "a joint at the end of a chain moves nothing"
    for _ in range(LOOSE_END_STEPS):
        found, normals, trusted = _find_counterparts(Mesh(vertices, mesh.faces), goal, np.flatnonzero(part))
        arms, normals = vertices[part][trusted] - joint, normals[trusted]
        # Distances to the planes by a small rotation and by growth.
        change = np.concatenate([np.cross(arms, normals), (normals * arms).sum(axis=1, keepdims=True)], axis=1)
        gap = (normals * (found[trusted] - vertices[part][trusted])).sum(axis=1)
        prior = LOOSE_END_PRIOR * np.square(vertices[part] - joint).sum() * np.eye(4)
        *rotation, growth = np.linalg.solve(change.T @ change + prior, change.T @ gap)
        turned = (1 + growth) * (vertices - joint) @ Rotation.from_rotvec(rotation).as_matrix().T
        vertices = vertices + weights[:, None] * (joint + turned - vertices)
    return vertices


def _close_gap(mesh: Mesh, goal: Mesh) -> Float[ndarray, "vertices 3"]:
    """Move vertices to their counterparts by displacements that vary slowly over the mesh."""
    vertices, everything = mesh.vertices, np.arange(len(mesh.vertices))
    laplacian = _laplacian(mesh.faces, len(vertices))
    for smoothness in SMOOTHNESS:
        found, _, trusted = _find_counterparts(Mesh(vertices, mesh.faces), goal, everything)
        # Vertices without a counterpart follow their neighbours; the small weight keeps the system definite.
        trust = np.where(trusted, 1.0, 1e-6)
        system = sparse.csc_matrix(sparse.diags(trust) + smoothness * laplacian)
        vertices = vertices + splu(system).solve(trust[:, None] * (found - vertices))
    return vertices


def _find_counterparts(
    mesh: Mesh, goal: Mesh, chosen: Int[ndarray, "chosen"]
) -> tuple[Float[ndarray, "chosen 3"], Float[ndarray, "chosen 3"], Bool[ndarray, "chosen"]]:
    """Closest points of some vertices on the goal, the unit normals there, and whether both face the same side."""
    triangles, weights = closest_points(mesh.vertices[chosen], *goal)
    corners = goal.faces[triangles]
    found, normals = ((weights[:, :, None] * values[corners]).sum(axis=1) for values in (goal.vertices, _normals(goal)))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return found, normals, (_normals(mesh)[chosen] * normals).sum(axis=1) > SAME_SIDE


def _normals(mesh: Mesh) -> Float[ndarray, "vertices 3"]:
    return vertex_normals(torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces)).numpy()


def _laplacian(faces: Int[ndarray, "faces 3"], num_vertices: int) -> sparse.csr_matrix:
    """The graph Laplacian: its quadratic form sums squared differences over the edges."""
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    numbers = np.arange(len(edges))
    rows, columns = np.concatenate([numbers, numbers]), edges.T.ravel()
    signs = np.repeat([1.0, -1.0], len(edges))
    differences = sparse.csr_matrix((signs, (rows, columns)), shape=(len(edges), num_vertices))
    return sparse.csr_matrix(differences.T @ differences)
