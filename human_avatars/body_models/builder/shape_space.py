"""What a family of registered bodies has in common: principal shapes, skinning weights and a joint regressor."""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.optimize import nnls

NUM_BETAS = 10
MAX_INFLUENCES = 6
LEAST_WEIGHT = 1e-3
"""Skinning weights below this are dropped."""

REGRESSOR_MIN_WEIGHT = 0.05
REGRESSOR_REACH = 1200
REGRESSOR_CANDIDATES = 220
"""A joint is regressed from this many vertices, evenly spread by rank over the nearest `REGRESSOR_REACH` of those that
follow it or its parent by more than `REGRESSOR_MIN_WEIGHT`."""

SUM_TO_ONE_WEIGHT = 100.0
"""Weight of the equation that asks a joint's coefficients to sum to one, against one equation per body and axis."""


def principal_shapes(bodies: Float[ndarray, "bodies vertices 3"]) -> Float[ndarray, "vertices 3 betas"]:
    """The directions in which bodies differ most, each as long as one standard deviation, in the bodies' unit.

    The sign of each is such that a positive coefficient makes the body taller.
    """
    mean = bodies.mean(axis=0)
    offsets = (bodies - mean).reshape(len(bodies), -1)
    _, deviations, directions = np.linalg.svd(offsets, full_matrices=False)
    directions = directions[:NUM_BETAS] * (deviations[:NUM_BETAS] / np.sqrt(len(bodies)))[:, None]
    directions = directions.reshape(NUM_BETAS, -1, 3)
    top, bottom = mean[:, 1].argmax(), mean[:, 1].argmin()
    taller = directions[:, top, 1] >= directions[:, bottom, 1]
    return np.ascontiguousarray(np.moveaxis(directions * np.where(taller, 1, -1)[:, None, None], 0, -1))


def limit_influences(weights: Float[ndarray, "vertices joints"]) -> Float[ndarray, "vertices joints"]:
    """Keep the `MAX_INFLUENCES` largest weights of each vertex and let them sum to one."""
    weights = np.where(weights < LEAST_WEIGHT, 0, weights)
    smallest_kept = np.sort(weights, axis=1)[:, [-MAX_INFLUENCES]]
    weights = np.where(weights < smallest_kept, 0, weights)
    return weights / weights.sum(axis=1, keepdims=True)


def fit_joint_regressor(
    bodies: Float[ndarray, "bodies vertices 3"],
    joints: Float[ndarray, "bodies joints 3"],
    weights: Float[ndarray, "vertices joints"],
    parents: tuple[int, ...],
) -> Float[ndarray, "joints vertices"]:
    """Express each joint as a mean of vertices around it, with weights >= 0 that sum to one, by least squares.

    Args:
        bodies: Registered bodies, in metres.
        joints: Where their joints lie.
        weights: Skinning weights of the vertices.
        parents: Parent of each joint, -1 for the root.
    """
    template, mean_joints = bodies.mean(axis=0), joints.mean(axis=0)
    regressor = np.zeros((joints.shape[1], bodies.shape[1]))
    for joint, parent in enumerate(parents):
        follows = weights[:, joint] > REGRESSOR_MIN_WEIGHT
        if parent >= 0:
            follows |= weights[:, parent] > REGRESSOR_MIN_WEIGHT
        candidates = _spread(np.linalg.norm(template - mean_joints[joint], axis=1), np.flatnonzero(follows))
        equations = bodies[:, candidates].transpose(0, 2, 1).reshape(-1, len(candidates))
        equations = np.concatenate([equations, np.full((1, len(candidates)), SUM_TO_ONE_WEIGHT)])
        solution, _ = nnls(equations, np.append(joints[:, joint].ravel(), SUM_TO_ONE_WEIGHT), maxiter=5000)
        regressor[joint, candidates] = solution / solution.sum()
    return regressor


def _spread(distances: Float[ndarray, "vertices"], vertices: Int[ndarray, "_"]) -> Int[ndarray, "_"]:
    # Rounded to 0.1 micrometre: mirrored vertices tie, and the machine's rounding errors should not rank them.
    nearest = vertices[np.argsort(np.round(distances[vertices], 7), kind="stable")][:REGRESSOR_REACH]
    ranks = np.linspace(0, len(nearest) - 1, min(len(nearest), REGRESSOR_CANDIDATES)).astype(int)
    return nearest[ranks]
