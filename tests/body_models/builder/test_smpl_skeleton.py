"""SMPL's joints in MakeHuman's rig."""

import numpy as np
import pytest

from human_avatars.body_models.builder.makehuman_files import Rig
from human_avatars.body_models.builder.smpl_skeleton import JOINTS, PARENTS, joint_of_bones, joint_positions

NAMES = [name for name, _, _ in JOINTS]


def _rig(bones: dict[str, str | None]) -> Rig:
    return Rig(tuple(bones), tuple(bones.values()), tuple(np.array([0]) for _ in bones))


def test_parents_come_before_their_children() -> None:
    assert PARENTS[0] == -1
    assert all(0 <= parent < joint for joint, parent in enumerate(PARENTS) if joint > 0)


@pytest.mark.parametrize("joint", [joint for joint, name in enumerate(NAMES) if name.startswith("left_")])
def test_right_joints_mirror_left_ones(joint: int) -> None:
    mirror = NAMES.index(NAMES[joint].replace("left", "right"))
    assert JOINTS[mirror][2] == tuple(bone.replace(".L", ".R") for bone in JOINTS[joint][2])
    parent, mirrored_parent = NAMES[PARENTS[joint]], NAMES[PARENTS[mirror]]
    assert mirrored_parent == parent.replace("left", "right")


def test_bones_go_to_the_joint_that_they_bend_with() -> None:
    bones = {
        "root": None,
        "pelvis.L": "root",
        "upperleg01.L": "pelvis.L",
        "upperleg02.L": "upperleg01.L",
        "wrist.R": "root",
        "metacarpal1.R": "wrist.R",
        "finger2-1.R": "metacarpal1.R",
        "finger2-2.R": "finger2-1.R",
        "finger1-1.R": "wrist.R",
        "finger1-2.R": "finger1-1.R",
        "neck03": "root",
        "jaw": "neck03",
    }
    joints = [NAMES[joint] for joint in joint_of_bones(_rig(bones))]
    assert joints == [
        *("pelvis", "pelvis", "left_hip", "left_hip", "right_wrist", "right_wrist", "right_hand", "right_hand"),
        *("right_wrist", "right_hand", "head", "head"),
    ]


def test_a_joint_lies_at_the_mean_of_its_bones_heads() -> None:
    heads = {bone: np.array([[joint, 0.0, rank]]) for joint, (_, _, bones) in enumerate(JOINTS) for rank, bone in
             enumerate(bones)}  # fmt: skip
    positions = joint_positions(heads)
    assert positions.shape == (1, len(JOINTS), 3)
    np.testing.assert_allclose(positions[0, :, 0], np.arange(len(JOINTS)))
    np.testing.assert_allclose(positions[0, NAMES.index("left_foot"), 2], 2.0)
    np.testing.assert_allclose(positions[0, NAMES.index("left_hand"), 2], 1.5)
