"""A folder in ZJU-MoCap's layout becomes the splits of Neural Body's protocol."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParser, ZjuMocapDataParserConfig
from human_avatars.data.subject_dataset import SubjectDataset

WriteZju = Callable[..., Any]


def _parser(folder: Path, **options: Any) -> ZjuMocapDataParser:
    return ZjuMocapDataParserConfig(data=folder, **options).setup()


def test_training_and_test_images(write_zju: WriteZju) -> None:
    parser = _parser(write_zju(num_cameras=5, num_frames=6).path, eval_frame_interval=2)
    train, test = parser.read_frames("train"), parser.read_frames("test")
    assert set(train.split_labels) == {"train"}
    assert train.camera_names[:4] == ("Camera_B1", "Camera_B2", "Camera_B3", "Camera_B4")
    assert train.frame_indices.tolist() == [frame for frame in range(4) for _ in range(4)]
    assert train.train_frame_indices.tolist() == [0, 1, 2, 3]
    assert [path.name for path in test.image_filenames] == ["000000.jpg", "000002.jpg", "000004.jpg"]
    assert test.split_labels == ("novel_view", "novel_view", "novel_pose")
    assert test.frame_indices.tolist() == [0, 2, 4]
    assert test.subject is train.subject
    assert parser.read_frames("val").image_filenames == test.image_filenames


def test_the_motion_holds_training_and_unseen_frames_in_order_of_time(write_zju: WriteZju) -> None:
    folder = write_zju(num_cameras=2, num_frames=6)
    parser = _parser(folder.path, begin_frame=4, num_train_frames=2, novel_pose_frames=(0, 2))
    frames = parser.read_frames("train")
    assert frames.subject.motion.num_frames == 4
    assert frames.train_frame_indices.tolist() == [2, 3]
    posed = frames.subject.posed_body(frames.frame_indices).vertices
    torch.testing.assert_close(posed, torch.from_numpy(folder.vertices[4:6]).float(), atol=1e-5, rtol=0)


def test_names_of_313_number_frames_from_one(write_zju: WriteZju) -> None:
    folder = write_zju(name="CoreView_313", num_cameras=21, num_frames=3, coreview_names=True, size=16)
    assert not (folder.path / "params/0.npy").exists()
    frames = _parser(folder.path, num_train_frames=2, novel_pose_frames=(2, 3)).read_frames("train")
    assert sorted(set(frames.camera_names)) == ["Camera (1)", "Camera (13)", "Camera (19)", "Camera (7)"]
    assert frames.image_filenames[4].name.split("_")[4] == "0002"
    posed = frames.subject.posed_body(torch.arange(3)).vertices
    torch.testing.assert_close(posed, torch.from_numpy(folder.vertices).float(), atol=1e-5, rtol=0)


def test_published_images_are_halved_and_others_are_not(write_zju: WriteZju) -> None:
    options: dict[str, Any] = {"num_train_frames": 1, "novel_pose_frames": (0, 0), "train_cameras": (0,)}
    published = write_zju(name="CoreView_386", num_cameras=1, num_frames=1, size=1024).path
    assert _parser(published, **options).read_frames("train").image_sizes.tolist() == [[512, 512]]
    assert _parser(published, **options, image_scale=1.0).read_frames("train").image_scale == 1.0
    assert _parser(published, **options, downscale_factor=4.0).read_frames("train").image_scale == 0.125
    demo = write_zju(name="demo", num_cameras=1, num_frames=1, size=1024).path
    assert _parser(demo, **options).read_frames("train").image_scale == 1.0


def test_masks_are_chosen(write_zju: WriteZju) -> None:
    folder = write_zju(num_cameras=2, num_frames=2).path
    assert {path.parts[-3] for (path,) in _parser(folder).read_frames("train").mask_filenames} == {"mask_cihp"}
    with pytest.raises(ValueError, match=r"mask does not exist.*--masks"):
        _parser(folder, masks="both").read_frames("train")
    (folder / "mask_cihp").rename(folder / "mask")
    assert {path.parts[-3] for (path,) in _parser(folder).read_frames("train").mask_filenames} == {"mask"}


def test_both_masks_are_joined(write_zju: WriteZju) -> None:
    folder = write_zju(num_cameras=2, num_frames=2).path
    dataset = SubjectDataset(_parser(folder, mask_border=0).get_dataparser_outputs("train"))
    left = cv2.imread(str(dataset.frames.mask_filenames[0][0]), cv2.IMREAD_UNCHANGED)
    right = np.zeros_like(left)
    right[2:5, 3:9] = 7
    for file in (folder / "mask_cihp").rglob("*.png"):
        other = folder / "mask" / file.relative_to(folder / "mask_cihp")
        other.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(other), right)
    both = SubjectDataset(_parser(folder, mask_border=0, masks="both").get_dataparser_outputs("train"))
    np.testing.assert_array_equal(both.get_numpy_image(0)[..., 3] > 0, (left != 0) | (right != 0))


def test_a_missing_folder_names_its_absolute_path_and_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"{tmp_path}/data/zju/demo is no folder.*{tmp_path}.*--data"):
        _parser(Path("data/zju/demo")).get_dataparser_outputs("train")


@pytest.mark.parametrize("lost", ["Camera_B2", "Camera_B2/000001.jpg", "mask_cihp/Camera_B2/000001.png"])
def test_what_is_listed_and_not_on_disk_is_named(write_zju: WriteZju, tmp_path: Path, lost: str) -> None:
    folder = write_zju(num_cameras=3, num_frames=3).path
    (folder / lost).rename(tmp_path / "lost")
    message = lost if lost.endswith("g") else f"{lost}/000000.jpg .and 1 more files."
    with pytest.raises(ValueError, match=rf"{message} does not exist.*--train-cameras"):
        _parser(folder).read_frames("train")


def test_files_that_are_not_used_may_be_absent(write_zju: WriteZju) -> None:
    folder = write_zju(num_cameras=3, num_frames=3).path
    (folder / "Camera_B2/000001.jpg").unlink()
    assert len(_parser(folder, train_cameras=(0,), test_cameras=(2,)).read_frames("train")) == 2


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_images_of_another_size_than_the_calibration_are_told(write_zju: WriteZju, scale: float) -> None:
    folder = write_zju(num_cameras=2, num_frames=2).path
    for file in folder.rglob("Camera_B1/*"):
        image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(file), cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST))
    size = int(48 * scale)
    with pytest.raises(ValueError, match=rf"000000\.jpg is {size}x{size} pixels.*principal point.*45x49"):
        _parser(folder).read_frames("train")


def test_a_published_sequence_without_its_unseen_frames_is_told(write_zju: WriteZju) -> None:
    folder = write_zju(name="CoreView_377", num_cameras=1, num_frames=2).path
    with pytest.raises(ValueError, match=r"lists 2 frames, but the unseen frames are 300 to 616"):
        _parser(folder, num_train_frames=1).read_frames("test")


def test_a_test_camera_that_trained_is_not_called_a_novel_view(write_zju: WriteZju) -> None:
    frames = _parser(write_zju(num_cameras=1, num_frames=3).path).read_frames("test")
    assert frames.split_labels == ("train", "novel_pose")


def test_the_parser_carries_time(write_zju: WriteZju) -> None:
    parser = _parser(write_zju(num_cameras=2, num_frames=3).path)
    assert parser.includes_time
    outputs = parser.get_dataparser_outputs("train")
    assert outputs.cameras.times is not None
    assert outputs.cameras.times.flatten().tolist() == [0.0, 0.5]
