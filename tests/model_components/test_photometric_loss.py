"""The photometric loss: values worked by hand, the compiled loops against float64, and images that are out of order."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from human_avatars.model_components.metrics import gaussian_window, structural_similarity
from human_avatars.model_components.photometric_loss import photometric_loss

C1, C2 = 0.01**2, 0.03**2
SIZES = [(1, 1), (1, 40), (40, 1), (5, 7), (11, 11), (12, 64), (70, 45), (130, 22)]


@pytest.fixture
def threads() -> Iterator[None]:
    """Restores the number of threads that a test sets."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def make_images(height: int, width: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """A render that wants a gradient, a photograph like it, and pixels that count."""
    generator = torch.Generator().manual_seed(height * 1000 + width)
    target = torch.rand(height, width, 3, generator=generator)
    rgb = target + 0.2 * torch.randn(target.shape, generator=generator)
    valid = torch.rand(height, width, generator=generator) > 0.3
    return rgb.to(dtype).requires_grad_(), target.to(dtype), valid


def loss_and_gradient(rgb: Tensor, target: Tensor, valid: Tensor | None, ssim_weight: float) -> tuple[Tensor, Tensor]:
    loss = photometric_loss(rgb, target, valid, ssim_weight)
    return loss.detach(), torch.autograd.grad(loss, rgb)[0]


def similarity_of_constants(a: float, b: float, mass: float) -> float:
    """SSIM of images that are a and b in a part of the window with this weight, and 0 outside the image."""
    luminance = (2 * a * b * mass**2 + C1) / ((a * a + b * b) * mass**2 + C1)
    spread = mass - mass**2
    return luminance * (2 * a * b * spread + C2) / ((a * a + b * b) * spread + C2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_absolute_difference_by_hand(dtype: torch.dtype) -> None:
    rgb, target = torch.zeros(2, 2, 3, dtype=dtype), torch.zeros(2, 2, 3, dtype=dtype)
    rgb[0, 0] = torch.tensor([0.1, 0.2, 0.3])
    target[1, 1, 2] = 0.6
    loss, gradient = loss_and_gradient(rgb.requires_grad_(), target, None, 0.0)
    assert loss.item() == pytest.approx((0.1 + 0.2 + 0.3 + 0.6) / 12)
    expected = torch.zeros(2, 2, 3, dtype=dtype)
    expected[0, 0], expected[1, 1, 2] = 1 / 12, -1 / 12
    assert_close(gradient, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_similarity_of_one_pixel_by_hand(dtype: torch.dtype) -> None:
    # The window's middle weight is 1 / sum(exp(-k^2 / 4.5)) along each axis; all other pixels lie outside and are 0.
    middle = 1 / sum(math.exp(-(k**2) / 4.5) for k in range(-5, 6))
    assert middle == pytest.approx(0.26601, abs=1e-5)
    loss = photometric_loss(torch.full((1, 1, 3), 0.4, dtype=dtype), torch.full((1, 1, 3), 0.5, dtype=dtype), None, 1.0)
    assert loss.item() == pytest.approx(1 - similarity_of_constants(0.4, 0.5, middle**2), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_similarity_of_constant_images_by_hand(dtype: torch.dtype) -> None:
    # In the interior (2ab + C1) / (a^2 + b^2 + C1); towards the border the zeros outside take part of the window.
    assert similarity_of_constants(0.4, 0.7, 1.0) == pytest.approx((0.56 + 1e-4) / (0.65 + 1e-4))
    height, width = 24, 31
    weights = gaussian_window(11, 1.5)
    masses = [F.conv1d(torch.ones(1, 1, size).double(), weights[None, None], padding=5) for size in (height, width)]
    values = [similarity_of_constants(0.4, 0.7, (p * q).item()) for p in masses[0][0, 0] for q in masses[1][0, 0]]
    images = torch.full((height, width, 3), 0.4, dtype=dtype), torch.full((height, width, 3), 0.7, dtype=dtype)
    assert photometric_loss(*images, None, 1.0).item() == pytest.approx(1 - sum(values) / len(values), abs=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_similarity_is_that_of_the_metric_on_images_framed_in_black(size: tuple[int, int]) -> None:
    rgb, target, _ = make_images(*size, dtype=torch.float64)
    framed_rgb, framed_target = (F.pad(image.detach(), (0, 0, 5, 5, 5, 5)) for image in (rgb, target))
    expected = 1 - structural_similarity(framed_rgb, framed_target, gaussian_window(11, 1.5))
    assert photometric_loss(rgb, target, None, 1.0).item() == pytest.approx(expected, abs=1e-12)


def test_its_gradient_is_that_of_finite_differences() -> None:
    rgb, target, valid = make_images(6, 13, dtype=torch.float64)
    target.requires_grad_()
    assert torch.autograd.gradcheck(lambda rgb, target: photometric_loss(rgb, target, valid, 0.3), (rgb, target))


@pytest.mark.parametrize("ssim_weight", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_the_compiled_loops_equal_float64(size: tuple[int, int], masked: bool, ssim_weight: float) -> None:
    rgb, target, valid = make_images(*size)
    mask = valid if masked else None
    loss, gradient = loss_and_gradient(rgb, target, mask, ssim_weight)
    exact = loss_and_gradient(rgb.detach().double().requires_grad_(), target.double(), mask, ssim_weight)
    assert_close(loss.double(), exact[0], rtol=1e-5, atol=1e-7)
    scale = exact[1].abs().max().item()
    assert_close(gradient.double(), exact[1], rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_images_lose_nothing(dtype: torch.dtype) -> None:
    _, target, _ = make_images(20, 30, dtype)
    loss, gradient = loss_and_gradient(target.clone().requires_grad_(), target, None, 0.2)
    assert_close(loss, torch.zeros_like(loss), rtol=0, atol=1e-6)
    assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-6)


@pytest.mark.usefixtures("threads")
def test_any_number_of_threads_gives_the_same_bits() -> None:
    rgb, target, valid = make_images(131, 67)
    results = []
    for count in (1, 2, 3, 8):
        torch.set_num_threads(count)
        results.append(loss_and_gradient(rgb, target, valid, 0.2))
    for loss, gradient in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert torch.equal(gradient, results[0][1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("nonsense", [5.0, math.nan, math.inf])
def test_pixels_that_do_not_count_change_nothing(dtype: torch.dtype, nonsense: float) -> None:
    rgb, target, valid = make_images(24, 17, dtype)
    expected = loss_and_gradient(rgb, target, valid, 0.2)
    changed = torch.where(valid[..., None], rgb.detach(), nonsense).requires_grad_()
    loss, gradient = loss_and_gradient(changed, target, valid, 0.2)
    assert_close(loss, expected[0])
    assert_close(gradient, expected[1])
    assert (gradient[~valid] == 0).all()
    assert loss_and_gradient(changed, target, torch.zeros_like(valid), 0.2)[0].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ssim_weight", [0.0, 0.2, 1.0])
def test_what_is_not_a_number_is_not_hidden(dtype: torch.dtype, ssim_weight: float) -> None:
    rgb, target, _ = make_images(40, 50, dtype)
    broken = rgb.detach().clone()
    broken[30, 20, 1] = math.nan
    loss, gradient = loss_and_gradient(broken.requires_grad_(), target, None, ssim_weight)
    assert loss.isnan()
    assert gradient[30, 20, 1].isnan()


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_an_image_without_pixels_loses_nothing(size: tuple[int, int]) -> None:
    rgb, target, valid = torch.zeros(*size, 3, requires_grad=True), torch.zeros(*size, 3), torch.ones(size) > 0
    for mask in (None, valid):
        loss, gradient = loss_and_gradient(rgb, target, mask, 0.2)
        assert loss.item() == 0
        assert gradient.shape == rgb.shape


@pytest.mark.parametrize("masked", [False, True])
def test_images_may_lie_in_memory_in_any_way(masked: bool) -> None:
    rgb, target, valid = make_images(30, 21)
    expected = loss_and_gradient(rgb, target, valid if masked else None, 0.2)
    planar = rgb.detach().permute(2, 0, 1).contiguous().permute(1, 2, 0).requires_grad_()
    cropped = F.pad(target, (0, 0, 3, 4, 5, 6))[5:-6, 3:-4]
    strided = valid.repeat_interleave(2, dim=1)[:, ::2]
    assert not any(tensor.is_contiguous() for tensor in (planar, cropped, strided))
    loss, gradient = loss_and_gradient(planar, cropped, strided if masked else None, 0.2)
    assert torch.equal(loss, expected[0])
    assert torch.equal(gradient, expected[1])


def test_the_value_does_not_depend_on_who_wants_a_gradient() -> None:
    rgb, target, valid = make_images(50, 34)
    loss = photometric_loss(rgb, target, valid, 0.2)
    without = photometric_loss(rgb.detach(), target, valid, 0.2)
    assert torch.equal(loss, without)
    assert not without.requires_grad
    with torch.no_grad():
        assert torch.equal(loss, photometric_loss(rgb, target, valid, 0.2))
    with torch.inference_mode():
        assert torch.equal(loss, photometric_loss(rgb, target, valid, 0.2))
    wanted = target.clone().requires_grad_()
    of_both = photometric_loss(rgb, wanted, valid, 0.2)
    assert_close(of_both, loss)
    assert_close(torch.autograd.grad(of_both, (rgb, wanted))[0], torch.autograd.grad(loss, rgb)[0])


def test_the_gradient_is_scaled_by_what_is_made_of_the_loss() -> None:
    rgb, target, _ = make_images(13, 19)
    loss = photometric_loss(rgb, target, None, 0.2)
    (gradient,) = torch.autograd.grad(loss, rgb, retain_graph=True)
    assert_close(torch.autograd.grad(-3 * loss, rgb, retain_graph=True)[0], -3 * gradient)
    assert torch.equal(torch.autograd.grad(loss, rgb)[0], gradient)


def test_half_precision_around_it_changes_nothing() -> None:
    rgb, target, _ = make_images(20, 22)
    for images in ((rgb, target), (rgb, target.clone().requires_grad_())):
        expected = loss_and_gradient(*images, None, 0.2)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, gradient = loss_and_gradient(*images, None, 0.2)
        assert_close(loss, expected[0])
        assert_close(gradient, expected[1])
