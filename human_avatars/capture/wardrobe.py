"""From a body model and an outfit's name to a clothed actor."""

import numpy as np
import scipy.sparse
from jaxtyping import Float
from scipy.sparse import csr_matrix

from human_avatars.body_models.base_body_model import ShapedBody
from human_avatars.capture.actor import ClothedActor, SkinnedPoints
from human_avatars.capture.garments import (
    HEM_BLEND,
    RestSurface,
    Shell,
    garment_fields,
    hair_field,
    hem_distances,
    hidden_skin,
    make_shirt,
    make_shoes,
    make_skin,
    make_trousers,
    smoothstep,
)
from human_avatars.capture.meshes import incidence, loop_subdivision, vertex_normals
from human_avatars.capture.textures import (
    LEFT_EAR_VERTEX,
    LEFT_EYE_VERTEX,
    NOSE_VERTEX,
    Landmarks,
    Material,
    OutfitName,
    make_outfit,
)
from human_avatars.capture.wrinkles import build_wrinkles

WEIGHT_SMOOTHING_ROUNDS = 3
"""Cloth bridges joints, so under it skinning weights change more slowly than on skin."""
MOTTLING_OCTAVES = ((18.0, 0.05), (70.0, 0.04), (190.0, 0.05))
"""Spatial frequency in radians per metre and amplitude of the unevenness of every material."""
WAVES_PER_OCTAVE = 5


def dress(shaped: ShapedBody, outfit: OutfitName, wrinkles: float, seed: int) -> ClothedActor:
    """Put clothes on a body.

    Args:
        shaped: The body at rest, unbatched, of the packaged open body's topology.
        outfit: Name of the outfit.
        wrinkles: Factor on the depth of pose-dependent folds; 0 leaves the cloth smooth.
        seed: Seed of the mottling of the materials.

    Returns:
        The clothed actor.
    """
    rest = shaped.rest_vertices.double().numpy()
    joints = shaped.rest_joints.double().numpy()
    faces, refine = loop_subdivision(shaped.body_model.faces.numpy(), len(rest))
    body = RestSurface.build(refine @ rest, faces)
    landmarks = Landmarks(
        joints, rest[LEFT_EYE_VERTEX], rest[NOSE_VERTEX], rest[LEFT_EAR_VERTEX], float(rest[:, 1].min())
    )
    hems = hem_distances(body.vertices, joints)
    fields = garment_fields(hems)
    hair = hair_field(body.vertices, landmarks)
    shells = (
        make_skin(body, hair, hidden_skin(hems), landmarks),
        make_shirt(body, fields[Material.SHIRT], joints),
        make_trousers(body, fields[Material.TROUSERS], joints),
        make_shoes(body, fields[Material.SHOES], landmarks),
    )
    weights = _cloth_weights(refine @ shaped.body_model.skinning_weights.double().numpy(), body, fields)
    texture = np.column_stack([hair, _mottling(body.vertices, seed)])
    carry = csr_matrix(scipy.sparse.vstack([shell.carry for shell in shells]))
    points = np.concatenate([shell.rest_points for shell in shells])
    # Faces are painted by the landmarks of the bare head, garments as they were cut.
    canvas = np.concatenate([shells[0].carry @ body.vertices, *(shell.rest_points for shell in shells[1:])])
    mesh_faces, materials = _merged(shells)
    face_sums = incidence(mesh_faces, len(points))
    coverage = {
        garment: np.concatenate(
            [(shell.carry @ smoothstep(0.0, HEM_BLEND, fields[cloth])) * (shell.material == cloth) for shell in shells]
        )
        for garment, cloth in (("shirt", Material.SHIRT), ("trousers", Material.TROUSERS))
    }
    return ClothedActor(
        surface=SkinnedPoints(points.astype(np.float32), csr_matrix((carry @ weights).astype(np.float32))),
        rest_normals=vertex_normals(points, mesh_faces, face_sums).astype(np.float32),
        faces=mesh_faces,
        face_sums=face_sums,
        face_materials=materials,
        texture_points=np.column_stack([canvas, carry @ texture]).astype(np.float32),
        wrinkles=build_wrinkles(carry @ body.vertices, joints, coverage, wrinkles),
        outfit=make_outfit(outfit, landmarks),
    )


def _merged(shells: tuple[Shell, ...]) -> tuple[np.ndarray, np.ndarray]:
    """One triangle list over the concatenated vertices of all pieces, and each triangle's material."""
    starts = np.cumsum([0, *(len(shell.rest_points) for shell in shells)])
    faces = np.concatenate([shell.faces + start for shell, start in zip(shells, starts[:-1], strict=True)])
    materials = np.concatenate([np.full(len(shell.faces), shell.material, np.uint8) for shell in shells])
    return faces, materials


def _cloth_weights(
    weights: Float[np.ndarray, "vertices joints"], body: RestSurface, fields: dict[Material, np.ndarray]
) -> Float[np.ndarray, "vertices joints"]:
    """Skinning weights, smoothed under cloth the same way for every layer, so that layers keep their order."""
    mask = smoothstep(-HEM_BLEND, HEM_BLEND, np.maximum(fields[Material.SHIRT], fields[Material.TROUSERS]))[:, None]
    for _ in range(WEIGHT_SMOOTHING_ROUNDS):
        weights = weights + 0.5 * mask * (body.average @ weights - weights)
    return weights / weights.sum(1, keepdims=True)


def _mottling(points: Float[np.ndarray, "points 3"], seed: int) -> Float[np.ndarray, "points"]:
    """Sums of random plane waves around one: the same for a seed, wherever it is evaluated."""
    random = np.random.default_rng(seed)
    tone = np.ones(len(points))
    for frequency, amplitude in MOTTLING_OCTAVES:
        waves = random.normal(size=(3, WAVES_PER_OCTAVE)) * frequency
        phases = random.uniform(0, 2 * np.pi, WAVES_PER_OCTAVE)
        tone += amplitude * np.sin(points @ waves + phases).sum(1) / WAVES_PER_OCTAVE**0.5
    return tone
