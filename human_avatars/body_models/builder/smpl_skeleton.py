"""SMPL's 24 joints in MakeHuman's rig: which bones make up each, and where each lies."""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from human_avatars.body_models.builder.makehuman_files import Rig

JOINTS: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("pelvis", -1, ("spine05",)),
    ("left_hip", 0, ("upperleg01.L",)),
    ("right_hip", 0, ("upperleg01.R",)),
    ("spine1", 0, ("spine04",)),
    ("left_knee", 1, ("lowerleg01.L",)),
    ("right_knee", 2, ("lowerleg01.R",)),
    ("spine2", 3, ("spine02",)),
    ("left_ankle", 4, ("foot.L",)),
    ("right_ankle", 5, ("foot.R",)),
    ("spine3", 6, ("spine01",)),
    ("left_foot", 7, tuple(f"toe{toe}-1.L" for toe in range(1, 6))),
    ("right_foot", 8, tuple(f"toe{toe}-1.R" for toe in range(1, 6))),
    ("neck", 9, ("neck01",)),
    ("left_collar", 9, ("clavicle.L",)),
    ("right_collar", 9, ("clavicle.R",)),
    ("head", 12, ("neck03",)),
    ("left_shoulder", 13, ("upperarm01.L",)),
    ("right_shoulder", 14, ("upperarm01.R",)),
    ("left_elbow", 16, ("lowerarm01.L",)),
    ("right_elbow", 17, ("lowerarm01.R",)),
    ("left_wrist", 18, ("wrist.L",)),
    ("right_wrist", 19, ("wrist.R",)),
    ("left_hand", 20, tuple(f"finger{finger}-1.L" for finger in range(2, 6))),
    ("right_hand", 21, tuple(f"finger{finger}-1.R" for finger in range(2, 6))),
)
"""Name, parent and first bones of each joint, in SMPL's order. A joint lies at the mean head of its first bones."""

PARENTS = tuple(parent for _, parent, _ in JOINTS)

# The pelvis begins at the rig's root, although the root bone's own head lies higher than the hips. The thumb's outer
# bones bend with the fingers, its root with the palm.
_FURTHER_FIRST_BONES = {"root": 0, "finger1-2.L": 22, "finger1-2.R": 23}


def joint_of_bones(rig: Rig) -> Int[ndarray, "bones"]:
    """The SMPL joint that each bone of the rig belongs to."""
    first_bones = {bone: joint for joint, (_, _, bones) in enumerate(JOINTS) for bone in bones}
    return rig.owners(first_bones | _FURTHER_FIRST_BONES)


def joint_positions(bone_heads: dict[str, Float[ndarray, "bodies 3"]]) -> Float[ndarray, "bodies joints 3"]:
    """Place the joints by the heads of their first bones, in the heads' unit."""
    return np.stack([np.mean([bone_heads[bone] for bone in bones], axis=0) for _, _, bones in JOINTS], axis=1)
