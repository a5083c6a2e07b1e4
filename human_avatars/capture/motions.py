"""Procedural motions as SMPL joint rotations: smooth formulas of time, so that no licensed motion data is shipped."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from typing_extensions import assert_never

from human_avatars.capture.joints import SmplJoint

MotionName = Literal["walk", "arm_raise", "squat", "apose_spin", "twist_box"]

WALK_CYCLES = 1.5
"""Full strides (two steps each) in one pass of the walk."""
WALK_TURN_DEGREES = 120.0
"""How far the walker turns on the spot, so that every camera sees more than one side."""
SPIN_WOBBLES = 4
"""Sways of a person who tries to stand still while turning once."""
BOX_ROUNDS = 2
"""Left-right punch pairs in one pass."""

_SIDES = (
    (1.0, SmplJoint.LEFT_HIP, SmplJoint.LEFT_KNEE, SmplJoint.LEFT_ANKLE, SmplJoint.LEFT_FOOT),
    (-1.0, SmplJoint.RIGHT_HIP, SmplJoint.RIGHT_KNEE, SmplJoint.RIGHT_ANKLE, SmplJoint.RIGHT_FOOT),
)
_ARMS = (
    (1.0, SmplJoint.LEFT_COLLAR, SmplJoint.LEFT_SHOULDER, SmplJoint.LEFT_ELBOW),
    (-1.0, SmplJoint.RIGHT_COLLAR, SmplJoint.RIGHT_SHOULDER, SmplJoint.RIGHT_ELBOW),
)


def motion_poses(
    name: MotionName, times: Float[np.ndarray, "frames"], num_joints: int
) -> Float[np.ndarray, "frames joints 3"]:
    """Joint rotations of a motion (y up, the actor faces +z, arms along x at rest).

    Args:
        name: Which motion.
        times: Progress through the motion, 0 at its start and 1 at its end.
        num_joints: Joints of the body; the first 22 must be in SMPL order.

    Returns:
        Axis-angle rotations relative to the parent joint, in radians. The root row is the heading of the body.
    """
    assert num_joints > SmplJoint.RIGHT_WRIST
    poses = np.zeros((len(times), num_joints, 3))
    if name == "walk":
        return _walk(poses, times)
    elif name == "arm_raise":
        return _arm_raise(poses, times)
    elif name == "squat":
        return _squat(poses, times)
    elif name == "apose_spin":
        return _apose_spin(poses, times)
    elif name == "twist_box":
        return _twist_box(poses, times)
    else:
        assert_never(name)


def captured_poses(
    seen: MotionName, unseen: MotionName, num_seen: int, num_unseen: int, num_joints: int
) -> Float[np.ndarray, "frames joints 3"]:
    """A whole capture: one motion for the training frames, then another, or the rest of the same, for those held out.

    Args:
        seen: Motion of the first `num_seen` frames.
        unseen: Motion of the rest; where it is the first one, one pass of it is spread over all frames.
        num_seen: Frames of the first motion.
        num_unseen: Frames of the rest.
        num_joints: Joints of the body.

    Returns:
        Axis-angle rotations, in radians.
    """
    if seen == unseen:
        num_frames = num_seen + num_unseen
        return motion_poses(seen, np.arange(num_frames) / num_frames, num_joints)
    first = motion_poses(seen, np.arange(num_seen) / num_seen, num_joints)
    second = motion_poses(unseen, np.arange(num_unseen) / num_unseen, num_joints)
    return np.concatenate([first, second])


def _vectors(like: np.ndarray, x: object = 0.0, y: object = 0.0, z: object = 0.0) -> np.ndarray:
    """Rotation vectors (frames, 3) in radians from degrees per axis, each a number or one value per frame."""
    return np.deg2rad(np.stack([np.broadcast_to(np.asarray(axis, float), len(like)) for axis in (x, y, z)], -1))


def _compose(*rotations: np.ndarray) -> np.ndarray:
    """Product of rotation vectors in matrix order: the last one acts first."""
    product = Rotation.from_rotvec(rotations[0])
    for rotation in rotations[1:]:
        product = product * Rotation.from_rotvec(rotation)
    return product.as_rotvec()


def _bump(angle: np.ndarray, centre: float, sharpness: float) -> np.ndarray:
    """A periodic bell of height one around `centre`, given as a fraction of the cycle."""
    return np.exp(sharpness * (np.cos(angle - 2 * np.pi * centre) - 1))


def _lower_arms(poses: np.ndarray, degrees: float) -> None:
    """Bring the arms from the T-pose down by `degrees`, a little of it in the collar bones."""
    for side, collar, shoulder, _ in _ARMS:
        poses[:, collar] = _vectors(poses, z=-5 * side)
        poses[:, shoulder] = _vectors(poses, z=-degrees * side)


def _walk(poses: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Walking on the spot while turning; angle 0 of a leg's cycle is its heel strike."""
    _lower_arms(poses, 71.0)
    cycle = 2 * np.pi * WALK_CYCLES * times
    for (side, hip, knee, ankle, foot), (_, _, shoulder, elbow) in zip(_SIDES, _ARMS, strict=True):
        angle = cycle + (0 if side > 0 else np.pi)
        # Peaks of a gait cycle: the knee gives way at 15 % and swings at 72 %, the foot pushes off at 60 %.
        poses[:, hip] = _vectors(poses, x=-(7 + 21 * np.cos(angle)), z=1.5 * side)
        poses[:, knee] = _vectors(poses, x=6 + 10 * _bump(angle, 0.15, 5.0) + 50 * _bump(angle, 0.72, 3.5))
        poses[:, ankle] = _vectors(poses, x=16 * _bump(angle, 0.61, 8.0) - 7 * _bump(angle, 0.42, 6.0))
        poses[:, foot] = _vectors(poses, x=-18 * _bump(angle, 0.54, 9.0))
        swing = _vectors(poses, x=22 * np.cos(angle))
        poses[:, shoulder] = _compose(swing, poses[:, shoulder])
        poses[:, elbow] = _vectors(poses, y=-side * (24 - 11 * np.cos(angle)))
    heading = WALK_TURN_DEGREES * times
    poses[:, SmplJoint.PELVIS] = _vectors(poses, x=2, y=heading - 5 * np.cos(cycle), z=2 * np.sin(cycle))
    poses[:, SmplJoint.SPINE2] = _vectors(poses, x=3, y=8 * np.cos(cycle))
    poses[:, SmplJoint.HEAD] = _vectors(poses, x=-3, y=-3 * np.cos(cycle))
    return poses


def _arm_raise(poses: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Both arms from the hips to overhead and back, the right one late, with bending elbows and a turning chest."""
    cycle = 2 * np.pi * times
    for side, collar, shoulder, elbow in _ARMS:
        lift = (1 - np.cos(cycle if side > 0 else cycle - 0.6)) / 2
        poses[:, shoulder] = _vectors(poses, z=side * (-72 + 137 * lift))
        poses[:, collar] = _vectors(poses, z=side * (-6 + 24 * lift))
        poses[:, elbow] = _vectors(poses, y=-side * 36 * (1 - np.cos(2 * cycle)) / 2)
    poses[:, SmplJoint.SPINE2] = _vectors(poses, y=18 * np.sin(cycle), z=8 * np.sin(cycle))
    poses[:, SmplJoint.HEAD] = _vectors(poses, y=20 * np.sin(cycle + 0.5))
    return poses


def _squat(poses: np.ndarray, times: np.ndarray) -> np.ndarray:
    """One deep knee bend with the arms stretched forward for balance."""
    depth = (1 - np.cos(2 * np.pi * times)) / 2
    _lower_arms(poses, 66.0)
    for side, hip, knee, ankle, _ in _SIDES:
        poses[:, hip] = _compose(_vectors(poses, x=-92 * depth, z=side * 12 * depth), _vectors(poses, z=side * 3))
        poses[:, knee] = _vectors(poses, x=92 * depth)
        poses[:, ankle] = _vectors(poses, x=-28 * depth)  # the soles stay flat
    for _, _, shoulder, _ in _ARMS:
        poses[:, shoulder] = _compose(_vectors(poses, x=-98 * depth), poses[:, shoulder])
    poses[:, SmplJoint.PELVIS] = _vectors(poses, x=28 * depth)
    poses[:, SmplJoint.SPINE1] = _vectors(poses, x=11 * depth)
    poses[:, SmplJoint.HEAD] = _vectors(poses, x=-25 * depth)
    return poses


def _apose_spin(poses: np.ndarray, times: np.ndarray) -> np.ndarray:
    """One full turn with the arms held away from the body, with the wobble of a real person."""
    _lower_arms(poses, 45.0)
    wobble = 2 * np.pi * SPIN_WOBBLES * times
    for side, hip, knee, ankle, _ in _SIDES:
        bend = 2 + 2 * side * np.sin(wobble)
        poses[:, hip] = _vectors(poses, x=-bend, z=6 * side)
        poses[:, knee] = _vectors(poses, x=2 * bend)
        poses[:, ankle] = _vectors(poses, x=-bend)
    for side, _, shoulder, _ in _ARMS:
        sway = _vectors(poses, x=3 * np.sin(wobble * (0.95 + 0.05 * side)), z=3 * np.cos(wobble * 1.2))
        poses[:, shoulder] = _compose(sway, poses[:, shoulder])
    poses[:, SmplJoint.PELVIS] = _vectors(poses, y=360 * times)
    poses[:, SmplJoint.SPINE2] = _vectors(poses, 2 * np.sin(wobble), 3 * np.sin(0.7 * wobble), 1.5 * np.cos(wobble))
    return poses


def _twist_box(poses: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Alternating straight punches out of a guard, with the trunk twisting behind them."""
    cycle = 2 * np.pi * BOX_ROUNDS * times
    _lower_arms(poses, 0.0)
    for side, _, shoulder, elbow in _ARMS:
        reach = (1 + side * np.sin(cycle)) / 2
        poses[:, shoulder] = _compose(
            _vectors(poses, y=-side * 85 * reach),
            _vectors(poses, x=-20 * (1 - reach)),
            _vectors(poses, z=-side * 55 * (1 - 0.75 * reach)),
        )
        poses[:, elbow] = _vectors(poses, y=-side * (10 + 115 * (1 - reach)))
    for side, hip, knee, ankle, _ in _SIDES:
        poses[:, hip] = _vectors(poses, x=-22 - side * 8 * np.sin(cycle), z=9 * side)
        poses[:, knee] = _vectors(poses, x=35 + side * 10 * np.sin(cycle))
        poses[:, ankle] = _vectors(poses, x=-18 - side * 2 * np.sin(cycle))
    poses[:, SmplJoint.SPINE1] = _vectors(poses, x=4, y=-14 * np.sin(cycle))
    poses[:, SmplJoint.SPINE2] = _vectors(poses, x=4, y=-18 * np.sin(cycle))
    poses[:, SmplJoint.PELVIS] = _vectors(poses, x=5, y=10 * np.sin(cycle + 0.3))
    poses[:, SmplJoint.HEAD] = _vectors(poses, y=20 * np.sin(cycle))
    return poses
