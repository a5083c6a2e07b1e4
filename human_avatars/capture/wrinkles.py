"""Folds of cloth that come and go with the pose of the joints near them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from human_avatars.capture.joints import SmplJoint

FOLD_GAIN = 1.6
"""Depth of the first fold family, in units of the site's depth, when a joint is bent by half a turn."""
SIGNED_GAIN = 2.0
"""Steepness with which the second fold family follows the direction of bending, per radian."""
SECOND_WAVELENGTH = 1.3
"""Second fold family's spatial frequency, relative to the first's."""
DEEPEST_VALLEY = 0.006
"""Folds cannot sink below this under the smooth cloth, or skin would show through it, in metres."""
WANDER = 0.9
"""How far folds stray from straight lines, in radians of phase."""


SHOULDERS = (SmplJoint.LEFT_SHOULDER, SmplJoint.RIGHT_SHOULDER)
HIPS = (SmplJoint.LEFT_HIP, SmplJoint.RIGHT_HIP)
KNEES = (SmplJoint.LEFT_KNEE, SmplJoint.RIGHT_KNEE)
ANKLES = (SmplJoint.LEFT_ANKLE, SmplJoint.RIGHT_ANKLE)


@dataclass(frozen=True)
class FoldSite:
    """A place where cloth bunches up when a joint moves, the same on both sides. Lengths are in metres."""

    joints: tuple[SmplJoint, ...]
    """The left joint and then its right counterpart, or one joint on the midline."""
    garment: Literal["shirt", "trousers"]
    offset: tuple[float, float, float]
    """Centre of the folds, relative to the left joint at rest."""
    across: tuple[float, float, float]
    """Direction from one fold to the next."""
    wavelength: float
    """Distance from one fold to the next."""
    extent: float
    """Distance from the centre over which the folds die out."""
    depth: float
    """Height of the ridges per unit of bending."""


FOLD_SITES = (
    FoldSite(SHOULDERS, "shirt", (-0.03, -0.07, 0.06), (1.0, 0.9, 0.0), wavelength=0.05, extent=0.09, depth=0.005),
    FoldSite(SHOULDERS, "shirt", (-0.03, -0.08, -0.08), (1.0, 0.7, 0.0), wavelength=0.055, extent=0.09, depth=0.005),
    FoldSite(
        (SmplJoint.SPINE1,), "shirt", (0.0, -0.02, 0.04), (0.15, 1.0, 0.25), wavelength=0.055, extent=0.15, depth=0.006
    ),
    FoldSite(
        (SmplJoint.SPINE2,), "shirt", (0.0, 0.02, 0.04), (-0.5, 1.0, 0.2), wavelength=0.06, extent=0.15, depth=0.006
    ),
    FoldSite(HIPS, "trousers", (0.0, -0.05, 0.04), (0.5, 1.0, 0.0), wavelength=0.055, extent=0.13, depth=0.006),
    FoldSite(KNEES, "trousers", (0.0, -0.02, -0.02), (0.15, 1.0, 0.2), wavelength=0.05, extent=0.12, depth=0.006),
    FoldSite(ANKLES, "trousers", (0.0, 0.09, 0.0), (0.2, 1.0, -0.3), wavelength=0.045, extent=0.08, depth=0.005),
)


@dataclass(frozen=True)
class Wrinkles:
    """Depth profiles of every fold family over the visible mesh."""

    joints: Int[np.ndarray, "sites"]
    """Which joint drives each site."""
    bending_folds: Float[np.ndarray, "sites vertices"]
    """Depth per unit of bending, whatever its direction, in metres."""
    signed_folds: Float[np.ndarray, "sites vertices"]
    """Depth per unit of bending to one side, in metres."""

    def displacement(self, poses: Float[np.ndarray, "joints 3"]) -> Float[np.ndarray, "vertices"]:
        """How far each vertex moves out along its normal.

        Args:
            poses: Axis-angle rotation of each joint, in radians.

        Returns:
            Displacements, in metres.
        """
        rotations = poses[self.joints]
        angles = np.minimum(np.linalg.norm(rotations, axis=1), np.pi)
        bending = FOLD_GAIN * np.sin(angles / 2)
        signed = np.tanh(SIGNED_GAIN * (rotations[:, 1] + rotations[:, 2]))
        depth = bending @ self.bending_folds + signed @ self.signed_folds
        return np.where(depth < 0, DEEPEST_VALLEY * np.tanh(depth / DEEPEST_VALLEY), depth)


def build_wrinkles(
    points: Float[np.ndarray, "vertices 3"],
    rest_joints: Float[np.ndarray, "joints 3"],
    coverage: dict[str, Float[np.ndarray, "vertices"]],
    strength: float,
) -> Wrinkles:
    """Lay the folds out over the rest body.

    Args:
        points: Rest positions of the visible mesh, in metres.
        rest_joints: Rest joint positions, in metres.
        coverage: For each garment, 1 on its vertices and 0 elsewhere, falling to 0 at its hems.
        strength: Factor on the depth of all folds.

    Returns:
        The folds.
    """
    joints, bending_folds, signed_folds = [], [], []
    wander = WANDER * np.sin(9 * points[:, 0] + 7 * points[:, 2] + 11 * points[:, 1])
    for site in FOLD_SITES:
        for joint, side in zip(site.joints, (1.0, -1.0), strict=False):
            mirror = np.array([side, 1.0, 1.0])
            relative = points - rest_joints[joint] - mirror * site.offset
            across = mirror * site.across / np.linalg.norm(site.across)
            phase = 2 * np.pi * (relative @ across) / site.wavelength
            reach = np.exp(-((np.linalg.norm(relative, axis=1) / site.extent) ** 2))
            depth = strength * site.depth * reach * coverage[site.garment]
            joints.append(int(joint))
            # The overtone makes ridges rounder than valleys, as folded cloth has them.
            bending_folds.append(depth * (np.sin(phase + wander) - 0.3 * np.cos(2 * (phase + wander))))
            signed_folds.append(depth * np.cos(SECOND_WAVELENGTH * phase - 2 * wander))
    return Wrinkles(np.array(joints), np.array(bending_folds, np.float32), np.array(signed_folds, np.float32))
