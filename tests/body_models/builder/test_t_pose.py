"""Laws of the straightening, on a skeleton of a few bones."""

import numpy as np
import pytest
from jaxtyping import Float
from numpy import ndarray

from human_avatars.body_models.builder.makehuman_files import Rig
from human_avatars.body_models.builder.t_pose import (
    X_AXIS,
    Y_AXIS,
    arm_rotations,
    rotation_about,
    rotation_between,
    straighten,
)

LIMB = {
    # Bone, parent, and head on the left side of a body in A-pose, in metres.
    "clavicle": ("chest", (0.02, 1.40, 0.05)),
    "upperarm01": ("clavicle", (0.17, 1.42, 0.02)),
    "lowerarm01": ("upperarm01", (0.35, 1.24, 0.00)),
    "lowerarm02": ("lowerarm01", (0.43, 1.15, 0.04)),
    "wrist": ("lowerarm02", (0.51, 1.06, 0.09)),
    "finger2-1": ("wrist", (0.58, 1.00, 0.14)),
    "finger3-1": ("wrist", (0.59, 0.99, 0.12)),
    "finger5-1": ("wrist", (0.57, 0.98, 0.08)),
    "upperleg01": ("hips", (0.10, 0.90, 0.00)),
    "lowerleg01": ("upperleg01", (0.20, 0.50, 0.02)),
    "foot": ("lowerleg01", (0.26, 0.09, -0.03)),
    "toe3-1": ("foot", (0.32, 0.03, 0.10)),
}


def _skeleton() -> tuple[Rig, dict[str, Float[ndarray, "1 3"]]]:
    names: list[str] = ["hips", "chest"]
    parents: list[str | None] = [None, "hips"]
    heads = {"hips": np.array([[0, 0.95, 0]]), "chest": np.array([[0, 1.3, 0]])}
    for side, sign in ((".L", 1), (".R", -1)):
        for name, (parent, head) in LIMB.items():
            names.append(name + side)
            parents.append(parent if parent in heads else parent + side)
            heads[name + side] = np.array([head]) * [sign, 1, 1]
    return Rig(tuple(names), tuple(parents), tuple(np.array([0]) for _ in names)), heads


@pytest.fixture
def straightened() -> dict[str, Float[ndarray, "3"]]:
    rig, heads = _skeleton()
    return {name: head[0] for name, head in straighten(rig, heads).move_bone_heads(rig, heads).items()}


def _direction(heads: dict[str, Float[ndarray, "3"]], start: str, end: str) -> Float[ndarray, "3"]:
    offset = heads[end] - heads[start]
    return offset / np.linalg.norm(offset)


def test_bones_keep_their_lengths(straightened: dict[str, Float[ndarray, "3"]]) -> None:
    rig, heads = _skeleton()
    for name, parent in zip(rig.names, rig.parents, strict=True):
        if parent is not None:
            length = np.linalg.norm(heads[name][0] - heads[parent][0])
            np.testing.assert_allclose(np.linalg.norm(straightened[name] - straightened[parent]), length)


def test_the_trunk_stays(straightened: dict[str, Float[ndarray, "3"]]) -> None:
    _, heads = _skeleton()
    for name in ("hips", "chest", "clavicle.L", "clavicle.R", "upperleg01.L"):
        np.testing.assert_allclose(straightened[name], heads[name][0])


@pytest.mark.parametrize(("side", "sign"), [(".L", 1), (".R", -1)])
def test_limbs_point_where_smpls_template_has_them(
    straightened: dict[str, Float[ndarray, "3"]], side: str, sign: float
) -> None:
    def point(start: str, end: str) -> Float[ndarray, "3"]:
        return _direction(straightened, start + side, end + side)

    np.testing.assert_allclose(point("lowerarm01", "lowerarm02")[0], sign * 1, atol=0.03)
    assert point("upperarm01", "lowerarm01") @ [sign, 0, 0] > 0.999
    assert point("wrist", "finger3-1") @ [sign, 0, 0] > 0.99
    # Palm down: from the little finger's knuckle to the index finger's, ahead.
    assert point("finger5-1", "finger2-1") @ [0, 0, 1] > 0.8
    assert abs(point("finger5-1", "finger2-1")[1]) < 0.1
    np.testing.assert_allclose(point("lowerarm01", "wrist"), [sign, 0, 0], atol=0.05)
    assert point("upperleg01", "lowerleg01") @ [0, -1, 0] > 0.99
    assert point("lowerleg01", "foot") @ [0, -1, 0] > 0.99
    toes = straightened["toe3-1" + side] - straightened["foot" + side]
    np.testing.assert_allclose(np.arctan2(toes[0], toes[2]), sign * np.deg2rad(8))


def test_left_and_right_mirror_each_other(straightened: dict[str, Float[ndarray, "3"]]) -> None:
    for name in LIMB:
        np.testing.assert_allclose(straightened[name + ".R"], straightened[name + ".L"] * [-1, 1, 1], atol=1e-12)


def test_half_of_the_hands_turn_goes_to_the_forearm() -> None:
    _, heads = _skeleton()
    turns = arm_rotations(heads, ".L", 1.0)

    def twist(rotations: Float[ndarray, "1 3 3"], bare: Float[ndarray, "1 3 3"]) -> float:
        extra = (rotations @ np.swapaxes(bare, 1, 2))[0]
        return float(np.arctan2(extra[2, 1], extra[1, 1]))

    hand = rotation_between(
        np.einsum("bij,bj->bi", turns["lowerarm01"], heads["finger3-1.L"] - heads["wrist.L"]),
        np.array([1, -0.06, 0.03]),
    )
    whole = twist(turns["wrist"], hand @ turns["lowerarm01"])
    np.testing.assert_allclose(twist(turns["lowerarm02"], turns["lowerarm01"]), whole / 2)
    assert abs(whole) > 0.1


def test_points_of_one_segment_move_rigidly_and_others_blend() -> None:
    rig, heads = _skeleton()
    straightening = straighten(rig, heads)
    points = np.array([[[0.6, 1.0, 0.1], [0.55, 1.02, 0.12], [0.2, 1.4, 0.0]]])
    weights = np.zeros((3, len(rig.names)))
    weights[:2, rig.names.index("finger3-1.L")] = 1
    weights[2, [rig.names.index("chest"), rig.names.index("upperarm01.L")]] = 0.5
    moved = straightening.move_points(points, weights)[0]
    np.testing.assert_allclose(np.linalg.norm(moved[0] - moved[1]), np.linalg.norm(points[0, 0] - points[0, 1]))
    segment = straightening.segment_of_bones[rig.names.index("upperarm01.L")]
    carried = straightening.rotations[0, segment] @ points[0, 2] + straightening.translations[0, segment]
    np.testing.assert_allclose(moved[2], (carried + points[0, 2]) / 2)


def test_rotation_between_turns_one_direction_into_another_the_short_way() -> None:
    random = np.random.default_rng(0)
    starts, ends = random.normal(size=(2, 50, 3))
    rotations = rotation_between(starts, ends)
    turned = np.einsum("bij,bj->bi", rotations, starts / np.linalg.norm(starts, axis=1, keepdims=True))
    np.testing.assert_allclose(turned, ends / np.linalg.norm(ends, axis=1, keepdims=True), atol=1e-9)
    np.testing.assert_allclose(rotations @ rotations.swapaxes(1, 2), np.tile(np.eye(3), (50, 1, 1)), atol=1e-9)
    axes = np.cross(starts, ends)
    np.testing.assert_allclose(np.einsum("bij,bj->bi", rotations, axes), axes, atol=1e-9)


def test_rotation_about_an_axis_by_hand() -> None:
    quarter = np.array([np.pi / 2])
    np.testing.assert_allclose(rotation_about(X_AXIS, quarter)[0] @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(rotation_about(Y_AXIS, quarter)[0] @ [0, 0, 1], [1, 0, 0], atol=1e-12)
