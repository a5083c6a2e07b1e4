"""Colours and part labels belong to the right places of the body."""

from typing import get_args

import numpy as np
import pytest

from human_avatars.capture.footage import Stage
from human_avatars.capture.joints import SmplJoint
from human_avatars.capture.textures import Material, Outfit, OutfitName, PartLabel, make_outfit, paint

NAMES: tuple[OutfitName, ...] = get_args(OutfitName)


def outfit_of(stage: Stage, name: OutfitName) -> Outfit:
    return make_outfit(name, stage.actor.outfit.landmarks)


def paint_points(
    outfit: Outfit, points: np.ndarray, material: Material, hair: float = -1.0
) -> tuple[np.ndarray, np.ndarray]:
    count = len(points)
    ones = np.ones(count, np.float32)
    return paint(outfit, points.astype(np.float32), hair * ones, ones, np.full(count, material, np.uint8))


@pytest.mark.parametrize("name", NAMES)
def test_materials_have_their_labels(tiny_stage: Stage, name: OutfitName) -> None:
    outfit = outfit_of(tiny_stage, name)
    joints = outfit.landmarks.joints
    for material, joint, label in (
        (Material.SHIRT, SmplJoint.SPINE3, PartLabel.UPPER_CLOTHES),
        (Material.TROUSERS, SmplJoint.LEFT_KNEE, PartLabel.TROUSERS),
        (Material.SHOES, SmplJoint.LEFT_FOOT, PartLabel.LEFT_SHOE),
        (Material.SHOES, SmplJoint.RIGHT_FOOT, PartLabel.RIGHT_SHOE),
        (Material.SKIN, SmplJoint.LEFT_WRIST, PartLabel.LEFT_ARM),
        (Material.SKIN, SmplJoint.RIGHT_ELBOW, PartLabel.RIGHT_ARM),
        (Material.SKIN, SmplJoint.HEAD, PartLabel.FACE),
        (Material.SKIN, SmplJoint.LEFT_ANKLE, PartLabel.SOCKS),
    ):
        _, labels = paint_points(outfit, joints[[joint]], material)
        assert labels.tolist() == [label]


def test_hair_grows_above_the_hairline(tiny_stage: Stage) -> None:
    outfit = outfit_of(tiny_stage, "stripes")
    crown = outfit.landmarks.joints[[SmplJoint.HEAD]] + (0, 0.15, 0)
    colours, labels = paint_points(outfit, crown, Material.SKIN, hair=0.05)
    assert labels.tolist() == [PartLabel.HAIR]
    assert colours.max() < 0.2


def test_eyes_are_dark_in_the_middle(tiny_stage: Stage) -> None:
    outfit = outfit_of(tiny_stage, "stripes")
    eye = outfit.landmarks.left_eye
    points = eye * np.array([[1, 1, 1], [-1, 1, 1], [1, 1, 1]]) - np.array([[0, 0, 0], [0, 0, 0], [0, 0.04, 0]])
    colours, _ = paint_points(outfit, points, Material.SKIN)
    assert colours[:2].max() < 0.1
    assert colours[2].max() > 0.4


def test_stripes_run_round_the_trunk(tiny_stage: Stage) -> None:
    outfit = outfit_of(tiny_stage, "stripes")
    heights = np.linspace(-0.2, 0.0, 400)
    colours, _ = paint_points(outfit, np.stack([0 * heights + 0.1, heights, 0 * heights], 1), Material.SHIRT)
    changes = np.flatnonzero(np.abs(np.diff(colours[:, 1])) > 0.1)
    np.testing.assert_allclose(np.diff(heights[changes]), 0.045, atol=0.001)


def test_outfits_differ_and_tone_scales(tiny_stage: Stage) -> None:
    points = tiny_stage.actor.texture_points[::50, :3]
    striped, checked = (paint_points(outfit_of(tiny_stage, name), points, Material.SHIRT)[0] for name in NAMES)
    assert np.abs(striped - checked).mean() > 0.1
    half = np.full(len(points), 0.5, np.float32)
    materials = np.full(len(points), Material.SHIRT, np.uint8)
    dimmed, _ = paint(outfit_of(tiny_stage, "checks"), points, half, half, materials)
    np.testing.assert_allclose(dimmed, checked / 2, rtol=1e-6)
