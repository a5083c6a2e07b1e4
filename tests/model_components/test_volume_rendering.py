"""Volume rendering against values worked by hand and its laws."""

import math

import torch
from torch.testing import assert_close

from human_avatars.model_components.volume_rendering import compositing_weights, expected_depth, sample_distances

ENDLESS = 1e10


def test_a_last_interval_of_its_own_length_lets_light_through() -> None:
    densities = torch.full((1, 2), math.log(2), dtype=torch.float64)
    distances = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    weights = compositing_weights(densities, distances, last_interval=2.0)
    assert_close(weights, torch.tensor([[0.5, 0.375]], dtype=torch.float64), atol=1e-9, rtol=0)


def test_weights_by_hand() -> None:
    # Densities ln 2 and ln 4 over one metre stop a half and three quarters; the last, endless interval stops the rest.
    densities = torch.tensor([[math.log(2), math.log(4), 1.0]], dtype=torch.float64)
    distances = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    weights = compositing_weights(densities, distances, ENDLESS)
    assert_close(weights, torch.tensor([[0.5, 0.375, 0.125]], dtype=torch.float64), atol=1e-9, rtol=0)
    assert_close(expected_depth(weights, distances), torch.tensor([[1.625]], dtype=torch.float64), atol=1e-9, rtol=0)


def test_empty_rays_see_the_far_end() -> None:
    distances = torch.tensor([[1.0, 4.0]])
    weights = compositing_weights(torch.zeros(1, 2), distances, ENDLESS)
    assert_close(weights, torch.zeros(1, 2))
    assert_close(expected_depth(weights, distances), torch.tensor([[4.0]]))


def test_weights_sum_to_one_behind_anything_dense() -> None:
    generator = torch.Generator().manual_seed(0)
    densities = torch.rand(100, 16, generator=generator, dtype=torch.float64) * 50
    distances = torch.rand(100, 16, generator=generator, dtype=torch.float64).cumsum(-1)
    assert_close(compositing_weights(densities, distances, ENDLESS).sum(-1), torch.ones(100, dtype=torch.float64))


def test_gradients_are_finite_behind_an_opaque_sample() -> None:
    densities = torch.tensor([[1e6, 1.0, 1.0]], requires_grad=True)
    compositing_weights(densities, torch.tensor([[1.0, 2.0, 3.0]]), ENDLESS)[0, 2].backward()
    assert densities.grad is not None
    assert torch.isfinite(densities.grad).all()


def test_plain_samples_are_evenly_spread_with_both_ends() -> None:
    distances = sample_distances(torch.tensor([[2.0]]), torch.tensor([[4.0]]), num_samples=5, stratified=False)
    assert_close(distances, torch.tensor([[2.0, 2.5, 3.0, 3.5, 4.0]]))


def test_stratified_samples_stay_in_their_cells_and_average_to_the_middle() -> None:
    torch.manual_seed(0)
    nears, fars = torch.full((4000, 1), 2.0), torch.full((4000, 1), 4.0)
    distances = sample_distances(nears, fars, num_samples=5, stratified=True)
    edges = torch.tensor([2.0, 2.25, 2.75, 3.25, 3.75, 4.0])
    assert (distances >= edges[:-1]).all()
    assert (distances <= edges[1:]).all()
    assert_close(distances.mean(0), (edges[1:] + edges[:-1]) / 2, atol=0.02, rtol=0)
    assert distances.std(0).min() > 0.05
