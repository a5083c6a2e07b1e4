"""Motions are smooth, anatomically possible and told apart."""

from typing import get_args

import numpy as np
import pytest

from human_avatars.capture.joints import SmplJoint
from human_avatars.capture.motions import MotionName, captured_poses, motion_poses

NUM_JOINTS = 24
KNEES = [SmplJoint.LEFT_KNEE, SmplJoint.RIGHT_KNEE]
MIRRORED = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]


@pytest.mark.parametrize("name", get_args(MotionName))
def test_motions_are_smooth_and_possible(name: MotionName) -> None:
    poses = np.rad2deg(motion_poses(name, np.arange(60) / 60, NUM_JOINTS))
    assert poses.shape == (60, NUM_JOINTS, 3)
    assert np.abs(np.diff(poses[:, 1:], axis=0)).max() < 25
    assert np.linalg.norm(poses[:, 1:], axis=-1).max() < 140
    assert (poses[:, KNEES, 0] >= 0).all(), "a knee bends one way only"


@pytest.mark.parametrize("name", ["arm_raise", "squat", "apose_spin", "twist_box"])
def test_motions_end_where_they_began(name: MotionName) -> None:
    start, end = motion_poses(name, np.array([0.0, 1.0]), NUM_JOINTS)[:, 1:19]
    if name == "apose_spin":
        start, end = start[[0, 1, 3, 4]], end[[0, 1, 3, 4]]  # the arms' sway has a period of its own
    np.testing.assert_allclose(start, end, atol=1e-9)


def test_a_squat_is_the_same_on_both_sides() -> None:
    poses = motion_poses("squat", np.linspace(0, 1, 9), NUM_JOINTS)
    np.testing.assert_allclose(poses, poses[:, MIRRORED] * (1, -1, -1), atol=1e-12)


def test_a_squat_bends_the_knees_most_in_the_middle() -> None:
    poses = np.rad2deg(motion_poses("squat", np.array([0.0, 0.5]), NUM_JOINTS))
    np.testing.assert_allclose(poses[0, KNEES, 0], 0, atol=1e-9)
    np.testing.assert_allclose(poses[1, KNEES, 0], 92)


def test_a_spin_is_one_full_turn() -> None:
    heading = np.unwrap(motion_poses("apose_spin", np.linspace(0, 1, 30), NUM_JOINTS)[:, SmplJoint.PELVIS, 1])
    np.testing.assert_allclose(heading[-1] - heading[0], 2 * np.pi)


def test_the_last_frames_are_another_motion() -> None:
    poses = captured_poses("walk", "squat", 8, 4, NUM_JOINTS)
    assert poses.shape == (12, NUM_JOINTS, 3)
    np.testing.assert_array_equal(poses[:8], motion_poses("walk", np.arange(8) / 8, NUM_JOINTS))
    np.testing.assert_array_equal(poses[8:], motion_poses("squat", np.arange(4) / 4, NUM_JOINTS))


def test_the_held_out_part_of_the_same_motion_is_its_rest() -> None:
    # A second pass would show the poses, and the turned body, that training has seen.
    poses = captured_poses("apose_spin", "apose_spin", 8, 4, NUM_JOINTS)
    np.testing.assert_array_equal(poses, motion_poses("apose_spin", np.arange(12) / 12, NUM_JOINTS))
