"""Clothes made from the body itself: parts of its finer surface, smoothed, let out and cut off along hems."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix
from scipy.spatial import ConvexHull

from human_avatars.capture.joints import SmplJoint
from human_avatars.capture.meshes import cut_along_field, incidence, neighbour_average, vertex_normals
from human_avatars.capture.textures import Landmarks, Material

HEM_BLEND = 0.02
"""Distance inside a hem over which smoothing and folds reach full strength, in metres."""
SEEN_INTO = {"collar": 0.012, "sleeve": 0.06, "trouser_leg": 0.06, "shoe": 0.02}
"""How far the eye reaches past each hem; skin that lies deeper is left out, in metres."""
SLEEVE_FRACTION = 0.62
"""Where the sleeve ends between shoulder (0) and elbow (1)."""
HAIR_LINE = ((-0.215, -0.085), (-0.145, -0.075), (-0.118, -0.02), (-0.098, 0.012), (-0.088, -0.03), (-0.076, -0.025),
             (-0.066, 0.02), (-0.045, 0.045), (-0.02, 0.058), (0.01, 0.062))  # fmt: skip
"""Hairline in profile: (forward, up) from the eye in metres, from the nape past the ear and temple to the forehead."""


@dataclass(frozen=True)
class Shell:
    """A piece of surface taken from the body: a garment, or the skin that shows."""

    material: Material
    faces: Int[np.ndarray, "faces 3"]
    carry: csr_matrix
    """Takes a quantity on the body's vertices to this piece's vertices."""
    rest_points: Float[np.ndarray, "points 3"]
    """Vertices at rest, in metres."""


@dataclass(frozen=True)
class RestSurface:
    """The bare body at rest that garments are made from."""

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    face_sums: csr_matrix
    average: csr_matrix

    @classmethod
    def build(cls, vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]) -> "RestSurface":
        """Prepare a mesh for cutting garments from it (positions in metres)."""
        count = len(vertices)
        return cls(vertices, faces, incidence(faces, count), neighbour_average(faces, count))

    def smoothed(
        self, mask: Float[np.ndarray, "vertices"], rounds: int, step: float = 0.6
    ) -> Float[np.ndarray, "vertices 3"]:
        """Vertices after Laplacian smoothing where `mask` is 1, untouched where it is 0, in metres."""
        points = self.vertices
        for _ in range(rounds):
            points = points + step * mask[:, None] * (self.average @ points - points)
        return points

    def let_out(
        self, points: Float[np.ndarray, "vertices 3"], distance: Float[np.ndarray, "vertices"]
    ) -> Float[np.ndarray, "vertices 3"]:
        """Move points out along their normals, by distances in metres that are evened out first."""
        for _ in range(2):
            distance = (distance + self.average @ distance) / 2
        return points + vertex_normals(points, self.faces, self.face_sums) * distance[:, None]


def smoothstep(start: float, end: float, value: np.ndarray) -> np.ndarray:
    """A smooth ramp from 0 at `start` to 1 at `end`."""
    ramp = np.clip((value - start) / (end - start), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def hem_distances(
    vertices: Float[np.ndarray, "vertices 3"], joints: Float[np.ndarray, "joints 3"]
) -> dict[str, Float[np.ndarray, "vertices"]]:
    """How far inside each hem a point of the resting body lies.

    Args:
        vertices: Points of the bare body in T-pose, in metres.
        joints: Its rest joints, in metres.

    Returns:
        For each hem the signed distance from it, in metres, positive on the side of the cloth.
    """
    x, y, z = vertices.T
    pelvis, neck, ankle = joints[SmplJoint.PELVIS, 1], joints[SmplJoint.NECK], joints[SmplJoint.LEFT_ANKLE]
    shoulder, elbow = (abs(joints[joint, 0]) for joint in (SmplJoint.LEFT_SHOULDER, SmplJoint.LEFT_ELBOW))
    return {
        "shirt": y - pelvis + 0.05,
        "sleeve": shoulder + SLEEVE_FRACTION * (elbow - shoulder) - np.abs(x),
        "collar": neck[1] - 0.014 - y - 0.4 * (z - neck[2]),  # lower in front than behind
        "waistband": pelvis + 0.08 - y,
        "trouser_leg": y - ankle[1] - 0.004 - 0.15 * (z - ankle[2]),
        "shoe": ankle[1] + 0.03 - y,
    }


def garment_fields(hems: dict[str, Float[np.ndarray, "vertices"]]) -> dict[Material, Float[np.ndarray, "vertices"]]:
    """How far inside a garment each point lies: the least of its `hem_distances`, in metres, positive inside."""
    return {
        Material.SHIRT: np.minimum.reduce([hems["shirt"], hems["sleeve"], hems["collar"]]),
        Material.TROUSERS: np.minimum(hems["waistband"], hems["trouser_leg"]),
        Material.SHOES: hems["shoe"],
    }


def hidden_skin(hems: dict[str, Float[np.ndarray, "vertices"]]) -> Bool[np.ndarray, "vertices"]:
    """Which points of the body are covered by cloth so deeply that no camera sees them, given `hem_distances`."""
    deep = {hem: hems[hem] > depth for hem, depth in SEEN_INTO.items()}
    under_shirt = deep["collar"] & deep["sleeve"] & (hems["shirt"] > 0)
    return under_shirt | (deep["trouser_leg"] & (hems["waistband"] > 0)) | deep["shoe"]


def hair_field(vertices: Float[np.ndarray, "vertices 3"], landmarks: Landmarks) -> Float[np.ndarray, "vertices"]:
    """How far above the hairline a point of the head lies, in metres; negative on face, ears, neck and below."""
    relative = vertices - landmarks.left_eye
    forward, up = np.array(HAIR_LINE).T
    hairline = np.interp(relative[:, 2], forward, up)
    above = relative[:, 1] - hairline
    ear = np.linalg.norm(np.abs(vertices) * (1, 0, 0) + vertices * (0, 1, 1) - landmarks.left_ear, axis=1)
    return np.where(np.abs(vertices[:, 0]) > 0.068, np.minimum(above, ear - 0.026), above)


def make_shirt(body: RestSurface, field: np.ndarray, joints: np.ndarray) -> Shell:
    """A T-shirt that hangs from chest and shoulders and widens at its hems."""
    x, y, z = body.vertices.T
    shoulder, chest = joints[SmplJoint.LEFT_SHOULDER], joints[SmplJoint.SPINE3, 1]
    waist = joints[SmplJoint.PELVIS, 1] + 0.05
    arm = smoothstep(abs(shoulder[0]) - 0.02, abs(shoulder[0]) + 0.05, np.abs(x))
    upper = smoothstep(chest, chest + 0.1, y)
    # Cloth spans the hollows of the trunk, but smoothing it as much over the shoulders would sink it into them.
    points = body.smoothed(smoothstep(-HEM_BLEND, HEM_BLEND, field) * (1 - 0.8 * np.maximum(arm, upper)), 40)
    lower = smoothstep(waist + 0.22, waist, y) * (1 - arm)
    around = np.arctan2(x, z - joints[SmplJoint.SPINE1, 2])
    flutes = 0.005 * lower * np.sin(7 * around + 1.5 * np.sin(2 * around))
    # A sleeve lies on top of the arm and falls away below it.
    below = smoothstep(0.02, -0.05, y - shoulder[1])
    collar = smoothstep(0.03, 0.0, field) * upper * (1 - arm)
    distance = 0.009 + 0.013 * lower + flutes + arm * (0.002 + 0.012 * below) - 0.004 * collar
    return _shell(Material.SHIRT, body, body.let_out(points, distance), field)


def make_trousers(body: RestSurface, field: np.ndarray, joints: np.ndarray) -> Shell:
    """Straight trousers, looser towards the ankle."""
    y = body.vertices[:, 1]
    knee, ankle = joints[SmplJoint.LEFT_KNEE, 1], joints[SmplJoint.LEFT_ANKLE, 1]
    points = body.smoothed(smoothstep(-HEM_BLEND, HEM_BLEND, field), 14)
    distance = 0.008 + 0.006 * smoothstep(knee + 0.25, knee, y) + 0.012 * smoothstep(knee, ankle, y)
    return _shell(Material.TROUSERS, body, body.let_out(points, distance), field)


def make_shoes(body: RestSurface, field: np.ndarray, landmarks: Landmarks) -> Shell:
    """Shoes with the toes in one cap, a flat sole below and a rim round it."""
    points = body.smoothed(smoothstep(-0.01, 0.015, field), 12, step=0.8)
    points = body.let_out(points, np.full(len(points), 0.012))
    points, folded = _cap_toes(points, body.faces, landmarks.joints)
    height = points[:, 1] - landmarks.sole_height
    rim = vertex_normals(points, body.faces, body.face_sums) * (1, 0, 1)
    points = points + 0.006 * smoothstep(0.035, 0.012, height)[:, None] * rim
    points[:, 1] += smoothstep(0.024, 0.004, height) * (-0.012 - height)
    faces, carry = cut_along_field(body.faces[~folded], field)
    return Shell(Material.SHOES, faces, carry, carry @ points)


def _cap_toes(points: np.ndarray, faces: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Blow the front of each foot up to its convex hull, and tell which triangles between the toes end up inverted."""
    points, folded = points.copy(), np.zeros(len(faces), bool)
    for toes, ankle in ((SmplJoint.LEFT_FOOT, SmplJoint.LEFT_ANKLE), (SmplJoint.RIGHT_FOOT, SmplJoint.RIGHT_ANKLE)):
        near = (np.sign(points[:, 0]) == np.sign(joints[toes, 0])) & (points[:, 1] < joints[ankle, 1] + 0.02)
        front = near & (points[:, 2] > joints[toes, 2] - 0.05)
        planes = ConvexHull(points[front]).equations
        centre = points[front].mean(0)
        rays = points[front] - centre
        # A ray leaves the hull where it meets the first plane that faces it.
        exits = -(planes[:, :3] @ centre + planes[:, 3]) / np.maximum(rays @ planes[:, :3].T, 1e-9)
        blend = smoothstep(-0.05, -0.01, points[front, 2] - joints[toes, 2])
        points[front] += (blend * (exits.min(1) - 1))[:, None] * rays
        corners = points[faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        outward = corners.mean(1) - centre
        folded |= front[faces].all(1) & (np.einsum("fc,fc->f", normals, outward) <= 0)
    return points, folded


def make_skin(body: RestSurface, hair: np.ndarray, hidden: np.ndarray, landmarks: Landmarks) -> Shell:
    """The skin that shows, and the hair on it."""
    x, y, z = body.vertices.T
    volume = smoothstep(-0.004, 0.03, hair)
    points = body.smoothed(smoothstep(0.0, 0.02, hair), 12)
    crown = smoothstep(0.03, 0.11, y - landmarks.left_eye[1])
    angle = np.arctan2(x, z - landmarks.left_ear[2])
    tufts = 0.005 * np.sin(9 * angle + 50 * y) + 0.004 * np.sin(14 * angle - 70 * z + 1)
    points = body.let_out(points, volume * (0.009 + 0.012 * crown + tufts))
    kept, faces = np.unique(body.faces[~hidden[body.faces].all(1)], return_inverse=True)
    carry = csr_matrix(csr_matrix(scipy.sparse.identity(len(x)))[kept])
    return Shell(Material.SKIN, faces.reshape(-1, 3), carry, carry @ points)


def _shell(material: Material, body: RestSurface, points: np.ndarray, field: np.ndarray) -> Shell:
    faces, carry = cut_along_field(body.faces, field)
    return Shell(material, faces, carry, carry @ points)
