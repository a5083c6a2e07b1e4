"""Procedural solid textures: colour and body part as functions of the point on the resting body, with no UV map."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from typing_extensions import assert_never

from human_avatars.capture.joints import SmplJoint

OutfitName = Literal["stripes", "checks"]
Colour = tuple[float, float, float]

LEFT_EYE_VERTEX, NOSE_VERTEX, LEFT_EAR_VERTEX = 2800, 332, 583
"""Landmarks of the packaged body, whose vertices are ordered so that SMPL's landmark indices fall on them."""


class Material(IntEnum):
    """What a triangle of the actor is made of; hair is told from skin point by point."""

    SKIN = 0
    SHIRT = 1
    TROUSERS = 2
    SHOES = 3


class PartLabel(IntEnum):
    """Labels of the CIHP human parsing set, which ZJU-MoCap's `mask_cihp` files carry."""

    BACKGROUND = 0
    HAIR = 2
    UPPER_CLOTHES = 5
    SOCKS = 8
    TROUSERS = 9
    NECK = 10
    FACE = 13
    LEFT_ARM = 14
    RIGHT_ARM = 15
    LEFT_SHOE = 18
    RIGHT_SHOE = 19


@dataclass(frozen=True)
class Landmarks:
    """Where on the resting body the patterns are anchored, in metres."""

    joints: Float[np.ndarray, "joints 3"]
    left_eye: Float[np.ndarray, "3"]
    nose: Float[np.ndarray, "3"]
    left_ear: Float[np.ndarray, "3"]
    sole_height: float
    """Height of the lowest point of the bare feet."""


@dataclass(frozen=True)
class Outfit:
    """Patterns and colours of a person; colours are linear reflectances."""

    name: OutfitName
    landmarks: Landmarks
    skin: Colour
    hair: Colour
    trousers: Colour
    shoes: Colour


def make_outfit(name: OutfitName, landmarks: Landmarks) -> Outfit:
    """The colours that belong to a named outfit.

    Args:
        name: Which outfit.
        landmarks: Where its patterns are anchored.

    Returns:
        The outfit.
    """
    if name == "stripes":
        return Outfit(
            name, landmarks, (0.60, 0.37, 0.26), (0.07, 0.042, 0.025), (0.085, 0.13, 0.26), (0.06, 0.06, 0.07)
        )
    elif name == "checks":
        return Outfit(name, landmarks, (0.42, 0.23, 0.14), (0.025, 0.02, 0.018), (0.36, 0.27, 0.16), (0.30, 0.08, 0.06))
    else:
        assert_never(name)


def paint(
    outfit: Outfit,
    points: Float[np.ndarray, "points 3"],
    hair: Float[np.ndarray, "points"],
    tone: Float[np.ndarray, "points"],
    materials: UInt8[np.ndarray, "points"],
) -> tuple[Float[np.ndarray, "points 3"], UInt8[np.ndarray, "points"]]:
    """Colour points of the actor.

    Args:
        outfit: Patterns and colours.
        points: Where the points lie on the resting body without clothes, in metres.
        hair: Signed distance inside the hairline, in metres.
        tone: Mottling of the material, a factor round one.
        materials: A `Material` for each point.

    Returns:
        Linear reflectances in [0, 1], and the `PartLabel` of each point.
    """
    colours = np.empty((len(points), 3), np.float32)
    labels = np.empty(len(points), np.uint8)
    for material, painter in (
        (Material.SHIRT, _paint_shirt),
        (Material.TROUSERS, _paint_trousers),
        (Material.SHOES, _paint_shoes),
    ):
        chosen = np.flatnonzero(materials == material)
        colours[chosen], labels[chosen] = painter(outfit, points[chosen])
    chosen = np.flatnonzero(materials == Material.SKIN)
    colours[chosen], labels[chosen] = _paint_skin(outfit, points[chosen], hair[chosen])
    colours *= tone[:, None]
    return colours, labels


def _layers(base: Colour, count: int, *layers: tuple[np.ndarray, Colour]) -> np.ndarray:
    """A base colour with masked colours laid over it, the last one on top."""
    colours = np.empty((count, 3), np.float32)
    colours[:] = base
    for mask, colour in layers:
        colours[mask] = colour
    return colours


def _paint_shirt(outfit: Outfit, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = np.full(len(points), PartLabel.UPPER_CLOTHES, np.uint8)
    if outfit.name == "stripes":
        return _striped(outfit, points), labels
    elif outfit.name == "checks":
        return _checked(points), labels
    else:
        assert_never(outfit.name)


def _striped(outfit: Outfit, points: np.ndarray) -> np.ndarray:
    """Red and cream stripes, a round badge on the chest and a number on the back."""
    x, y, z = points.T
    chest = y - np.float32(outfit.landmarks.joints[SmplJoint.SPINE3, 1])
    radius = np.hypot(x, chest)
    front, back = z > 0.02, z < -0.02
    panel = back & (np.abs(x) < 0.1) & (np.abs(chest) < 0.1)
    # A seven: its head, and a leg that leans (the back is seen with +x on the left).
    head = (np.abs(chest - 0.055) < 0.016) & (np.abs(x) < 0.055)
    leg = (np.abs(x + 0.014 + 0.4 * chest) < 0.019) & (chest < 0.055) & (chest > -0.075)
    # Stripes run round the trunk, and round the sleeves beyond the shoulder seam.
    seam = np.abs(outfit.landmarks.joints[SmplJoint.LEFT_SHOULDER, 0]) + 0.03
    along = np.where(np.abs(x) > seam, np.abs(x) + 0.01, y)
    return _layers(
        (0.80, 0.76, 0.68),
        len(points),
        (np.floor(along / 0.045) % 2 > 0, (0.62, 0.07, 0.07)),
        (front & (radius < 0.075), (0.85, 0.85, 0.85)),
        (front & (radius < 0.055), (0.05, 0.12, 0.35)),
        (front & (np.abs(x) + np.abs(chest) < 0.045), (0.85, 0.65, 0.08)),
        (panel, (0.08, 0.08, 0.10)),
        (panel & (head | leg), (0.9, 0.9, 0.85)),
    )


def _checked(points: np.ndarray) -> np.ndarray:
    """A green and cream gingham with a dark button band."""
    x, y, z = points.T
    crossing = np.floor((x + 0.2 * z) / 0.05) % 2 + np.floor(y / 0.05) % 2
    band = (np.abs(x) < 0.014) & (z > 0)
    buttons = band & (np.hypot(x, (y + 0.03) % 0.08 - 0.04) < 0.007)
    return _layers(
        (0.75, 0.78, 0.55),
        len(points),
        (crossing == 1, (0.15, 0.45, 0.25)),
        (crossing == 0, (0.08, 0.28, 0.16)),
        (band, (0.06, 0.20, 0.12)),
        (buttons, (0.85, 0.82, 0.72)),
    )


def _paint_trousers(outfit: Outfit, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Seams down the outside, a belt, and on the jeans a red knee patch and a yellow one below it."""
    x, y, z = points.T
    joints = outfit.landmarks.joints.astype(np.float32)
    knee, waist = joints[SmplJoint.LEFT_KNEE], joints[SmplJoint.PELVIS, 1]
    side = np.interp(y, joints[[SmplJoint.LEFT_ANKLE, SmplJoint.LEFT_KNEE, SmplJoint.PELVIS], 1], (-0.02, 0.015, 0.02))
    seam = (np.abs(z - side) < 0.003) & (np.abs(x) > knee[0]) & (y < waist - 0.1)
    pocket = (np.abs(y - waist + 0.02 + 0.6 * (np.abs(x) - 0.1)) < 0.004) & (np.abs(x) > 0.06) & (z > 0.04)
    layers = [(seam | pocket, (0.45, 0.30, 0.10) if outfit.name == "stripes" else (0.20, 0.14, 0.08))]
    if outfit.name == "stripes":
        patch = (np.hypot(x - knee[0], y - knee[1]) < 0.045) & (z > 0.02)
        shin = (np.hypot((z - side) / 0.03, (y - knee[1] + 0.16) / 0.06) < 1) & (x > knee[0])
        layers += [(patch, (0.35, 0.07, 0.07)), (shin, (0.55, 0.36, 0.06))]
    labels = np.full(len(points), PartLabel.TROUSERS, np.uint8)
    return _layers(outfit.trousers, len(points), *layers), labels


def _paint_shoes(outfit: Outfit, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trainers: a pale sole, a pale toe cap, laces over the instep."""
    x, y, z = points.T
    joints = outfit.landmarks.joints.astype(np.float32)
    height = y - np.float32(outfit.landmarks.sole_height)
    toes, ankle = joints[SmplJoint.LEFT_FOOT], joints[SmplJoint.LEFT_ANKLE]
    instep = (z > ankle[2] + 0.05) & (z < toes[2] - 0.005)
    laces = instep & (np.abs(np.abs(x) - toes[0] + 0.005) < 0.022) & (np.floor(z / 0.012) % 2 > 0) & (height > 0.04)
    colours = _layers(
        outfit.shoes,
        len(points),
        (laces, (0.85, 0.85, 0.85)),
        ((z > toes[2] + 0.03) & (height < 0.035), (0.70, 0.70, 0.66)),
        (height < 0.016, (0.78, 0.78, 0.74)),
    )
    return colours, np.where(x > 0, PartLabel.LEFT_SHOE, PartLabel.RIGHT_SHOE).astype(np.uint8)


def _paint_skin(outfit: Outfit, points: np.ndarray, hair: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y, z = points.T
    landmarks = outfit.landmarks
    is_head = y > landmarks.joints[SmplJoint.HEAD, 1] - 0.04
    is_hair = np.zeros(len(points), bool)
    head = np.flatnonzero(is_head)
    # The hairline wavers by a few millimetres, and strands run from the crown down and outward.
    ragged = np.sin(900 * x[head] + 260 * z[head]) + np.sin(530 * z[head] - 310 * x[head])
    is_hair[head] = hair[head] + 0.0015 * ragged > 0
    is_sock = y < landmarks.joints[SmplJoint.LEFT_ANKLE, 1] + 0.12
    colours = _layers(outfit.skin, len(points), (is_sock, (0.55, 0.55, 0.53)))
    face = np.flatnonzero(is_head & ~is_hair & (z > landmarks.joints[SmplJoint.HEAD, 2]))
    _paint_face(outfit, points[face], face, colours)
    strands = np.flatnonzero(is_hair)
    colours[strands] = _strands(outfit, points[strands])
    arm = np.where(x > 0, PartLabel.LEFT_ARM, PartLabel.RIGHT_ARM)
    is_arm = np.abs(x) > np.abs(landmarks.joints[SmplJoint.LEFT_SHOULDER, 0])
    labels = np.select(
        [is_hair, is_head, is_arm, is_sock], [PartLabel.HAIR, PartLabel.FACE, arm, PartLabel.SOCKS], PartLabel.NECK
    )
    return colours, labels.astype(np.uint8)


def _strands(outfit: Outfit, points: np.ndarray) -> np.ndarray:
    x, y, z = points.T
    angle = np.arctan2(x, z - np.float32(outfit.landmarks.left_ear[2]))
    sheen = 1 + 0.35 * np.sin(38 * angle + 40 * y) * np.sin(17 * angle - 90 * y) + 0.25 * np.sin(420 * x + 200 * z)
    return np.array(outfit.hair, np.float32) * sheen[:, None]


def _paint_face(outfit: Outfit, points: np.ndarray, rows: np.ndarray, colours: np.ndarray) -> None:
    """Eyes, brows and lips, placed by the landmarks, and a little blood in the cheeks."""
    x, y, _ = points.T
    eye, nose = outfit.landmarks.left_eye.astype(np.float32), outfit.landmarks.nose.astype(np.float32)
    across, up = np.abs(x) - eye[0], y - eye[1]
    skin = np.array(outfit.skin, np.float32)
    cheek = np.exp(-((across - 0.012) ** 2 + (up + 0.042) ** 2) / 0.018**2)[:, None]
    face = skin * (1 + cheek * np.array([0.02, -0.12, -0.12], np.float32))
    lips = (x / 0.024) ** 2 + ((y - nose[1] + 0.037) / 0.0085) ** 2 < 1
    brow = (np.abs(across) < 0.019) & (np.abs(up - 0.021 + 0.3 * np.abs(across)) < 0.0035)
    eyeball = (across / 0.0135) ** 2 + (up / 0.0052) ** 2 < 1
    for mask, colour in (
        (lips, skin * (0.85, 0.55, 0.6)),
        (brow, np.array(outfit.hair)),
        (eyeball, (0.74, 0.74, 0.72)),
        (eyeball & (np.hypot(across, up) < 0.0058), (0.08, 0.05, 0.03)),
    ):
        face[mask] = colour
    colours[rows] = face
