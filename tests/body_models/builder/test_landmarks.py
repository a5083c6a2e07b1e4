"""The landmarks' vertex numbers, and the renumbering that brings them there."""

import numpy as np
import pytest

from human_avatars.body_models.builder.landmarks import LANDMARK_VERTICES, find_landmarks, renumbering
from human_avatars.body_models.builder.smpl_skeleton import JOINTS


def test_renumbering_is_a_permutation_that_places_the_landmarks() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        chosen = random.choice(6890, size=len(LANDMARK_VERTICES), replace=False)
        landmarks = {name: int(vertex) for name, vertex in zip(LANDMARK_VERTICES, chosen, strict=True)}
        order = renumbering(landmarks, 6890)
        np.testing.assert_array_equal(np.sort(order), np.arange(6890))
        assert {name: int(order[new]) for name, new in LANDMARK_VERTICES.items()} == landmarks


def test_landmarks_that_stand_in_each_others_places_swap() -> None:
    swapped = dict(LANDMARK_VERTICES) | {"nose": LANDMARK_VERTICES["leye"], "leye": LANDMARK_VERTICES["nose"]}
    order = renumbering(swapped, 6890)
    moved = np.flatnonzero(order != np.arange(6890))
    assert set(moved.tolist()) == {LANDMARK_VERTICES["nose"], LANDMARK_VERTICES["leye"]}


def test_two_landmarks_on_one_vertex_are_refused() -> None:
    with pytest.raises(ValueError, match="one vertex"):
        renumbering(dict(LANDMARK_VERTICES) | {"nose": LANDMARK_VERTICES["leye"]}, 6890)


def test_the_numbers_are_those_that_smplx_hard_codes() -> None:
    table = pytest.importorskip("smplx.vertex_ids").vertex_ids
    assert table["smplh"] == LANDMARK_VERTICES


def test_landmarks_are_the_outermost_vertices_of_their_parts() -> None:
    random = np.random.default_rng(1)
    vertices = random.uniform(-1, 1, size=(400, 3))
    joint_weights = np.zeros((400, len(JOINTS)))
    joint_weights[:100, [name for name, _, _ in JOINTS].index("head")] = 1
    vertices[0, 0] = 0.001
    bones = [f"finger{finger}-3.{side}" for side in "LR" for finger in range(1, 6)]
    bones += [f"{bone}.{side}" for side in "LR" for bone in ("toe1-2", "toe5-3", "foot")]
    parts = np.split(np.arange(100, 100 + 18 * len(bones)), len(bones))
    bone_weights = {bone: np.isin(np.arange(400), part).astype(float) for bone, part in zip(bones, parts, strict=True)}
    found = find_landmarks(vertices, joint_weights, bone_weights, vertices[7])
    assert set(found) == set(LANDMARK_VERTICES)
    assert found["leye"] == 7
    assert found["lear"] == vertices[:100, 0].argmax()
    assert found["rear"] == vertices[:100, 0].argmin()
    left_index = parts[bones.index("finger2-3.L")]
    assert found["lindex"] == left_index[vertices[left_index, 0].argmax()]
    right_index = parts[bones.index("finger2-3.R")]
    assert found["rindex"] == right_index[vertices[right_index, 0].argmin()]
    toe = parts[bones.index("toe1-2.L")]
    assert found["LBigToe"] == toe[vertices[toe, 2].argmax()]
