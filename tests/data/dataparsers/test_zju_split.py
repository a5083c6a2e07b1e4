"""What trains and what tests: options before capture.json before the published table before the default."""

import json
from pathlib import Path

import pytest
import torch

from human_avatars.data.dataparsers.zju_annotations import ZjuAnnotations
from human_avatars.data.dataparsers.zju_split import SplitOptions, choose_split


def _annotations(num_cameras: int, num_frames: int) -> ZjuAnnotations:
    return ZjuAnnotations(
        path=Path("annots.npy"),
        intrinsics=torch.eye(3).expand(num_cameras, 3, 3),
        distortions=torch.zeros(num_cameras, 5),
        world_to_cameras=torch.eye(4).expand(num_cameras, 4, 4),
        images=tuple(tuple(f"Camera_B{c}/{f}.jpg" for c in range(num_cameras)) for f in range(num_frames)),
        file_numbers=tuple(range(num_frames)),
    )


def test_a_published_sequence_is_split_as_published() -> None:
    split = choose_split(Path("zju/CoreView_313"), _annotations(21, 1470), SplitOptions())
    assert split.train_cameras == (0, 6, 12, 18)
    assert split.test_cameras == (1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 19, 20)
    assert split.train_frames == tuple(range(60))
    assert split.novel_pose_frames == tuple(range(60, 1060))
    # Every thirtieth frame from the test cameras: the 34 images of the published tables.
    assert len(split.train_frames[::30]) * len(split.test_cameras) == 34


def test_unseen_frames_may_come_first() -> None:
    split = choose_split(Path("390"), _annotations(23, 1171), SplitOptions())
    assert split.motion_frames == tuple(range(1000))
    assert split.train_frames[0] == 700


def test_an_interval_thins_both_ranges() -> None:
    options = SplitOptions(begin_frame=2, num_train_frames=3, frame_interval=4, novel_pose_frames=(20, 29))
    split = choose_split(Path("capture"), _annotations(5, 30), options)
    assert split.train_frames == (2, 6, 10)
    assert split.novel_pose_frames == (20, 24, 28)


def test_a_longer_training_range_eats_published_unseen_frames() -> None:
    split = choose_split(Path("377"), _annotations(23, 617), SplitOptions(num_train_frames=310))
    assert split.novel_pose_frames == tuple(range(310, 617))


def test_equal_numbers_mean_no_unseen_frames() -> None:
    split = choose_split(Path("capture"), _annotations(5, 9), SplitOptions(novel_pose_frames=(0, 0)))
    assert split.novel_pose_frames == ()


def test_the_capture_says_its_own_split(tmp_path: Path) -> None:
    content = {"training_cameras": ["Camera_B3", "Camera_B1"], "training_frames": 4}
    (tmp_path / "capture.json").write_text(json.dumps(content))
    split = choose_split(tmp_path, _annotations(5, 10), SplitOptions())
    assert (split.train_cameras, split.test_cameras) == ((3, 1), (0, 2, 4))
    assert (split.train_frames, split.novel_pose_frames) == ((0, 1, 2, 3), (4, 5, 6, 7, 8, 9))
    overridden = choose_split(tmp_path, _annotations(5, 10), SplitOptions(train_cameras=(0,), test_cameras=(4,)))
    assert (overridden.train_cameras, overridden.test_cameras) == ((0,), (4,))


def test_a_single_camera_trains_and_tests() -> None:
    split = choose_split(Path("capture"), _annotations(1, 3), SplitOptions())
    assert split.train_cameras == split.test_cameras == (0,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SplitOptions(train_cameras=(0, 5)), r"calibrates 5 cameras .*--train-cameras asks for \(0, 5\)"),
        (SplitOptions(train_cameras=()), r"--train-cameras asks for \(\)"),
        (SplitOptions(test_cameras=(1, 1)), "--test-cameras"),
        (SplitOptions(num_train_frames=31), "lists 30 frames, but the training frames are 0 to 30"),
        (SplitOptions(begin_frame=-1), "training frames are -1 to"),
        (SplitOptions(num_train_frames=0), "expected at least 1"),
        (SplitOptions(novel_pose_frames=(20, 31)), "lists 30 frames, but the unseen frames are 20 to 30"),
        (SplitOptions(novel_pose_frames=(25, 22)), "names no frame"),
        (SplitOptions(novel_pose_frames=(19, 30)), "frame 19 is in the training range"),
    ],
)
def test_what_is_not_there_is_told(options: SplitOptions, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_split(Path("capture"), _annotations(5, 30), options)


def test_a_motion_without_its_published_test_frames_is_told() -> None:
    with pytest.raises(
        ValueError, match=r"lists 600 frames, but the unseen frames are 60 to 1059.*--novel-pose-frames"
    ):
        choose_split(Path("CoreView_313"), _annotations(21, 600), SplitOptions())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "holds a list"),
        ('{"training_cameras": ["Camera_B9"]}', "Camera_B9.*expected names among Camera_B0"),
        ('{"training_cameras": []}', "expected names among"),
        ('{"training_frames": 11}', "'training_frames' is 11, expected a count from 1 to 10"),
        ('{"training_frames": "all"}', "'training_frames' is 'all'"),
    ],
)
def test_a_broken_capture_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "capture.json").write_text(text)
    with pytest.raises(ValueError, match=rf"capture\.json.*{message}"):
        choose_split(tmp_path, _annotations(5, 10), SplitOptions())
