"""Landmarks of the body, and the vertex numbers at which code written for SMPL looks for them."""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from human_avatars.body_models.builder.smpl_skeleton import JOINTS

LANDMARK_VERTICES: dict[str, int] = {
    "nose": 332,
    "leye": 2800,
    "reye": 6260,
    "lear": 583,
    "rear": 4071,
    "lthumb": 2746,
    "lindex": 2319,
    "lmiddle": 2445,
    "lring": 2556,
    "lpinky": 2673,
    "LBigToe": 3216,
    "LSmallToe": 3226,
    "LHeel": 3387,
    "rthumb": 6191,
    "rindex": 5782,
    "rmiddle": 5905,
    "rring": 6016,
    "rpinky": 6133,
    "RBigToe": 6617,
    "RSmallToe": 6624,
    "RHeel": 6787,
}
"""Vertex of each landmark in the SMPL-H numbering that tools hard-code (OpenPose's and COCO's extra joints are picked
from a body's vertices by these numbers). The open body numbers its vertices so that they land on the true landmarks."""

FINGERS = ("thumb", "index", "middle", "ring", "pinky")


def find_landmarks(
    vertices: Float[ndarray, "vertices 3"],
    joint_weights: Float[ndarray, "vertices joints"],
    bone_weights: dict[str, Float[ndarray, "vertices"]],
    left_eye: Float[ndarray, "3"],
) -> dict[str, int]:
    """Find the vertex of each landmark of `LANDMARK_VERTICES`.

    Args:
        vertices: The body in T-pose: y up, the face towards +z, the left hand at +x; in metres.
        joint_weights: Skinning weights of SMPL's joints.
        bone_weights: Skinning weights of MakeHuman's outermost bones of fingers, toes and of the feet.
        left_eye: Middle of the left eye, on the skin.
    """
    head_joint = [name for name, _, _ in JOINTS].index("head")
    head = np.flatnonzero(joint_weights[:, head_joint] > 0.8)
    middle = head[np.abs(vertices[head, 0]) < 0.012]
    found = {
        "nose": middle[vertices[middle, 2].argmax()],
        "leye": np.linalg.norm(vertices - left_eye, axis=1).argmin(),
        "reye": np.linalg.norm(vertices - left_eye * [-1, 1, 1], axis=1).argmin(),
        "lear": head[vertices[head, 0].argmax()],
        "rear": head[vertices[head, 0].argmin()],
    }

    def outermost(bone: str, direction: list[float], least_weight: float) -> int:
        candidates = np.flatnonzero(bone_weights[bone] > least_weight)
        return int(candidates[(vertices[candidates] @ np.array(direction)).argmax()])

    for side, sign in (("L", 1.0), ("R", -1.0)):
        for number, finger in enumerate(FINGERS, start=1):
            # The thumb points ahead as much as outwards.
            ahead = 0.9 if finger == "thumb" else 0.0
            found[side.lower() + finger] = outermost(f"finger{number}-3.{side}", [sign, 0.0, ahead], 0.4)
        found[side + "BigToe"] = outermost(f"toe1-2.{side}", [0.0, 0.0, 1.0], 0.3)
        found[side + "SmallToe"] = outermost(f"toe5-3.{side}", [sign * 0.5, 0.0, 1.0], 0.3)
        found[side + "Heel"] = outermost(f"foot.{side}", [0.0, -0.3, -1.0], 0.5)
    return {name: int(vertex) for name, vertex in found.items()}


def renumbering(landmarks: dict[str, int], num_vertices: int) -> Int[ndarray, "vertices"]:
    """Order the vertices so that each landmark takes its number of `LANDMARK_VERTICES`; others swap places with them.

    Returns:
        The old number of each new vertex.

    Raises:
        ValueError: Two landmarks fell on one vertex.
    """
    if len(set(landmarks.values())) < len(landmarks):
        raise ValueError(
            f"Two landmarks lie on one vertex: {landmarks}. The body is too coarse there; keep more faces."
        )
    order = np.arange(num_vertices)
    for name, old in landmarks.items():
        place, new = int(np.flatnonzero(order == old)[0]), LANDMARK_VERTICES[name]
        order[[place, new]] = order[[new, place]]
    return order
