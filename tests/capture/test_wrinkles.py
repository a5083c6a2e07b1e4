"""Folds follow the pose, stay on the cloth and never sink into the body."""

import numpy as np
import pytest

from human_avatars.capture.joints import SmplJoint
from human_avatars.capture.wrinkles import DEEPEST_VALLEY, Wrinkles, build_wrinkles

RANDOM = np.random.default_rng(3)
JOINTS = RANDOM.normal(scale=0.3, size=(24, 3))
POINTS = np.tile(JOINTS, (20, 1)) + RANDOM.normal(scale=0.06, size=(480, 3))
SHIRT = (np.arange(480) < 240).astype(float)


def make(strength: float = 1.0) -> Wrinkles:
    return build_wrinkles(POINTS, JOINTS, {"shirt": SHIRT, "trousers": np.zeros(480)}, strength)


def bent(joint: SmplJoint, angle: float) -> np.ndarray:
    poses = np.zeros((24, 3))
    poses[joint, 0] = angle
    return poses


def test_no_folds_at_rest() -> None:
    np.testing.assert_array_equal(make().displacement(np.zeros((24, 3))), np.zeros(480))


def test_no_folds_at_zero_strength() -> None:
    poses = RANDOM.normal(size=(24, 3))
    np.testing.assert_array_equal(make(0.0).displacement(poses), np.zeros(480))


@pytest.mark.parametrize("joint", [SmplJoint.SPINE1, SmplJoint.LEFT_SHOULDER, SmplJoint.RIGHT_SHOULDER])
def test_folds_stay_on_their_garment(joint: SmplJoint) -> None:
    depth = make().displacement(bent(joint, 1.0))
    assert np.abs(depth[:240]).max() > 1e-4
    np.testing.assert_array_equal(depth[240:], np.zeros(240))


def test_joints_far_from_the_garment_do_nothing() -> None:
    np.testing.assert_array_equal(make().displacement(bent(SmplJoint.LEFT_KNEE, 1.0)), np.zeros(480))


def test_ridges_grow_with_strength_and_valleys_end() -> None:
    poses = bent(SmplJoint.SPINE1, 2.0)
    gentle, strong = make(1.0).displacement(poses), make(50.0).displacement(poses)
    ridges = gentle > 0
    np.testing.assert_allclose(strong[ridges], 50 * gentle[ridges], rtol=1e-5, atol=1e-9)
    assert strong.min() >= -DEEPEST_VALLEY
    assert strong.min() < gentle.min()


def test_bending_to_either_side_makes_different_folds() -> None:
    poses = np.zeros((24, 3))
    poses[SmplJoint.SPINE1, 1] = 0.5
    assert np.abs(make().displacement(poses) - make().displacement(-poses)).max() > 1e-3
