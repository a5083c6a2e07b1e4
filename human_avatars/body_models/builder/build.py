"""Builds the open body: MakeHuman's adults in T-pose, reduced to SMPL's layout of arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy import sparse

from human_avatars.body_models.builder import makehuman_files
from human_avatars.body_models.builder.body_files import OpenBody
from human_avatars.body_models.builder.decimation import decimate, interpolation_matrix
from human_avatars.body_models.builder.landmarks import LANDMARK_VERTICES, find_landmarks, renumbering
from human_avatars.body_models.builder.phenotypes import morph, sample_adults
from human_avatars.body_models.builder.shape_space import fit_joint_regressor, limit_influences, principal_shapes
from human_avatars.body_models.builder.skin import CAVITIES, Membrane, Skin, cut_skin, smooth
from human_avatars.body_models.builder.smpl_skeleton import JOINTS, PARENTS, joint_of_bones, joint_positions
from human_avatars.body_models.builder.surface_map import bake_surface_map
from human_avatars.body_models.builder.t_pose import straighten
from human_avatars.body_models.mesh_queries import Mesh, closest_points
from human_avatars.body_models.surface_map import PACKAGED_SIZES

NUM_FACES = 13776
"""SMPL's number of triangles; a closed surface without handles then has SMPL's 6890 vertices, as much code expects."""

WEIGHT_SMOOTHING_STEPS = 4
"""Softens the seams that merging MakeHuman's many bones into 24 joints leaves."""

PELVIS = np.array([0.0, -0.22, 0.02])
"""Where the pelvis lies, in metres: off the origin, as SMPL's is, so that code that confuses the two is found out."""

ROUNDING_DECIMALS = 7
"""Vertices are rounded to this many decimals of a metre before decimation. The body's halves mirror each other, so that
edges tie for the next collapse, and rounding errors of the machine should not decide."""


@dataclass(frozen=True)
class Family:
    """Adults of one mesh, in T-pose, on MakeHuman's skin."""

    skin: Skin
    uvs: Float[ndarray, "uvs 2"]
    bodies: Float[ndarray, "bodies vertices 3"]
    joints: Float[ndarray, "bodies joints 3"]
    joint_weights: Float[ndarray, "vertices joints"]
    bone_weights: dict[str, Float[ndarray, "vertices"]]


def build_open_body(source: Path, report: Callable[[str], None] = lambda step: None) -> OpenBody:
    """Build the open body and its surface maps.

    Args:
        source: MakeHuman's files; `human_avatars.body_models.builder.makehuman_files` tells which.
        report: Called with the name of each step as it begins.

    Raises:
        ValueError: A file is missing or is not what it should be.
    """
    makehuman_files.check_source(source)
    family = make_family(source, report)
    report("Reduce the mesh to SMPL's numbers of vertices and triangles")
    mean = family.bodies.mean(axis=0)
    template, faces = decimate(np.round(mean, ROUNDING_DECIMALS), family.skin.faces, NUM_FACES)
    located = closest_points(template, mean, family.skin.faces)
    transfer = interpolation_matrix(*located, family.skin.faces, len(mean))
    arrays = reduce_family(family, template, faces, transfer, report)
    surface_maps = {}
    textured = ~family.skin.in_cavity[family.skin.faces].all(axis=1)
    for size in PACKAGED_SIZES:
        report(f"Bake the surface map of {size} x {size} texels")
        surface_maps[size] = bake_surface_map(
            size,
            Mesh(arrays["v_template"], arrays["f"].astype(np.int64)),
            Mesh(mean, family.skin.faces[textured]),
            family.uvs,
            family.skin.uv_faces[textured],
        )
    return OpenBody(arrays, surface_maps)


def make_family(source: Path, report: Callable[[str], None] = lambda step: None) -> Family:
    """Morph MakeHuman's base mesh into many adults, close their skin and straighten them into T-pose."""
    report("Read MakeHuman's base mesh, rig and weights")
    base_mesh = makehuman_files.read_base_mesh(source / makehuman_files.BASE_MESH)
    rig = makehuman_files.read_rig(source / makehuman_files.RIG, base_mesh)
    num_vertices = len(base_mesh.vertices)
    nipples = source / makehuman_files.TARGETS / "breast/nipple-point-incr.target.gz"
    tips = np.flatnonzero(makehuman_files.read_target(nipples, num_vertices).any(axis=1))
    skin = cut_skin(base_mesh, tips)
    weights = makehuman_files.read_bone_weights(source / makehuman_files.BONE_WEIGHTS, rig, num_vertices)
    weights = weights[skin.base_vertices]
    report("Morph it into adults")
    morphed = morph(source, base_mesh.vertices, sample_adults())
    report("Straighten them into T-pose")
    bone_heads = rig.bone_heads(morphed)
    straightening = straighten(rig, bone_heads)
    joints = joint_positions(straightening.move_bone_heads(rig, bone_heads))
    bodies = straightening.move_points(morphed[:, skin.base_vertices], weights)
    membrane = Membrane(skin)
    bodies = np.stack([membrane.span(body) for body in bodies])
    joint_weights = membrane.span(weights @ np.eye(len(JOINTS))[joint_of_bones(rig)])
    origins = joints[:, :1] - PELVIS
    return Family(
        skin=skin,
        uvs=base_mesh.uvs,
        bodies=bodies - origins,
        joints=joints - origins,
        joint_weights=smooth(joint_weights, skin.faces, WEIGHT_SMOOTHING_STEPS),
        bone_weights=dict(zip(rig.names, weights.T, strict=True)),
    )


def reduce_family(
    family: Family,
    template: Float[ndarray, "kept 3"],
    faces: Int[ndarray, "fewer 3"],
    transfer: sparse.csr_matrix,
    report: Callable[[str], None] = lambda step: None,
) -> dict[str, ndarray]:
    """Carry a family over to fewer vertices and sum it up in the arrays of a SMPL file.

    Args:
        family: Bodies on the full mesh.
        template: The reduced mesh's vertices, in metres.
        faces: Its triangles.
        transfer: Blends values at the family's vertices into values at the template's.
        report: Called with the name of each step as it begins.
    """
    bodies = np.stack([transfer @ body for body in family.bodies])
    # Decimation moves vertices off the old surface, by less than half a millimetre: a shift that all bodies share.
    bodies += template - bodies.mean(axis=0)
    weights = limit_influences(transfer @ family.joint_weights)
    report("Find the shape space")
    directions = principal_shapes(bodies)
    report("Fit the joint regressor")
    regressor = fit_joint_regressor(bodies, family.joints, weights, PARENTS)
    eye = family.skin.cavities == [cube for cube, _ in CAVITIES].index("joint-l-eye")
    bone_weights = {bone: transfer @ values for bone, values in family.bone_weights.items()}
    landmarks = find_landmarks(template, weights, bone_weights, family.bodies[:, eye].mean(axis=(0, 1)))
    order = renumbering(landmarks, len(template))
    # Rounded, so that machines whose least squares end some 1e-11 apart still write the same file.
    regressor = np.round(regressor[:, order], 7)
    return {
        "v_template": template[order].astype(np.float32),
        "f": np.argsort(order)[faces].astype(np.uint16),
        "weights": weights[order].astype(np.float16),
        "J_regressor_nz": np.stack(np.nonzero(regressor)).astype(np.int32),
        "J_regressor_val": regressor[regressor > 0].astype(np.float32),
        # The sum turns -0 into 0: what rounds to zero has its sign from rounding errors.
        "shapedirs": directions[order].astype(np.float16) + np.float16(0),
        "kintree": np.array([PARENTS, range(len(PARENTS))]).astype(np.uint32),
        "landmarks": np.array([[name, str(vertex)] for name, vertex in sorted(LANDMARK_VERTICES.items())]),
    }
