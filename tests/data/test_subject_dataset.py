"""What a dataset entry holds, for models and for nerfstudio's tools, and that nothing is read ahead."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from human_avatars.data import subject_dataset
from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig
from human_avatars.data.subject_dataset import SubjectDataset

WriteZju = Callable[..., Any]


@pytest.fixture
def outputs(write_zju: WriteZju) -> DataparserOutputs:
    return ZjuMocapDataParserConfig(data=write_zju(num_cameras=3, num_frames=3).path).setup().get_dataparser_outputs()


def test_models_get_colours_silhouette_and_masks(outputs: DataparserOutputs) -> None:
    dataset = SubjectDataset(outputs)
    data = dataset.get_data(2)
    image, mask, mask_at_box = data["image"], data["mask"], data["mask_at_box"]
    assert image.shape == (48, 48, 4)
    assert image.dtype == torch.float32
    assert mask.dtype == mask_at_box.dtype == torch.bool
    assert mask.shape == mask_at_box.shape == (48, 48, 1)
    assert not image[..., :3][image[..., 3] == 0].any()
    # The undecided band shows its own colours: it is not in the mask, but it is in the silhouette.
    assert (image[..., 3][~mask[..., 0]] == 1).all()
    assert torch.equal(mask_at_box[..., 0], dataset.frames.mask_at_box(2))
    assert dataset.get_data(2, image_type="uint8")["image"].dtype == torch.uint8
    assert torch.equal(dataset.get_image_uint8(2).float() / 255, image)


def test_tools_that_index_get_the_person_on_black(outputs: DataparserOutputs) -> None:
    dataset = SubjectDataset(outputs)
    image = dataset.get_data(1)["image"]
    assert torch.equal(dataset[1]["image"], image[..., :3] * image[..., 3:])
    assert dataset[1]["image_idx"] == 1


def test_nothing_is_read_before_it_is_asked_for_and_nothing_twice(
    outputs: DataparserOutputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = subject_dataset.read_subject_image

    def counted(image: Path, *arguments: Any) -> Any:
        read.append(image.name)
        return original(image, *arguments)

    monkeypatch.setattr(subject_dataset, "read_subject_image", counted)
    dataset = SubjectDataset(outputs)
    assert read == []
    for _ in range(3):
        dataset.get_data(0)
    assert read == ["000000.jpg"]
    without_memory = SubjectDataset(outputs, cache_bytes=0)
    without_memory.get_numpy_image(0)
    without_memory.get_numpy_image(0)
    assert len(read) == 3


def test_the_model_shares_the_subject_and_does_not_see_the_files(outputs: DataparserOutputs) -> None:
    dataset = SubjectDataset(outputs)
    assert set(dataset.metadata) == {"subject", "train_frame_indices", "pixels_per_metre"}
    assert dataset.metadata["subject"] is outputs.metadata["subject"]
    assert dataset.image_filenames == outputs.image_filenames
    assert dataset.split_labels == ("train",) * 4


def test_a_scale_factor_scales_images_and_cameras_alike(outputs: DataparserOutputs) -> None:
    dataset = SubjectDataset(outputs, scale_factor=0.5, cache_compressed_images=False)
    assert dataset.get_data(0)["image"].shape == (24, 24, 4)
    assert dataset.get_data(0)["mask_at_box"].shape == (24, 24, 1)
    expected = replace(outputs.metadata["frames"], image_scale=0.5).cameras()
    assert torch.equal(dataset.cameras.cx, expected.cx)
    assert dataset.cameras.width[0].item() == 24


def test_other_data_parsers_are_refused() -> None:
    cameras = Cameras(torch.eye(4)[None, :3], fx=5.0, fy=5.0, cx=3.0, cy=2.0, width=6, height=4)
    with pytest.raises(ValueError, match="zju-mocap-data"):
        SubjectDataset(DataparserOutputs([Path("000000.jpg")], cameras))


def test_an_empty_mask_is_named_when_its_image_is_read(write_zju: WriteZju) -> None:
    folder = write_zju(num_cameras=2, num_frames=2, vertex_offset=9.0).path
    with pytest.warns(UserWarning, match="not the packaged"):
        dataset = SubjectDataset(ZjuMocapDataParserConfig(data=folder).setup().get_dataparser_outputs())
    with pytest.raises(ValueError, match=r"mask_cihp/Camera_B1/000000\.png: the mask is empty"):
        dataset.get_data(0)
