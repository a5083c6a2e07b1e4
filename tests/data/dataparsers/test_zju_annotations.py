"""`annots.npy`: units, layouts, and every way in which it can be broken."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from human_avatars.data.dataparsers.zju_annotations import read_zju_annotations

Change = Callable[[dict[str, Any]], object]


def _annotations(num_cameras: int = 2, num_frames: int = 3) -> dict[str, Any]:
    cameras = {
        "K": [np.array([[100.0, 0, 32], [0, 100, 32], [0, 0, 1]])] * num_cameras,
        "D": [np.array([[0.1], [0.2], [0.3], [0.4], [0.5]])] * num_cameras,
        "R": [np.eye(3)] * num_cameras,
        "T": [np.array([[100.0], [-200.0], [3000.0]])] * num_cameras,
    }
    return {
        "cams": cameras,
        "ims": [{"ims": [f"C{c}/{f:06d}.jpg" for c in range(num_cameras)]} for f in range(num_frames)],
    }


def _write(folder: Path, content: object) -> Path:
    np.save(folder / "annots.npy", content, allow_pickle=True)  # type: ignore[arg-type]
    return folder


def test_entries_are_read_by_camera_and_frame(tmp_path: Path) -> None:
    annotations = read_zju_annotations(_write(tmp_path, _annotations()))
    assert annotations.camera_names == ("C0", "C1")
    assert annotations.images[2] == ("C0/000002.jpg", "C1/000002.jpg")
    assert annotations.file_numbers == (0, 1, 2)
    assert annotations.distortions[1].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_millimetres_and_metres_give_the_same_cameras(tmp_path: Path) -> None:
    content = _annotations()
    in_millimetres = read_zju_annotations(_write(tmp_path, content)).world_to_cameras
    content["cams"]["T"] = [translation.ravel() / 1000 for translation in content["cams"]["T"]]
    in_metres = read_zju_annotations(_write(tmp_path, content)).world_to_cameras
    assert in_metres[0, :3, 3].tolist() == [0.1, -0.2, 3.0]
    torch.testing.assert_close(in_millimetres, in_metres)


def test_image_lists_may_be_arrays(tmp_path: Path) -> None:
    content = _annotations()
    content["ims"] = np.array([{"ims": np.array(frame["ims"])} for frame in content["ims"]])
    assert read_zju_annotations(_write(tmp_path, content)).num_frames == 3


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"annots\.npy does not exist.*--data"):
        read_zju_annotations(tmp_path)


@pytest.mark.parametrize("size", [0, 4, 60, 400])
def test_a_file_that_is_cut_off_is_named(tmp_path: Path, size: int) -> None:
    file = _write(tmp_path, _annotations()) / "annots.npy"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"annots\.npy is not a whole"):
        read_zju_annotations(tmp_path)


class _Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_code_in_the_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    content = _annotations()
    content["note"] = _Payload(tmp_path / "ran")
    with pytest.raises(ValueError, match=r"annots\.npy is a pickle that asks for"):
        read_zju_annotations(_write(tmp_path, content))
    assert not (tmp_path / "ran").exists()


def _without(key: str) -> Change:
    return lambda content: content["cams"].pop(key)


def _with(key: str, camera: int, value: object) -> Change:
    def change(content: dict[str, Any]) -> None:
        content["cams"][key] = [*content["cams"][key]]
        content["cams"][key][camera] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("cams"), "dictionary of 'ims'.*expected a dictionary with 'cams'"),
        (lambda content: content.pop("ims"), "expected a dictionary with 'cams'.*'ims'"),
        (lambda content: content["ims"].clear(), "'ims'"),
        (_without("K"), r"cams\['K'\] lists 0 cameras"),
        (lambda content: content["cams"]["T"].pop(), r"cams\['T'\] lists 1 cameras, expected 2"),
        (_with("K", 1, np.eye(4)), r"cams\['K'\] of camera 1 has shape \(4, 4\).*9 numbers"),
        (_with("D", 0, np.zeros(4)), r"cams\['D'\] of camera 0 has shape \(4,\)"),
        (_with("R", 1, np.full((3, 3), np.nan)), r"cams\['R'\] of camera 1 holds NaN"),
        (_with("R", 1, np.diag([1.0, 1.0, 2.0])), r"cams\['R'\] of camera 1 is no rotation"),
        (_with("R", 0, np.diag([1.0, 1.0, -1.0])), r"cams\['R'\] of camera 0 is no rotation"),
        (_with("T", 1, np.array(["a", "b", "c"])), r"cams\['T'\] of camera 1"),
        (lambda content: content["ims"][1]["ims"].pop(), r"ims\[1\] lists 1 images for 2"),
        (lambda content: content["ims"][2].clear(), r"ims\[2\] lists 0 images"),
        (
            lambda content: content["ims"][2].update(ims=["a.jpg", "b.jpg"]),
            r"cannot tell the frame number of image 'a\.jpg'",
        ),
    ],
)
def test_wrong_contents_are_named(tmp_path: Path, change: Change, message: str) -> None:
    content = _annotations()
    content["ims"] = [{"ims": [*frame["ims"]]} for frame in content["ims"]]
    change(content)
    with pytest.raises(ValueError, match=rf"annots\.npy.*{message}"):
        read_zju_annotations(_write(tmp_path, content))


@pytest.mark.parametrize("content", [np.zeros(3), "a note"])
def test_another_kind_of_file_is_told(tmp_path: Path, content: object) -> None:
    with pytest.raises(ValueError, match=r"annots\.npy holds .*expected a dictionary"):
        read_zju_annotations(_write(tmp_path, content))


def test_a_plain_pickle_is_told(tmp_path: Path) -> None:
    (tmp_path / "annots.npy").write_bytes(pickle.dumps(_annotations()))
    with pytest.raises(ValueError, match=r"annots\.npy is not a whole \.npy"):
        read_zju_annotations(tmp_path)


def test_a_folder_in_the_other_layout_gets_the_other_parsers_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"CoreView_313, with --data\.$"):
        read_zju_annotations(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match="end the command with gaussian-avatar-data"):
        read_zju_annotations(tmp_path)
