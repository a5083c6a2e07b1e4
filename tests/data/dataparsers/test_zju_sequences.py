"""The published split of ZJU-MoCap and the rules for other captures."""

from pathlib import Path

import pytest

from human_avatars.data.dataparsers.zju_sequences import (
    PUBLISHED_SEQUENCES,
    default_sequence_frames,
    default_training_cameras,
    file_number,
    published_sequence,
)


@pytest.mark.parametrize(
    ("folder", "sequence"),
    [
        ("zju/CoreView_313", "313"),
        ("zju/313", "313"),
        ("zju/377/", "377"),
        ("zju/demo", None),
        ("zju/CoreView_999", None),
        ("zju/CoreView_313_copy", None),
    ],
)
def test_sequences_are_known_by_their_folder(folder: str, sequence: str | None) -> None:
    assert published_sequence(Path(folder)) == sequence


def test_a_relative_folder_is_known_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "CoreView_386").mkdir()
    monkeypatch.chdir(tmp_path / "CoreView_386")
    assert published_sequence(Path(".")) == "386"


def test_published_unseen_frames_are_unseen() -> None:
    for frames in PUBLISHED_SEQUENCES.values():
        train = range(frames.begin, frames.begin + frames.num_train)
        assert not set(train) & set(range(*(frames.novel_poses or (0, 0))))


@pytest.mark.parametrize(
    ("total", "num_train", "novel"), [(60, 40, (40, 60)), (3, 2, (2, 3)), (2, 1, (1, 2)), (1, 1, None)]
)
def test_two_thirds_of_an_unknown_capture_train(total: int, num_train: int, novel: tuple[int, int] | None) -> None:
    frames = default_sequence_frames(total)
    assert (frames.begin, frames.num_train, frames.novel_poses) == (0, num_train, novel)


@pytest.mark.parametrize(
    ("count", "cameras"),
    [
        (23, (0, 6, 12, 18)),
        (21, (0, 6, 12, 18)),
        (8, (0, 2, 4, 6)),
        (5, (0, 1, 2, 3)),
        (4, (0, 1, 2)),
        (2, (0,)),
        (1, (0,)),
    ],
)
def test_training_cameras_leave_one_to_test_with(count: int, cameras: tuple[int, ...]) -> None:
    assert default_training_cameras(count) == cameras


@pytest.mark.parametrize(
    ("image", "number"),
    [
        ("Camera_B1/000012.jpg", 12),
        ("00/000000.jpg", 0),
        ("Camera (1)/CoreView_313_Camera_(1)_0001_2019-08-23_16-08-50.592.jpg", 1),
        ("Camera (23)/CoreView_315_Camera_(23)_2185_2019-08-23_16-08-50.592.jpg", 2185),
    ],
)
def test_the_name_of_an_image_numbers_its_frame(image: str, number: int) -> None:
    assert file_number(image) == number


def test_an_image_without_a_number_is_named() -> None:
    with pytest.raises(ValueError, match=r"frame_one\.jpg.*Rename"):
        file_number("Camera_B1/frame_one.jpg")
