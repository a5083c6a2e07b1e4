"""Forward kinematics and skinning, worked by hand on an arm of two bones."""

import math

import torch
from torch.testing import assert_close

from human_avatars.body_models.skinning import (
    bone_transforms_from_joints,
    forward_kinematics,
    linear_blend_skinning,
)
from human_avatars.transforms import axis_angle_to_matrix

REST_JOINTS = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0]])
PARENTS = (-1, 0)
QUARTER_TURN = torch.tensor([0.0, 0.0, math.pi / 2])


def test_two_quarter_turns_fold_the_arm_back() -> None:
    rotations = axis_angle_to_matrix(torch.stack([QUARTER_TURN, QUARTER_TURN]))
    joints = forward_kinematics(rotations, REST_JOINTS, PARENTS)
    assert_close(joints[:, :3, 3], torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]]))
    assert_close(joints[1, :3, :3], torch.diag(torch.tensor([-1.0, -1.0, 1.0])))

    bones = bone_transforms_from_joints(joints, REST_JOINTS)
    rest = torch.tensor([[0.5, 0.0, 1.0], [1.0, 0.0, 1.0], [2.0, 0.0, 1.0], [1.5, 0.0, 1.0]])
    weights = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.5, 0.5]])
    # The last point: the upper arm takes it to (0, 1.5), the forearm to (-0.5, 1), and it lands halfway.
    expected = torch.tensor([[0.0, 0.5, 1.0], [0.0, 1.0, 1.0], [-1.0, 1.0, 1.0], [-0.25, 1.25, 1.0]])
    assert_close(linear_blend_skinning(rest, weights, bones), expected)


def test_a_child_turns_about_its_own_joint() -> None:
    rotations = axis_angle_to_matrix(torch.stack([torch.zeros(3), QUARTER_TURN]))
    bones = bone_transforms_from_joints(forward_kinematics(rotations, REST_JOINTS, PARENTS), REST_JOINTS)
    forearm = linear_blend_skinning(torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[0.0, 1.0]]), bones)
    assert_close(forearm, torch.tensor([[1.0, 1.0, 1.0]]))
    assert_close(bones[0], torch.eye(4))


def test_batches_are_independent() -> None:
    generator = torch.Generator().manual_seed(0)
    parents = (-1, 0, 0, 2)
    rotations = axis_angle_to_matrix(torch.randn(2, 3, 4, 3, generator=generator, dtype=torch.float64))
    rest_joints = torch.randn(2, 3, 4, 3, generator=generator, dtype=torch.float64)
    points = torch.randn(2, 3, 5, 3, generator=generator, dtype=torch.float64)
    weights = torch.rand(5, 4, generator=generator, dtype=torch.float64).softmax(-1)

    joints = forward_kinematics(rotations, rest_joints, parents)
    bones = bone_transforms_from_joints(joints, rest_joints)
    posed = linear_blend_skinning(points, weights, bones)
    for index in [(0, 0), (1, 2)]:
        one = forward_kinematics(rotations[index], rest_joints[index], parents)
        assert_close(joints[index], one)
        assert_close(bones[index], bone_transforms_from_joints(one, rest_joints[index]))
        assert_close(posed[index], linear_blend_skinning(points[index], weights, bones[index]))


def test_every_bone_carries_its_own_rest_joint_to_its_joint() -> None:
    generator = torch.Generator().manual_seed(1)
    parents = (-1, 0, 1, 2, 1)
    rotations = axis_angle_to_matrix(torch.randn(5, 3, generator=generator, dtype=torch.float64))
    rest_joints = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    joints = forward_kinematics(rotations, rest_joints, parents)
    bones = bone_transforms_from_joints(joints, rest_joints)
    assert_close(linear_blend_skinning(rest_joints, torch.eye(5, dtype=torch.float64), bones), joints[:, :3, 3])
    # A bone and its parent's bone meet in the joint between them.
    parent_weights = torch.eye(5, dtype=torch.float64)[[0, *parents[1:]]]
    assert_close(linear_blend_skinning(rest_joints, parent_weights, bones), joints[:, :3, 3])
