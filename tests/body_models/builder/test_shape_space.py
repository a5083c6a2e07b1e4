"""Laws of the shape space, the skinning weights and the joint regressor."""

import numpy as np

from human_avatars.body_models.builder.shape_space import (
    MAX_INFLUENCES,
    NUM_BETAS,
    fit_joint_regressor,
    limit_influences,
    principal_shapes,
)


def _family(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bodies of known directions and standard deviations: tall by 0.1 m, stout by 0.02 m."""
    random = np.random.default_rng(seed)
    template = random.uniform([-0.3, 0, -0.1], [0.3, 1.8, 0.1], size=(60, 3))
    tall, stout = template * [0, 0.1, 0], template * [0.2, 0, 0.2]
    amounts = random.normal(size=(40, 2))
    amounts = np.linalg.qr(amounts - amounts.mean(axis=0))[0] * np.sqrt(40)
    return template + np.tensordot(amounts, np.stack([tall, stout]), axes=1), tall, stout


def test_directions_are_found_with_their_standard_deviations() -> None:
    bodies, tall, stout = _family()
    directions = principal_shapes(bodies)
    assert directions.shape == (60, 3, NUM_BETAS)
    np.testing.assert_allclose(directions[..., 0], tall, atol=1e-9)
    np.testing.assert_allclose(np.abs(directions[..., 1]), np.abs(stout), atol=1e-9)
    np.testing.assert_allclose(directions[..., 2:], 0, atol=1e-9)


def test_positive_coefficients_make_a_body_taller() -> None:
    random = np.random.default_rng(1)
    bodies = _family()[0] + 0.01 * random.normal(size=(40, 60, 3))
    directions = principal_shapes(bodies)
    mean = bodies.mean(axis=0)
    top, bottom = mean[:, 1].argmax(), mean[:, 1].argmin()
    assert (directions[top, 1] >= directions[bottom, 1]).all()


def test_few_joints_move_a_vertex_and_their_weights_sum_to_one() -> None:
    random = np.random.default_rng(2)
    weights = random.dirichlet(np.full(24, 0.5), size=100)
    limited = limit_influences(weights)
    np.testing.assert_allclose(limited.sum(axis=1), 1)
    assert (limited > 0).sum(axis=1).max() <= MAX_INFLUENCES
    strongest = np.sort(weights, axis=1)[:, -MAX_INFLUENCES:]
    np.testing.assert_allclose(np.sort(limited, axis=1)[:, -MAX_INFLUENCES:] > 0, strongest >= 1e-3)


def test_a_weight_below_the_least_is_dropped() -> None:
    np.testing.assert_allclose(limit_influences(np.array([[0.9995, 0.0005, 0, 0, 0, 0, 0]])), [[1, 0, 0, 0, 0, 0, 0]])


def test_joints_that_are_means_of_vertices_are_reproduced() -> None:
    bodies, _, _ = _family()
    joints = np.stack([bodies[:, :10].mean(axis=1), bodies[:, 20:24].mean(axis=1)], axis=1)
    weights = np.zeros((60, 2))
    weights[:20, 0], weights[20:, 1] = 1, 1
    regressor = fit_joint_regressor(bodies, joints, weights, parents=(-1, 0))
    np.testing.assert_allclose(regressor.sum(axis=1), 1)
    assert (regressor >= 0).all()
    np.testing.assert_allclose(np.einsum("jv,nvc->njc", regressor, bodies), joints, atol=1e-6)
    # The root is regressed from vertices that follow it, a child from its parent's as well.
    assert (regressor[0, 20:] == 0).all()
