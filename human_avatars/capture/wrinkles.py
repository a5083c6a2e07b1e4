"""Folds of cloth that come and go with the pose of the joints near them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from human_avatars.capture.joints import SmplJoint

FOLD_GAIN = 1.6
"""Depth of the first fold family, in units of the site's depth, when a joint is bent by half a turn."""
SIGNED_GAIN = 2.0
"""Steepness with which the second fold family follows the direction of bending, per radian."""
SECOND_WAVELENGTH = 1.3
"""Second fold family's spatial frequency, relative to the first's."""
WANDER = 0.9
"""How far folds stray from straight lines, in radians of phase."""


@dataclass(frozen=True)
class FoldSite:
    """A place where cloth bunches up when one joint moves. Lengths are in metres; x points away from the midline."""

    joint: SmplJoint
    mirror: SmplJoint | None
    """The right-hand joint that does the same on the other side."""
    garment: str
    """`shirt` or `trousers`."""
    offset: tuple[float, float, float]
    """Centre of the folds, relative to the joint at rest."""
    across: tuple[float, float, float]
    """Direction from one fold to the next."""
    wavelength: float
    extent: float
    """Distance from the centre over which the folds die out."""
    depth: float


FOLD_SITES = (
    FoldSite(SmplJoint.LEFT_SHOULDER, SmplJoint.RIGHT_SHOULDER, "shirt", (-0.03, -0.07, 0.06), (1, 0.9, 0), 0.05, 0.1, 0.007),
    FoldSite(SmplJoint.LEFT_SHOULDER, SmplJoint.RIGHT_SHOULDER, "shirt", (-0.03, -0.08, -0.08), (1, 0.7, 0), 0.055, 0.1, 0.007),
    FoldSite(SmplJoint.SPINE1, None, "shirt", (0, -0.02, 0.04), (0.15, 1, 0.25), 0.055, 0.15, 0.008),
    FoldSite(SmplJoint.SPINE2, None, "shirt", (0, 0.02, 0.04), (-0.5, 1, 0.2), 0.06, 0.15, 0.007),
    FoldSite(SmplJoint.LEFT_HIP, SmplJoint.RIGHT_HIP, "trousers", (0, -0.05, 0.04), (0.5, 1, 0), 0.055, 0.13, 0.007),
    FoldSite(SmplJoint.LEFT_KNEE, SmplJoint.RIGHT_KNEE, "trousers", (0, -0.02, -0.02), (0.15, 1, 0.2), 0.05, 0.12, 0.008),
    FoldSite(SmplJoint.LEFT_ANKLE, SmplJoint.RIGHT_ANKLE, "trousers", (0, 0.09, 0), (0.2, 1, -0.3), 0.045, 0.08, 0.006),
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
        return bending @ self.bending_folds + signed @ self.signed_folds


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
        for joint, side in ((site.joint, 1.0), (site.mirror, -1.0)):
            if joint is None:
                continue
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
