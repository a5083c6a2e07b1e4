"""Samples along rays and their weights, as NeRF and Neural Body composite them."""

import torch
from jaxtyping import Float
from torch import Tensor

TRANSMITTANCE_EPSILON = 1e-10
"""Added to every factor of the transmittance, so that its gradient stays finite behind an opaque sample."""


def sample_distances(
    nears: Float[Tensor, "rays 1"], fars: Float[Tensor, "rays 1"], num_samples: int, stratified: bool
) -> Float[Tensor, "rays samples"]:
    """Distances from near to far, both included (NeRF, eq. 2).

    nerfstudio's samplers return intervals; the published weights of Neural Body expect a sample on the near and on
    the far side of the box.

    Args:
        nears: Where sampling starts, in metres.
        fars: Where sampling ends, in metres.
        num_samples: Samples on each ray.
        stratified: Whether each sample moves at random within its own cell.

    Returns:
        Increasing distances, in metres.
    """
    steps = torch.linspace(0, 1, num_samples, dtype=nears.dtype, device=nears.device)
    distances = nears + (fars - nears) * steps
    if not stratified:
        return distances
    middles = (distances[:, 1:] + distances[:, :-1]) / 2
    lower = torch.cat([distances[:, :1], middles], dim=-1)
    upper = torch.cat([middles, distances[:, -1:]], dim=-1)
    return lower + (upper - lower) * torch.rand_like(distances)


def compositing_weights(
    densities: Float[Tensor, "rays samples"], distances: Float[Tensor, "rays samples"], last_interval: float
) -> Float[Tensor, "rays samples"]:
    """How much of each sample is seen (NeRF, eq. 3; Neural Body, eq. 5).

    Args:
        densities: Non-negative densities, per metre.
        distances: Increasing distances along the ray, in metres.
        last_interval: Length of the interval behind the last sample, in metres.

    Returns:
        Weights, which sum to at most one on each ray.
    """
    last = torch.full_like(distances[:, :1], last_interval)
    intervals = torch.cat([distances[:, 1:] - distances[:, :-1], last], dim=-1)
    alphas = 1 - torch.exp(-densities * intervals)
    passing = torch.cumprod(1 - alphas + TRANSMITTANCE_EPSILON, dim=-1)
    transmittance = torch.cat([torch.ones_like(passing[:, :1]), passing[:, :-1]], dim=-1)
    return alphas * transmittance


def expected_depth(
    weights: Float[Tensor, "rays samples"], distances: Float[Tensor, "rays samples"]
) -> Float[Tensor, "rays 1"]:
    """Mean distance of what is seen, with the light that passes everything counted as coming from the far end.

    Args:
        weights: Compositing weights.
        distances: Increasing distances along the ray, in metres.

    Returns:
        Depths along the ray, in metres.
    """
    passed = 1 - weights.sum(-1, keepdim=True)
    return (weights * distances).sum(-1, keepdim=True) + passed * distances[:, -1:]
