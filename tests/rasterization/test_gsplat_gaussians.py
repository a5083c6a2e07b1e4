"""gsplat is asked for what we mean, says clearly when it cannot be had, and agrees with the CPU on a CUDA device."""

import inspect
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from human_avatars.rasterization.gaussians import Gaussians, PinholeCamera, Rendering, rasterize
from human_avatars.rasterization.gsplat_gaussians import rasterize_on_cuda
from human_avatars.rasterization.torch_gaussians import rasterize_reference

MakeGaussians = Callable[..., Gaussians]
BLACK = torch.zeros(3)
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def pretend_gsplat(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a module of our own in gsplat's place."""

    def pretend(extension: object, rasterization: Callable[..., Any] | None = None) -> None:
        for name in ("gsplat", "gsplat.cuda", "gsplat.cuda._backend", "gsplat.rendering"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.setattr(sys.modules["gsplat.cuda._backend"], "_C", extension, raising=False)
        monkeypatch.setattr(sys.modules["gsplat.rendering"], "rasterization", rasterization, raising=False)

    return pretend


def test_without_gsplat_the_error_says_how_to_get_it(
    camera: PinholeCamera, make_gaussians: MakeGaussians, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", None)
    with pytest.raises(RuntimeError, match="pip install gsplat"):
        rasterize_on_cuda(make_gaussians(), camera, BLACK, 0.3)


def test_without_a_cuda_compiler_the_error_names_it(
    camera: PinholeCamera, make_gaussians: MakeGaussians, pretend_gsplat: Callable[..., None]
) -> None:
    pretend_gsplat(extension=None)
    with pytest.raises(RuntimeError, match="nvcc"):
        rasterize_on_cuda(make_gaussians(), camera, BLACK, 0.3)


def test_a_failed_compilation_is_passed_on(
    camera: PinholeCamera, make_gaussians: MakeGaussians, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "gsplat.cuda._backend":
                raise RuntimeError("ninja: build stopped")

    for name in ("gsplat.cuda._backend", "gsplat.rendering"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "gsplat", types.ModuleType("gsplat"))
    package = types.ModuleType("gsplat.cuda")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "gsplat.cuda", package)
    monkeypatch.setattr(sys, "meta_path", [Failing(), *sys.meta_path])
    with pytest.raises(RuntimeError, match="ninja: build stopped") as caught:
        rasterize_on_cuda(make_gaussians(), camera, BLACK, 0.3)
    assert "TORCH_CUDA_ARCH_LIST" in str(caught.value)


def test_gsplat_is_asked_for_our_picture(
    camera: PinholeCamera, make_gaussians: MakeGaussians, pretend_gsplat: Callable[..., None]
) -> None:
    # The installed gsplat's own signature, so that no argument is misnamed; its kernels would need CUDA.
    signature = inspect.signature(pytest.importorskip("gsplat.rendering").rasterization)

    def by_the_reference(**arguments: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
        asked = signature.bind(**arguments).arguments
        assert asked["render_mode"] == "RGB+D"
        assert not asked["packed"]
        assert torch.equal(asked["covars"], asked["covars"].mT)
        gaussians = Gaussians(asked["means"], asked["covars"], asked["opacities"], asked["colors"])
        seen_from = PinholeCamera(asked["viewmats"][0], asked["Ks"][0], asked["width"], asked["height"])
        drawn = rasterize_reference(gaussians, seen_from, asked["backgrounds"][0], asked["eps2d"])
        return torch.cat([drawn.colors, drawn.alpha * drawn.depth], -1)[None], drawn.alpha[None], {}

    pretend_gsplat(extension=object(), rasterization=by_the_reference)
    gaussians, background = make_gaussians(count=50), torch.tensor([0.1, 0.5, 0.9])
    drawn = rasterize_on_cuda(gaussians, camera, background, 0.5)
    expected = rasterize_reference(gaussians, camera, background, 0.5)
    for name in ("colors", "alpha", "depth"):
        assert_close(getattr(drawn, name), getattr(expected, name))
    broken = replace(gaussians, opacities=gaussians.opacities.clone())
    broken.opacities[3] = torch.nan
    assert rasterize_on_cuda(broken, camera, background, 0.5).colors.isnan().all()


def test_no_gaussians_need_no_gsplat(
    camera: PinholeCamera, make_gaussians: MakeGaussians, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", None)
    background = torch.tensor([0.1, 0.5, 0.9])
    drawn = rasterize_on_cuda(make_gaussians(count=0), camera, background, 0.3)
    assert torch.equal(drawn.colors, background.expand(camera.height, camera.width, 3))
    assert not drawn.alpha.any()
    assert not drawn.depth.any()


def draw_and_differentiate(
    gaussians: Gaussians, camera: PinholeCamera, device: str
) -> tuple[Rendering, tuple[Tensor, ...]]:
    """The picture on a device, and the gradients of a weighting of it, both brought back."""
    tensors = gaussians.means, gaussians.covariances, gaussians.opacities, gaussians.colors
    background = torch.linspace(0.2, 0.8, gaussians.colors.shape[1])
    leaves = [tensor.to(device).requires_grad_() for tensor in (*tensors, background)]
    drawn = rasterize(Gaussians(*leaves[:4]), camera, leaves[4])
    outputs = [drawn.colors, drawn.alpha, drawn.depth]
    generator = torch.Generator().manual_seed(2)
    weights = [torch.randn(output.shape, generator=generator).to(device) for output in outputs]
    gradients = torch.autograd.grad(outputs, leaves, weights)
    return Rendering(*(output.detach().cpu() for output in outputs)), tuple(gradient.cpu() for gradient in gradients)


@pytest.mark.gpu
@NEEDS_CUDA
@pytest.mark.parametrize("shape", ["balls", "ellipsoids", "needles", "matrices"])
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_cuda_agrees_with_the_cpu(
    camera: PinholeCamera, make_gaussians: MakeGaussians, shape: str, channels: int
) -> None:
    gaussians = make_gaussians(shape, channels=channels)
    # Below exp(3^2 / 2) / 255 = 0.353 a Gaussian ends within the three standard deviations that gsplat 1.4 draws.
    gaussians = replace(gaussians, opacities=0.35 * gaussians.opacities)
    (ours, our_gradients), (theirs, their_gradients) = (
        draw_and_differentiate(gaussians, camera, device) for device in ("cpu", "cuda")
    )
    for name, tolerance in (("colors", 1e-4), ("alpha", 1e-4), ("depth", 1e-3)):
        # An alpha of just about 1/255 may fall on either side.
        assert (getattr(ours, name) - getattr(theirs, name)).abs().quantile(0.995) < tolerance
    for gradient, expected in zip(their_gradients, our_gradients, strict=True):
        assert (gradient - expected).norm() < 5e-3 * expected.norm()


@pytest.mark.gpu
@NEEDS_CUDA
def test_cuda_differs_by_no_more_than_gsplat_cuts_off(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    gaussians = make_gaussians(count=20)
    ours, theirs = (draw_and_differentiate(gaussians, camera, device)[0] for device in ("cpu", "cuda"))
    # 0.011 of each opacity, and few of twenty lie over one pixel.
    assert (ours.colors - theirs.colors).abs().max() < 4 * 0.011
    assert (ours.colors - theirs.colors).abs().mean() < 2e-3


@pytest.mark.gpu
@NEEDS_CUDA
def test_cuda_draws_nothing_as_the_background(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    gaussians = make_gaussians()
    away = replace(gaussians, means=gaussians.means + torch.tensor([0.0, 0.0, -100.0]))
    drawn, gradients = draw_and_differentiate(away, camera, "cuda")
    assert torch.equal(drawn.colors, torch.linspace(0.2, 0.8, 3).expand_as(drawn.colors))
    assert not drawn.alpha.any()
    assert not drawn.depth.any()
    assert not any(gradient.any() for gradient in gradients[:4])


@pytest.mark.gpu
@NEEDS_CUDA
def test_cuda_shows_a_fault_in_one_gaussian(camera: PinholeCamera, make_gaussians: MakeGaussians) -> None:
    gaussians = make_gaussians()
    gaussians.means[17, 0] = torch.nan
    assert draw_and_differentiate(gaussians, camera, "cuda")[0].colors.isnan().all()
