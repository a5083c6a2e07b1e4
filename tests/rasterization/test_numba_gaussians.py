"""The compiled rasteriser agrees with the reference, is deterministic, and survives bad input and many callers."""

import math
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from human_avatars.rasterization.gaussians import Gaussians, PinholeCamera, Rendering, isotropic_covariances, rasterize
from human_avatars.rasterization.torch_gaussians import rasterize_reference

MakeGaussians = Callable[..., Gaussians]
Leaves = list[Tensor]
"""Means, covariances, opacities, colours, background."""


def leaves_of(gaussians: Gaussians, dtype: torch.dtype = torch.float32) -> Leaves:
    """Copies that receive gradients, and a random background."""
    tensors = [gaussians.means, gaussians.covariances, gaussians.opacities, gaussians.colors]
    background = torch.rand(gaussians.colors.shape[1], generator=torch.Generator().manual_seed(1))
    return [tensor.detach().to(dtype).clone().requires_grad_() for tensor in (*tensors, background)]


def draw(leaves: Leaves, camera: PinholeCamera) -> Rendering:
    """The picture by the compiled kernels or, in double precision, by the reference."""
    rasterizer = rasterize if leaves[0].dtype == torch.float32 else rasterize_reference
    return rasterizer(Gaussians(*leaves[:4]), camera, leaves[4])


def outputs_of(rendering: Rendering) -> list[Tensor]:
    return [rendering.colors, rendering.alpha, rendering.depth]


def gradients_of(rendering: Rendering, leaves: Leaves, with_depth: bool = True) -> list[Tensor]:
    """Gradients of a random weighting of the picture."""
    generator = torch.Generator().manual_seed(2)
    weights = [torch.randn(output.shape, generator=generator).to(output) for output in outputs_of(rendering)]
    count = 3 if with_depth else 2
    return list(torch.autograd.grad(outputs_of(rendering)[:count], leaves, weights[:count]))


@pytest.mark.parametrize("shape", ["balls", "ellipsoids", "needles", "matrices"])
@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_agreement_with_the_reference(
    camera: PinholeCamera, make_gaussians: MakeGaussians, shape: str, channels: int
) -> None:
    gaussians = make_gaussians(shape, channels=channels)
    leaves, exact_leaves = leaves_of(gaussians), leaves_of(gaussians, torch.float64)
    rendering, exact = draw(leaves, camera), draw(exact_leaves, camera)
    assert 0.2 < exact.alpha.mean() < 0.9
    for output, expected in zip(outputs_of(rendering)[:2], outputs_of(exact)[:2], strict=True):
        # An alpha of just about 1/255 may fall on either side.
        error = (output - expected).abs()
        assert error.max() < 4e-3
        assert error.quantile(0.999) < 2e-5
    assert (rendering.depth - exact.depth).abs().quantile(0.999) < 1e-4
    gradients = gradients_of(rendering, leaves), gradients_of(exact, exact_leaves)
    for gradient, expected in zip(*gradients, strict=True):
        assert (gradient - expected).norm() < 5e-4 * expected.norm()


def test_gradients_without_a_depth_loss(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    gaussians = make_gaussians()
    leaves, exact_leaves = leaves_of(gaussians), leaves_of(gaussians, torch.float64)
    gradients = gradients_of(draw(leaves, camera), leaves, with_depth=False)
    expected = gradients_of(draw(exact_leaves, camera), exact_leaves, with_depth=False)
    for gradient, exact in zip(gradients, expected, strict=True):
        assert (gradient - exact).norm() < 5e-4 * exact.norm()


def test_one_output_alone_can_be_differentiated(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    leaves, exact_leaves = leaves_of(make_gaussians()), leaves_of(make_gaussians(), torch.float64)
    for output, exact in zip(outputs_of(draw(leaves, camera)), outputs_of(draw(exact_leaves, camera)), strict=True):
        gradient, expected = (
            torch.autograd.grad(picture.sum(), variables[0], retain_graph=True)[0]
            for picture, variables in ((output, leaves), (exact, exact_leaves))
        )
        assert (gradient - expected).norm() < 5e-4 * expected.norm()


def test_the_covariances_gradient_is_symmetric_and_counts_their_symmetric_part(
    camera: PinholeCamera, make_gaussians: MakeGaussians
) -> None:
    gaussians = make_gaussians("matrices")
    skew = 1e-3 * torch.randn(len(gaussians.means), 3, 3)
    leaves = leaves_of(replace(gaussians, covariances=gaussians.covariances + skew - skew.mT))
    rendering = draw(leaves, camera)
    assert_close(rendering.colors, draw(leaves_of(gaussians), camera).colors, atol=1e-5, rtol=0)
    gradient = gradients_of(rendering, leaves)[1]
    assert gradient.any()
    assert torch.equal(gradient, gradient.mT)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_pictures_and_gradients_do_not_depend_on_the_threads(
    camera: PinholeCamera, make_gaussians: MakeGaussians, threads: int
) -> None:
    def everything() -> list[Tensor]:
        leaves = leaves_of(make_gaussians())
        rendering = draw(leaves, camera)
        return outputs_of(rendering) + gradients_of(rendering, leaves)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = everything()
        torch.set_num_threads(threads)
        for _ in range(2):
            assert all(torch.equal(a, b) for a, b in zip(everything(), expected, strict=True))
    finally:
        torch.set_num_threads(before)


def test_threads_may_train_and_render_at_once(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    def train(seed: int) -> list[Tensor]:
        leaves = leaves_of(make_gaussians(seed=seed))
        optimizer = torch.optim.SGD(leaves[2:], lr=1e-4)
        for _ in range(20):
            optimizer.zero_grad()
            draw(leaves, camera).colors.square().sum().backward()
            optimizer.step()
        return [leaf.detach() for leaf in leaves]

    def render(seed: int) -> list[Tensor]:
        pictures = [draw(leaves_of(make_gaussians(seed=seed)), camera).colors for _ in range(20)]
        return [picture.detach() for picture in pictures]

    jobs = [(train, 5), (render, 6), (train, 7), (render, 8)]
    serial = [job(seed) for job, seed in jobs]
    concurrent: dict[int, list[Tensor]] = {}
    threads = [
        threading.Thread(target=lambda job=job, seed=seed, i=i: concurrent.update({i: job(seed)}))
        for i, (job, seed) in enumerate(jobs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for i, expected in enumerate(serial):
        assert all(torch.equal(a, b) for a, b in zip(concurrent[i], expected, strict=True))


def test_nothing_in_sight_is_the_background(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    gaussians = make_gaussians()
    away = [
        replace(gaussians, means=gaussians.means + torch.tensor([0.0, 0.0, -100.0])),
        replace(gaussians, means=gaussians.means + torch.tensor([1000.0, 0.0, 0.0])),
        replace(gaussians, opacities=torch.zeros_like(gaussians.opacities)),
        replace(gaussians, covariances=-gaussians.covariances - torch.eye(3)),
        make_gaussians(count=0),
    ]
    for invisible in away:
        leaves = leaves_of(invisible)
        rendering = draw(leaves, camera)
        assert torch.equal(rendering.colors, leaves[4].expand_as(rendering.colors))
        assert not rendering.alpha.any()
        assert not rendering.depth.any()
        assert not any(gradient.any() for gradient in gradients_of(rendering, leaves)[:4])


def test_a_picture_without_channels_has_alpha_and_depth(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    rendering, with_colors = rasterize(make_gaussians(channels=0), camera), rasterize(make_gaussians(), camera)
    assert rendering.colors.shape == (camera.height, camera.width, 0)
    assert_close(rendering.depth.mean(), with_colors.depth.mean(), atol=0.5, rtol=0)


@pytest.mark.parametrize(
    ("leaf", "fault"), [(0, math.nan), (1, math.nan), (2, math.nan), (3, math.nan), (1, math.inf), (2, math.inf)]
)
def test_a_fault_in_one_gaussian_shows_in_the_picture(
    camera: PinholeCamera, make_gaussians: MakeGaussians, leaf: int, fault: float
) -> None:
    leaves = leaves_of(make_gaussians())
    with torch.no_grad():
        # The Gaussian nearest to the middle of the picture, well before the camera.
        leaves[0][17] = torch.tensor([0.0, 0.0, -1.5])
        leaves[leaf][17].view(-1)[0] = fault
    rendering = draw(leaves, camera)
    gradients = gradients_of(rendering, leaves)
    if leaf < 3:
        assert all(output.isnan().all() for output in outputs_of(rendering))
        assert all(gradient[17].isnan().any() for gradient in gradients[:4])
    else:
        assert not rendering.colors.isfinite().all()


def test_what_hides_behind_opaque_gaussians_costs_and_receives_nothing(
    camera: PinholeCamera, make_gaussians: MakeGaussians
) -> None:
    hidden, layers = make_gaussians(), 40
    means = torch.zeros(layers, 3)
    means[:, 2] = torch.linspace(-2.5, -2.4, layers)
    wall = Gaussians(
        means, isotropic_covariances(torch.full((layers,), 3.0)), torch.full((layers,), 0.9), torch.rand(layers, 3)
    )
    gaussians = Gaussians(
        torch.cat([hidden.means * torch.tensor([1.0, 1.0, 0.5]), wall.means]),
        torch.cat([hidden.covariances, wall.covariances]),
        torch.cat([hidden.opacities, wall.opacities]),
        torch.cat([hidden.colors, wall.colors]),
    )
    leaves, exact_leaves = leaves_of(gaussians), leaves_of(gaussians, torch.float64)
    rendering, exact = draw(leaves, camera), draw(exact_leaves, camera)
    assert_close(rendering.colors.double(), exact.colors, atol=1e-5, rtol=0)
    gradients = gradients_of(rendering, leaves)
    for gradient, expected in zip(gradients, gradients_of(exact, exact_leaves), strict=True):
        assert (gradient - expected).norm() < 5e-4 * expected.norm()
    assert not any(gradient[: len(hidden.means)].any() for gradient in gradients[:4])


def test_the_camera_receives_no_gradient(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    learned = replace(camera, world_to_camera=camera.world_to_camera.clone().requires_grad_())
    assert not rasterize(make_gaussians(), learned).colors.requires_grad


def test_tensors_may_lie_in_memory_as_they_like(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    gaussians = make_gaussians(channels=1)
    spread = Gaussians(
        gaussians.means.t().contiguous().t(),
        gaussians.covariances.mT,
        gaussians.opacities[:1].expand(len(gaussians.means)),
        gaussians.colors.expand(-1, 3),
    )
    compact = Gaussians(
        *(getattr(spread, name).contiguous() for name in ("means", "covariances", "opacities", "colors"))
    )
    assert torch.equal(rasterize(spread, camera).colors, rasterize(compact, camera).colors)


def test_huge_and_tiny_numbers_stay_inside_the_arrays(camera: PinholeCamera) -> None:
    sizes = [1e-38, 1e-20, 1.0, 1e10, 1e30]
    means = torch.tensor([[x, -x, z] for x in [0.0, *sizes] for z in (-2.9, 0.0, 1e20)])
    for size in sizes:
        gaussians = Gaussians(
            means,
            isotropic_covariances(torch.full((len(means),), size).clamp(max=1e18)),
            torch.ones(len(means)),
            torch.ones(len(means), 3),
        )
        rasterize(gaussians, camera).colors.sum()


def test_equal_depths_keep_the_order_of_the_gaussians(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    gaussians = make_gaussians()
    front = replace(camera, world_to_camera=torch.eye(4))
    flat = replace(gaussians, means=torch.cat([gaussians.means[:, :2], torch.full((len(gaussians.means), 1), 2.0)], -1))
    exact = draw(leaves_of(flat, torch.float64), front)
    assert_close(rasterize(flat, front, leaves_of(flat)[4]).colors.double(), exact.colors, atol=1e-5, rtol=0)


def test_nothing_is_kept_for_a_way_back_that_nobody_asks_for(
    camera: PinholeCamera, make_gaussians: MakeGaussians
) -> None:
    assert rasterize(make_gaussians(), camera).colors.grad_fn is None
