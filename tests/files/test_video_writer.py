"""Videos hold the frames that were given, whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from human_avatars.files.video_writer import write_video


def _grey_frames(levels: list[int], height: int = 32, width: int = 48) -> Iterator[np.ndarray]:
    for level in levels:
        yield np.full((height, width, 3), level, dtype=np.uint8)


def test_frames_come_back_in_order_and_colour(tmp_path: Path) -> None:
    levels = [0, 60, 120, 180, 250]
    write_video(tmp_path / "grey.mp4", _grey_frames(levels), frames_per_second=10)
    with av.open(str(tmp_path / "grey.mp4")) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 10
    assert [frame.shape for frame in decoded] == [(32, 48, 3)] * len(levels)
    assert np.abs([frame.mean() for frame in decoded] - np.array(levels)).max() < 4


def test_odd_sizes_lose_one_row_and_column(tmp_path: Path) -> None:
    write_video(tmp_path / "odd.mp4", _grey_frames([10, 20], height=33, width=49), frames_per_second=5)
    with av.open(str(tmp_path / "odd.mp4")) as container:
        assert (container.streams.video[0].height, container.streams.video[0].width) == (32, 48)


def test_an_interrupted_video_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    write_video(path, _grey_frames([1, 2]), frames_per_second=5)
    before = path.read_bytes()

    def broken() -> Iterator[np.ndarray]:
        yield from _grey_frames([3])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, broken(), frames_per_second=5)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_no_frames_and_wrong_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no frames"):
        write_video(tmp_path / "empty.mp4", iter(()), frames_per_second=5)
    with pytest.raises(ValueError, match=r"\.mp4"):
        write_video(tmp_path / "video.avi", _grey_frames([1]), frames_per_second=5)
    assert list(tmp_path.iterdir()) == []
