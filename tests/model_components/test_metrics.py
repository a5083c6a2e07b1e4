"""Each protocol against a hand-worked value or the implementation that the field uses."""

import math
import socket
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from human_avatars.model_components import metrics
from human_avatars.model_components.metrics import AvatarMetrics, bounding_rectangle

Pictures = tuple[
    Float[Tensor, "height width 3"],
    Float[Tensor, "height width 3"],
    Bool[Tensor, "height width"],
    Bool[Tensor, "height width"],
]


@pytest.fixture
def no_lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_load_lpips", lambda: None)


@pytest.fixture
def pictures() -> Pictures:
    """A render, a photograph, and masks that lie off the middle: 40 x 48 pixels."""
    generator = torch.Generator().manual_seed(3)
    target = torch.nn.functional.interpolate(torch.rand(1, 3, 10, 12, generator=generator), scale_factor=4)
    rgb = target + 0.1 * torch.randn(target.shape, generator=generator)
    box, silhouette = torch.zeros(40, 48, dtype=torch.bool), torch.zeros(40, 48, dtype=torch.bool)
    box[5:33, 9:30] = True
    box[5, 9] = False
    silhouette[10:30, 15:25] = True
    return rgb[0].permute(1, 2, 0), target[0].permute(1, 2, 0), box, silhouette


def _neural_body_crops(pictures: Pictures) -> list[np.ndarray]:
    rgb, target, box, _ = pictures
    x, y, width, height = cv2.boundingRect(box.numpy().astype(np.uint8))
    return [(image * box[..., None]).double().numpy()[y : y + height, x : x + width] for image in (rgb, target)]


@pytest.mark.usefixtures("no_lpips")
def test_psnr_counts_the_pixels_its_name_says() -> None:
    target = torch.zeros(20, 20, 3)
    rgb = target.clone()
    rgb[:10, :10] = 0.1  # a quarter of the picture, all of the box, is off by 0.1
    rgb[0, 19] = 0.5  # outside the box
    box, silhouette = torch.zeros(20, 20, dtype=torch.bool), torch.zeros(20, 20, dtype=torch.bool)
    box[:10, :10] = True
    silhouette[5:15, :10] = True  # half of it off
    values = AvatarMetrics().image_metrics(rgb, target, box, silhouette)
    assert values["psnr_box"] == pytest.approx(20.0, abs=1e-5)
    assert values["psnr_whole_box"] == pytest.approx(20 + 10 * math.log10(4), abs=1e-5)
    assert values["psnr_body"] == pytest.approx(20 + 10 * math.log10(2), abs=1e-5)
    assert values["psnr"] == pytest.approx(-10 * math.log10((100 * 0.01 + 0.25) / 400), abs=1e-5)


@pytest.mark.usefixtures("no_lpips")
def test_values_above_one_are_not_clipped() -> None:
    everywhere = torch.ones(12, 12, dtype=torch.bool)
    values = AvatarMetrics().image_metrics(torch.full((12, 12, 3), 1.1), torch.ones(12, 12, 3), everywhere, everywhere)
    assert values["psnr"] == pytest.approx(20.0, abs=1e-4)


@pytest.mark.usefixtures("no_lpips")
@pytest.mark.parametrize(("key", "data_range"), [("ssim_box", 1.0), ("ssim_box_range2", 2.0)])
def test_box_ssim_is_scikit_images_on_the_crop(pictures: Pictures, key: str, data_range: float) -> None:
    from skimage.metrics import structural_similarity

    expected = structural_similarity(*_neural_body_crops(pictures), channel_axis=-1, data_range=data_range)
    assert AvatarMetrics().image_metrics(*pictures)[key] == pytest.approx(expected, abs=1e-12)


@pytest.mark.usefixtures("no_lpips")
def test_standard_ssim_is_torchmetrics(pictures: Pictures) -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure

    rgb, target = (image.double().permute(2, 0, 1)[None] for image in pictures[:2])
    expected: Any = structural_similarity_index_measure(rgb, target, data_range=1.0, sigma=1.5)
    assert AvatarMetrics().image_metrics(*pictures)["ssim"] == pytest.approx(expected.item(), abs=1e-9)


@pytest.mark.usefixtures("no_lpips")
def test_equal_images_are_perfect_and_finite(pictures: Pictures) -> None:
    _, target, box, silhouette = pictures
    values = AvatarMetrics().image_metrics(target, target, box, silhouette)
    for key, value in values.items():
        assert value == pytest.approx(1.0 if key.startswith("ssim") else 100.0)


@pytest.mark.usefixtures("no_lpips")
def test_keys_do_not_depend_on_the_image(pictures: Pictures) -> None:
    nothing = torch.zeros_like(pictures[2])
    seen, unseen = (
        AvatarMetrics().image_metrics(*pictures),
        AvatarMetrics().image_metrics(*pictures[:2], nothing, nothing),
    )
    assert list(seen) == list(unseen)
    assert {key for key, value in unseen.items() if math.isnan(value)} == {
        "psnr_box",
        "ssim_box",
        "ssim_box_range2",
        "psnr_body",
    }


def test_bounding_rectangle_is_opencvs(pictures: Pictures) -> None:
    x, y, width, height = cv2.boundingRect(pictures[2].numpy().astype(np.uint8))
    assert bounding_rectangle(pictures[2]) == (slice(y, y + height), slice(x, x + width))


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty TORCH_HOME and a network that answers nothing; returns where the weights belong."""

    def unreachable(*_: object, **__: object) -> None:
        assert socket.getdefaulttimeout() == metrics.DOWNLOAD_TIMEOUT
        raise OSError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    path = tmp_path / "hub" / "checkpoints" / metrics.ALEXNET_FILE
    path.parent.mkdir(parents=True)
    return path


def _write_random_alexnet(path: Path) -> None:
    """Random weights in torchvision's file format; the classifier, which LPIPS does not use, takes no room."""
    import torchvision

    torch.manual_seed(5)
    state = torchvision.models.alexnet(weights=None).state_dict()
    small = {key: value.new_zeros(()).expand_as(value) for key, value in state.items() if key.startswith("classifier")}
    torch.save(state | small, path)


def test_lpips_is_torchmetrics_on_images_in_zero_to_one(torch_home: Path, pictures: Pictures) -> None:
    from torchmetrics.functional.image.lpips import learned_perceptual_image_patch_similarity

    _write_random_alexnet(torch_home)
    evaluator = AvatarMetrics()
    first, second = evaluator.image_metrics(*pictures), evaluator.image_metrics(*pictures)
    batches = [image.clamp(0, 1).permute(2, 0, 1)[None] * 2 - 1 for image in pictures[:2]]
    expected = learned_perceptual_image_patch_similarity(batches[0], batches[1], net_type="alex")
    assert first["lpips_alex"] > 0
    assert first["lpips_alex"] == second["lpips_alex"] == pytest.approx(expected.item(), rel=1e-5)


def test_lpips_of_a_thumbnail_is_not_a_number(torch_home: Path) -> None:
    _write_random_alexnet(torch_home)
    evaluator = AvatarMetrics()
    for size in (metrics.ALEXNET_MIN_SIZE - 1, metrics.ALEXNET_MIN_SIZE):
        everywhere = torch.ones(size, size, dtype=torch.bool)
        value = evaluator.image_metrics(torch.rand(size, size, 3), torch.rand(size, size, 3), everywhere, everywhere)
        assert math.isnan(value["lpips_alex"]) == (size < metrics.ALEXNET_MIN_SIZE)


@pytest.mark.parametrize("content", [None, b"", b"<html>no weights here</html>", b"PK\x03\x04 cut short"])
def test_without_weights_one_warning_names_file_and_folder(
    content: bytes | None, torch_home: Path, pictures: Pictures, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        torch_home.write_bytes(content)
    evaluator = AvatarMetrics()
    assert "lpips_alex" not in evaluator.image_metrics(*pictures)
    printed = capsys.readouterr().out
    assert str(torch_home) in printed
    assert f"into the folder {torch_home.parent}" in printed
    assert socket.getdefaulttimeout() is None
    _write_random_alexnet(torch_home)  # too late for this run: all images have the same keys
    assert "lpips_alex" not in evaluator.image_metrics(*pictures)
    assert capsys.readouterr().out == ""


def test_nothing_of_it_enters_a_checkpoint(torch_home: Path, pictures: Pictures) -> None:
    _write_random_alexnet(torch_home)
    model: Any = torch.nn.Module()
    model.evaluator = AvatarMetrics()
    model.evaluator.image_metrics(*pictures)
    assert not model.state_dict()
    assert not list(model.parameters())


@pytest.mark.usefixtures("no_lpips")
@pytest.mark.parametrize("size", [1, 5, 6, 10, 11])
def test_thumbnails_have_every_key(size: int) -> None:
    everywhere = torch.ones(size, size, dtype=torch.bool)
    values = AvatarMetrics().image_metrics(torch.rand(size, size, 3), torch.rand(size, size, 3), everywhere, everywhere)
    assert len(values) == 7
    assert math.isnan(values["ssim"]) == (size <= 5)
    assert math.isnan(values["ssim_box"]) == (size < 7)
