"""Straightens MakeHuman's A-pose into SMPL's T-pose: limbs as chains of rigid segments, skin by blend skinning."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from human_avatars.body_models.builder.makehuman_files import Rig

BoneHeads = dict[str, Float[ndarray, "bodies 3"]]

LIMB_SEGMENTS: dict[str, str] = {
    "clavicle": "",
    "upperarm01": "clavicle",
    "lowerarm01": "upperarm01",
    "lowerarm02": "lowerarm01",
    "wrist": "lowerarm02",
    "upperleg01": "",
    "lowerleg01": "upperleg01",
    "foot": "lowerleg01",
}
"""First bone of each segment that turns as one piece, and the first bone of the segment it hangs on ("": the trunk)."""

COLLAR_LIFT = np.deg2rad(8)
TOE_OUT = np.deg2rad(8)
"""Angle between a foot and straight ahead."""

Z_AXIS, Y_AXIS, X_AXIS = np.array([0.0, 0, 1]), np.array([0.0, 1, 0]), np.array([1.0, 0, 0])


@dataclass(frozen=True)
class Straightening:
    """Rigid motions of the trunk (segment 0, at rest) and of the limbs' segments, from A-pose to T-pose."""

    rotations: Float[ndarray, "bodies segments 3 3"]
    translations: Float[ndarray, "bodies segments 3"]
    segment_of_bones: Int[ndarray, "bones"]

    def move_bone_heads(self, rig: Rig, bone_heads: BoneHeads) -> BoneHeads:
        """Carry each bone's head along with its segment."""
        moved = {}
        for name, segment in zip(rig.names, self.segment_of_bones, strict=True):
            turned = np.einsum("bij,bj->bi", self.rotations[:, segment], bone_heads[name])
            moved[name] = turned + self.translations[:, segment]
        return moved

    def move_points(
        self, points: Float[ndarray, "bodies points 3"], bone_weights: Float[ndarray, "points bones"]
    ) -> Float[ndarray, "bodies points 3"]:
        """Blend the segments' motions by the weights of their bones."""
        num_segments = self.rotations.shape[1]
        weights = bone_weights @ np.eye(num_segments)[self.segment_of_bones]
        moved = np.empty_like(points)
        for body, body_points in enumerate(points):
            blended_rotations = np.tensordot(weights, self.rotations[body], axes=1)
            moved[body] = np.einsum("pij,pj->pi", blended_rotations, body_points) + weights @ self.translations[body]
        return moved


def straighten(rig: Rig, bone_heads: BoneHeads) -> Straightening:
    """Find the motions that bring arms out level with the palms down, legs nearly vertical and the feet ahead.

    Args:
        rig: The default rig.
        bone_heads: Where its bones begin, in metres, in MakeHuman's A-pose.
    """
    num_bodies = len(next(iter(bone_heads.values())))
    names = [bone + side for side in (".L", ".R") for bone in LIMB_SEGMENTS]
    numbers = {name: number for number, name in enumerate(names, start=1)}
    rotations = np.tile(np.eye(3), (num_bodies, 1 + len(names), 1, 1))
    translations = np.zeros((num_bodies, 1 + len(names), 3))
    for side, sign in ((".L", 1.0), (".R", -1.0)):
        turns = arm_rotations(bone_heads, side, sign) | leg_rotations(bone_heads, side, sign)
        for bone, parent_bone in LIMB_SEGMENTS.items():
            segment, head = numbers[bone + side], bone_heads[bone + side]
            parent = numbers[parent_bone + side] if parent_bone else 0
            pivot = np.einsum("bij,bj->bi", rotations[:, parent], head) + translations[:, parent]
            rotations[:, segment] = turns[bone]
            translations[:, segment] = pivot - np.einsum("bij,bj->bi", turns[bone], head)
    roots = {name: 0 for name, parent in zip(rig.names, rig.parents, strict=True) if parent is None}
    return Straightening(rotations, translations, rig.owners(roots | numbers))


def _bone_direction(bone_heads: BoneHeads, side: str, start: str, end: str) -> Float[ndarray, "bodies 3"]:
    return bone_heads[end + side] - bone_heads[start + side]


def arm_rotations(bone_heads: BoneHeads, side: str, sign: float) -> dict[str, Float[ndarray, "bodies 3 3"]]:
    """Rotations that raise one arm sideways: the elbow unbent, the palm down, half of its turn in the forearm.

    Args:
        bone_heads: In A-pose, in metres.
        side: Suffix of the side's bones.
        sign: Of x on that side: 1 for the body's left.
    """
    direction = partial(_bone_direction, bone_heads, side)
    outward = np.array([sign, 0, 0])
    collar = rotation_about(Z_AXIS, np.full(len(bone_heads["clavicle" + side]), sign * COLLAR_LIFT))
    # A relaxed T-pose: the upper arm a little down and back, the hand a little down and forward.
    upper = rotation_between(direction("upperarm01", "lowerarm01"), np.array([sign, -0.02, -0.03]))
    fore = rotation_between(_turn(upper, direction("lowerarm01", "wrist")), outward) @ upper
    hand = rotation_between(_turn(fore, direction("wrist", "finger3-1")), np.array([sign, -0.06, 0.03])) @ fore
    # With the palm down, the knuckles from the little finger's to the index finger's point ahead, to +z.
    knuckles = _turn(hand, direction("finger5-1", "finger2-1"))
    twist = np.arctan2(knuckles[:, 1], knuckles[:, 2])
    return {
        "clavicle": collar,
        "upperarm01": upper,
        "lowerarm01": fore,
        "lowerarm02": rotation_about(X_AXIS, twist / 2) @ fore,
        "wrist": rotation_about(X_AXIS, twist) @ hand,
    }


def leg_rotations(bone_heads: BoneHeads, side: str, sign: float) -> dict[str, Float[ndarray, "bodies 3 3"]]:
    """Rotations that bring one leg under its hip, the shin a little back, and turn the foot about the vertical.

    Args:
        bone_heads: In A-pose, in metres.
        side: Suffix of the side's bones.
        sign: Of x on that side: 1 for the body's left.
    """
    direction = partial(_bone_direction, bone_heads, side)
    toes = direction("foot", "toe3-1")
    yaw = np.arctan2(toes[:, 0], toes[:, 2])
    return {
        "upperleg01": rotation_between(direction("upperleg01", "lowerleg01"), np.array([sign * 0.075, -1, 0])),
        "lowerleg01": rotation_between(direction("lowerleg01", "foot"), np.array([sign * -0.02, -1, -0.10])),
        "foot": rotation_about(Y_AXIS, sign * TOE_OUT - yaw),
    }


def rotation_between(
    starts: Float[ndarray, "bodies 3"], ends: Float[ndarray, "*#bodies 3"]
) -> Float[ndarray, "bodies 3 3"]:
    """The shortest rotations that turn some directions into others; undefined where those are opposite."""
    starts = starts / np.linalg.norm(starts, axis=-1, keepdims=True)
    ends = np.broadcast_to(ends / np.linalg.norm(ends, axis=-1, keepdims=True), starts.shape)
    cross = _cross_matrix(np.cross(starts, ends))
    cosine = (starts * ends).sum(axis=-1)
    # Rodrigues' formula with axis x sin(angle) for the axis: (1 - cos) / sin^2 = 1 / (1 + cos).
    return np.eye(3) + cross + cross @ cross / (1 + cosine)[:, None, None]


def rotation_about(axis: Float[ndarray, "3"], angles: Float[ndarray, "bodies"]) -> Float[ndarray, "bodies 3 3"]:
    """Rotations about one unit axis, by Rodrigues' formula; angles in radians."""
    cross = _cross_matrix(axis)
    return np.eye(3) + np.sin(angles)[:, None, None] * cross + (1 - np.cos(angles))[:, None, None] * (cross @ cross)


def _turn(rotations: Float[ndarray, "bodies 3 3"], vectors: Float[ndarray, "bodies 3"]) -> Float[ndarray, "bodies 3"]:
    return np.einsum("bij,bj->bi", rotations, vectors)


def _cross_matrix(vectors: Float[ndarray, "*batch 3"]) -> Float[ndarray, "*batch 3 3"]:
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*vectors.shape[:-1], 3, 3)
