"""The image pipeline against the published one, written out with OpenCV."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from human_avatars.data.subject_images import (
    BORDER,
    OUTSIDE,
    PERSON,
    ImageGeometry,
    border_labels,
    image_size,
    read_cutout,
    read_subject_image,
)

INTRINSICS = np.array([[90.0, 0, 31.0], [0, 88.0, 33.0], [0, 0, 1]])
BARREL = np.array([-0.3, 0.1, 0.01, -0.005, 0.02])
BORDER_LABEL = 100
"""The original's label of the border band."""


def _geometry(size: tuple[int, int] = (64, 64), distortion: np.ndarray | None = None, border: int = 5) -> ImageGeometry:
    return ImageGeometry(INTRINSICS, np.zeros(5) if distortion is None else distortion, (64, 64), size, border)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A coloured photograph and a mask of a disc with a hole, labelled 1 and 15."""
    rng = np.random.default_rng(0)
    photograph = cv2.resize(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((64, 64), np.uint8)
    cv2.circle(mask, (30, 34), 20, (15,), -1)
    cv2.rectangle(mask, (28, 30), (31, 33), (0,), -1)
    mask[:30][mask[:30] > 0] = 1
    Image.fromarray(photograph).save(tmp_path / "image.jpg", quality=95)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path / "image.jpg", tmp_path / "mask.png"


def _published(image: Path, mask: Path, distortion: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Image on black and labels, as Neural Body's loader makes them, but with the mask undistorted by nearest pixel."""
    picture = np.asarray(Image.open(image)).astype(np.float32) / 255
    labels = (np.asarray(Image.open(mask)) != 0).astype(np.uint8)
    kernel = np.ones((5, 5), np.uint8)
    band = cv2.dilate(labels.copy(), kernel) - cv2.erode(labels.copy(), kernel)
    labels[band == 1] = BORDER_LABEL
    picture = cv2.undistort(picture, INTRINSICS, distortion)
    maps = cv2.initUndistortRectifyMap(INTRINSICS, distortion, np.eye(3), INTRINSICS, (64, 64), cv2.CV_32FC1)
    labels = cv2.remap(labels, maps[0], maps[1], cv2.INTER_NEAREST)
    height, width = int(64 * ratio), int(64 * ratio)
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    picture[labels == 0] = 0
    return picture, labels


@pytest.mark.parametrize("distortion", [np.zeros(5), BARREL])
@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.25])
def test_alpha_blending_on_black_is_the_published_image(
    files: tuple[Path, Path], distortion: np.ndarray, ratio: float
) -> None:
    size = (int(64 * ratio), int(64 * ratio))
    result = read_subject_image(files[0], files[1:], _geometry(size, distortion))
    rgba = result.rgba.astype(np.float32) / 255
    picture, labels = _published(*files, distortion, ratio)
    np.testing.assert_array_equal(result.border, labels == BORDER_LABEL)
    np.testing.assert_array_equal(rgba[..., 3], labels != 0)
    # Half a grey level, the rounding to bytes.
    np.testing.assert_allclose(rgba[..., :3] * rgba[..., 3:], picture, atol=0.5 / 255 + 1e-5)


def test_a_cutouts_alpha_is_the_part_that_the_mask_covers(files: tuple[Path, Path]) -> None:
    rgba = read_cutout(files[0], files[1:], _geometry((32, 32))).astype(float)
    mask = (np.asarray(Image.open(files[1])) != 0).astype(float)
    quarters = mask.reshape(32, 2, 32, 2).sum((1, 3))
    np.testing.assert_allclose(rgba[..., 3], quarters / 4 * 255, atol=0.51)
    # The colour is the mean of those of the four pixels that the mask shows, whatever lies beside them.
    photograph = np.asarray(Image.open(files[0])).astype(float) * mask[..., None]
    sums = photograph.reshape(32, 2, 32, 2, 3).sum((1, 3))
    shown = quarters > 0
    np.testing.assert_allclose(rgba[shown, :3], sums[shown] / quarters[shown, None], atol=0.51)
    assert not rgba[~shown].any()
    assert ((quarters > 0) & (quarters < 4)).sum() > 20


@pytest.mark.parametrize("border", [0, 5])
def test_a_cutout_of_full_size_is_the_masks_own(files: tuple[Path, Path], border: int) -> None:
    cutout = read_cutout(files[0], files[1:], _geometry(border=border))
    np.testing.assert_array_equal(cutout, read_subject_image(files[0], files[1:], _geometry(border=0)).rgba)


def test_a_cutout_is_undistorted_like_the_image(files: tuple[Path, Path]) -> None:
    cutout = read_cutout(files[0], files[1:], _geometry((64, 64), BARREL))
    image = read_subject_image(files[0], files[1:], _geometry((64, 64), BARREL, border=0))
    inner = (cutout[..., 3] == 255) & (image.rgba[..., 3] == 255)
    assert inner.sum() > 0.8 * (image.rgba[..., 3] == 255).sum()
    np.testing.assert_allclose(cutout[inner].astype(int), image.rgba[inner].astype(int), atol=1)


def test_untouched_images_keep_their_bytes(files: tuple[Path, Path]) -> None:
    rgba = read_subject_image(files[0], files[1:], _geometry()).rgba
    inside = rgba[..., 3] == 255
    np.testing.assert_array_equal(rgba[inside, :3], np.asarray(Image.open(files[0]))[inside])
    assert not rgba[~inside].any()


def test_the_border_band_of_a_square_by_hand() -> None:
    mask = np.zeros((15, 15), bool)
    mask[4:11, 4:11] = True
    labels = border_labels(mask, 5)
    assert (labels == PERSON).sum() == 3 * 3
    assert (labels == BORDER).sum() == 11 * 11 - 3 * 3
    assert (labels == OUTSIDE).sum() == 15 * 15 - 11 * 11
    np.testing.assert_array_equal(border_labels(mask, 0), mask)


def test_no_border_trusts_the_mask(files: tuple[Path, Path]) -> None:
    result = read_subject_image(files[0], files[1:], _geometry(border=0))
    assert not result.border.any()
    np.testing.assert_array_equal(result.rgba[..., 3] > 0, np.asarray(Image.open(files[1])) > 0)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1", "P"])
def test_masks_may_have_any_image_mode(files: tuple[Path, Path], tmp_path: Path, mode: str) -> None:
    expected = read_subject_image(files[0], files[1:], _geometry()).rgba
    mask = Image.fromarray((np.asarray(Image.open(files[1])) != 0).astype(np.uint8) * 255)
    mask.convert(mode).save(tmp_path / "other.png")
    np.testing.assert_array_equal(read_subject_image(files[0], [tmp_path / "other.png"], _geometry()).rgba, expected)


def test_a_mask_of_half_the_size_is_enlarged(files: tuple[Path, Path], tmp_path: Path) -> None:
    Image.open(files[1]).resize((32, 32), Image.Resampling.NEAREST).save(tmp_path / "half.png")
    result = read_subject_image(files[0], [tmp_path / "half.png"], _geometry(border=0))
    assert abs((result.rgba[..., 3] > 0).mean() - (np.asarray(Image.open(files[1])) > 0).mean()) < 0.02


def test_an_empty_mask_is_named_with_its_cure(files: tuple[Path, Path]) -> None:
    Image.new("L", (64, 64)).save(files[1])
    with pytest.raises(ValueError, match=r"mask\.png: the mask is empty .*--masks"):
        read_subject_image(files[0], files[1:], _geometry())


def test_a_mask_of_another_aspect_is_named(files: tuple[Path, Path]) -> None:
    Image.new("L", (64, 48), 1).save(files[1])
    with pytest.raises(ValueError, match=r"mask\.png is 64x48 pixels, but its image is 64x64"):
        read_subject_image(files[0], files[1:], _geometry())


def test_an_image_of_another_size_than_its_cameras_is_named(files: tuple[Path, Path]) -> None:
    Image.new("RGB", (60, 64)).save(files[0])
    with pytest.raises(ValueError, match=r"image\.jpg is 60x64 pixels, but other images of its camera are 64x64"):
        read_subject_image(files[0], files[1:], _geometry())


@pytest.mark.parametrize("broken", [0, 1])
def test_files_that_are_cut_off_or_gone_are_named(files: tuple[Path, Path], broken: int) -> None:
    file = files[broken]
    file.write_bytes(file.read_bytes()[:-80])
    with pytest.raises(ValueError, match=rf"{file.name}: the .* is missing or broken"):
        read_subject_image(files[0], files[1:], _geometry())
    file.unlink()
    with pytest.raises(ValueError, match=rf"{file.name}: the .* is missing or broken"):
        read_subject_image(files[0], files[1:], _geometry())


def test_the_size_comes_from_the_header(files: tuple[Path, Path], tmp_path: Path) -> None:
    assert image_size(files[0]) == (64, 64)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.jpg cannot be read as an image"):
        image_size(tmp_path / "text.jpg")
