"""The part of an image that trains: what it holds, where it lies, and how far the mask is believed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig
from human_avatars.data.subject_dataset import SubjectDataset
from human_avatars.data.training_images import TrainingImage, _rectangle, read_training_image

WriteZju = Callable[..., Any]


@pytest.fixture
def dataset(write_zju: WriteZju) -> SubjectDataset:
    config = ZjuMocapDataParserConfig(data=write_zju(num_cameras=3, num_frames=3).path)
    return SubjectDataset(config.setup().get_dataparser_outputs())


def _in_whole(dataset: SubjectDataset, image: TrainingImage) -> tuple[slice, slice]:
    height, width = image.rgba.shape[:2]
    return slice(image.top, image.top + height), slice(image.left, image.left + width)


def test_the_rectangle_by_hand() -> None:
    shown = np.zeros((20, 30), bool)
    shown[4, 7] = shown[9, 28] = True
    assert _rectangle(shown, 0.0) == (slice(4, 10), slice(7, 29))
    assert _rectangle(shown, 0.1) == (slice(2, 12), slice(5, 30))
    assert _rectangle(shown, 0.5) == (slice(0, 20), slice(0, 30))
    assert _rectangle(shown, None) == (slice(0, 20), slice(0, 30))


@pytest.mark.parametrize("trusted", [True, False])
def test_nothing_of_the_person_or_its_box_is_cut_off(dataset: SubjectDataset, trusted: bool) -> None:
    whole = read_training_image(dataset, 0, None, trusted)
    cut = read_training_image(dataset, 0, 0.0, trusted)
    assert whole.rgba.shape == (48, 48, 4)
    assert cut.rgba.shape[1] < 40
    assert cut.mask_at_box.sum() == whole.mask_at_box.sum()
    assert (cut.rgba[..., 3] > 0).sum() == (whole.rgba[..., 3] > 0).sum()
    part = _in_whole(dataset, cut)
    assert torch.equal(cut.rgba, whole.rgba[part])
    assert torch.equal(cut.mask_at_box, whole.mask_at_box[part])


def test_an_undecided_border_is_as_evaluation_has_it(dataset: SubjectDataset) -> None:
    image = read_training_image(dataset, 1, 0.04, trust_mask_border=False)
    part, data = _in_whole(dataset, image), dataset.get_data(1, image_type="uint8")
    assert image.valid is not None
    assert torch.equal(image.rgba, data["image"][part])
    assert torch.equal(image.valid, data["mask"][part])


def test_a_trusted_mask_decides_everywhere(dataset: SubjectDataset) -> None:
    image = read_training_image(dataset, 1, None, trust_mask_border=True)
    mask = torch.from_numpy(np.asarray(Image.open(dataset.frames.mask_filenames[1][0])) != 0)
    assert image.valid is None
    assert torch.equal(image.rgba[..., 3], mask * torch.tensor(255, dtype=torch.uint8))
    assert not image.rgba[~mask].any()
    photograph = torch.from_numpy(np.array(Image.open(dataset.image_filenames[1])))
    assert torch.equal(image.rgba[mask][:, :3], photograph[mask])


def test_memory_is_that_of_the_rectangle(dataset: SubjectDataset) -> None:
    for trusted, bytes_per_pixel in ((True, 5), (False, 6)):
        image = read_training_image(dataset, 0, 0.04, trusted)
        assert image.num_bytes == image.mask_at_box.numel() * bytes_per_pixel
        assert image.rgba.untyped_storage().nbytes() == image.rgba.nbytes
        assert image.mask_at_box.untyped_storage().nbytes() == image.mask_at_box.nbytes


def test_a_camera_that_looks_elsewhere_is_named(dataset: SubjectDataset) -> None:
    world_to_cameras = dataset.frames.world_to_cameras.clone()
    world_to_cameras[0, 0, 3] += 50
    dataset.frames = replace(dataset.frames, world_to_cameras=world_to_cameras)
    with pytest.raises(ValueError, match=rf"{Path('Camera_B1') / '000000.jpg'}: no pixel of this image sees"):
        read_training_image(dataset, 0, 0.04, True)
