"""Each way in which a folder in GaussianAvatar's layout can be wrong is told in one error with its cure."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from human_avatars.data.dataparsers.gaussian_avatar import GaussianAvatarDataParserConfig

Write = Callable[..., Any]
Damage = Callable[[Path], object]


def _read(folder: Path, **options: Any) -> None:
    GaussianAvatarDataParserConfig(data=folder, **options).setup().read_frames("train")


def _change_fit(**changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / "train/smpl_parms.pth"
        fit = torch.load(file, weights_only=True) | changes
        torch.save({name: value for name, value in fit.items() if value is not None}, file)

    return damage


def _save_fit(content: object) -> Damage:
    return lambda folder: torch.save(content, folder / "train/smpl_parms.pth")


def _change_camera(**changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / "train/cam_parms.npz"
        camera = dict(np.load(file)) | changes
        np.savez(file, **{name: value for name, value in camera.items() if value is not None})

    return damage


def _remove(name: str) -> Damage:
    def damage(folder: Path) -> None:
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()

    return damage


def _truncate(name: str) -> Damage:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return damage


def _stray(file: Path) -> None:
    file.write_bytes(b"stray")


POSES, PLACES = torch.zeros(4, 72), torch.zeros(4, 3)
MIRROR = np.diag([1.0, 1.0, -1.0, 1.0])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_remove("train/images"), r"train/images does not exist: expected the photographs"),
        (_remove("train/masks"), r"train/masks does not exist: expected the masks"),
        (_remove("test/masks"), r"test/masks does not exist"),
        (_remove("train/masks/000001.png"), r"4 images and 3 masks, and \S*images/000001.png has no mask"),
        (_remove("train/images/000001.png"), r"3 images and 4 masks, and \S*masks/000001.png has no image"),
        (_remove("train/cam_parms.npz"), r"neither cam_parms.npz nor a folder cam_parms"),
        (_remove("train/smpl_parms.pth"), r"train/smpl_parms.pth does not exist"),
        (_remove("test/smpl_parms.pth"), r"test/smpl_parms.pth does not exist"),
        (_truncate("train/smpl_parms.pth"), r"smpl_parms.pth cannot be read as tensors \(\w+\)"),
        (_truncate("train/cam_parms.npz"), r"cam_parms.npz is not a whole .npz"),
        (_truncate("capture.json"), r"capture.json is not valid JSON"),
        (lambda folder: _stray(folder / "train/images/000000.png"), r"000000.png cannot be read as an image"),
        (lambda folder: _stray(folder / "train/smpl_parms.pth"), r"smpl_parms.pth cannot be read as tensors"),
        (_save_fit([POSES]), r"no tensor 'beta', 'body_pose', 'trans' \(it holds a list\)"),
        (_save_fit({"betas": torch.zeros(1, 10)}), r"no tensor 'beta', 'body_pose', 'trans' \(it holds 'betas'\)"),
        (_change_fit(trans=None), r"no tensor 'trans' \(it holds 'beta', 'body_pose'\)"),
        (_change_fit(trans=np.zeros((4, 3))), r"cannot be read as tensors \(UnpicklingError\).*torch.as_tensor"),
        (_change_fit(body_pose=POSES[:3]), r"3 poses in 'body_pose', but 4 places in 'trans'"),
        (_change_fit(body_pose=POSES[:3], trans=PLACES[:3]), r"3 poses for 4 images"),
        (_change_fit(body_pose=POSES.reshape(4, 24, 3)), r"'body_pose' has shape \(4, 24, 3\), expected frames x"),
        (_change_fit(trans=torch.zeros(4, 2)), r"'trans' has shape \(4, 2\), expected frames x 3"),
        (_change_fit(beta=torch.zeros(10)), r"'beta' has shape \(10,\), expected 1 x"),
        (_change_fit(trans=PLACES.index_fill(0, torch.tensor(2), torch.nan)), r"'trans' holds NaN .* in row 2"),
        (_change_camera(extrinsic=None), r"cam_parms.npz has no 'extrinsic' \(it holds 'intrinsic'\)"),
        (_change_camera(extrinsic=np.eye(3)), r"'extrinsic' \(3, 3\), expected"),
        (_change_camera(extrinsic=MIRROR), r"'extrinsic' holds no rotation matrix"),
        (_change_camera(intrinsic=np.full((3, 3), np.nan)), r"'intrinsic' is of float64 or holds NaN"),
        (_change_camera(intrinsic=np.zeros((3, 3))), r"expected focal lengths above zero"),
        (_change_camera(intrinsic=np.array([[99, 0, 96], [0, 99, 80], [0, 0, 1]])), r"48x40 .* about 191x159"),
        (_change_camera(extrinsic=np.array([{}])), r"cam_parms.npz is not a whole .npz of plain arrays"),
    ],
)
def test_what_is_wrong_is_named(write_gaussian_avatar: Write, damage: Damage, message: str) -> None:
    folder = write_gaussian_avatar().path
    damage(folder)
    with pytest.raises(ValueError, match=message) as raised:
        _read(folder)
    assert "weights_only" not in str(raised.value), "nobody is told to read without the restriction"


def test_smplx_poses_need_a_smplx_body(write_gaussian_avatar: Write) -> None:
    folder = write_gaussian_avatar().path
    _change_fit(body_pose=torch.zeros(4, 165))(folder)
    with pytest.raises(ValueError, match=r"165 numbers per frame, but the packaged open body takes 72.*SMPL-X's"):
        _read(folder)


def test_more_poses_than_images_are_cut_off_with_a_warning(write_gaussian_avatar: Write) -> None:
    folder = write_gaussian_avatar().path
    for kind in ("images", "masks"):
        (folder / "train" / kind / "000004.png").unlink()
    with pytest.warns(UserWarning, match=r"4 poses for 3 images: the first 3"):
        _read(folder)


def test_a_missing_folder_names_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"{tmp_path}/nobody has no train folder.*{tmp_path}.*--data"):
        _read(Path("nobody"))


def test_a_moving_camera_needs_a_file_per_image(write_gaussian_avatar: Write) -> None:
    folder = write_gaussian_avatar(moving_camera=True).path
    (folder / "train/cam_parms/000003.npz").unlink()
    with pytest.raises(ValueError, match=r"cam_parms/000003.npz does not exist, but its image does"):
        _read(folder)


def test_images_of_a_moving_camera_may_differ_in_size_and_are_all_checked(write_gaussian_avatar: Write) -> None:
    folder = write_gaussian_avatar(moving_camera=True).path
    file = folder / "train/images/000003.png"
    cv2.imwrite(str(file), cv2.resize(cv2.imread(str(file)), None, fx=3, fy=3))
    with pytest.raises(ValueError, match=r"000003.png is 144x120 pixels.*of about 46x40"):
        _read(folder)


def test_companions_that_other_systems_leave_are_passed_over(write_gaussian_avatar: Write) -> None:
    folder = write_gaussian_avatar().path
    for name in ("images/._000000.png", "images/Thumbs.db", "masks/.DS_Store"):
        _stray(folder / "train" / name)
    _read(folder)


def test_a_scale_of_zero_is_refused(write_gaussian_avatar: Write) -> None:
    with pytest.raises(ValueError, match=r"--image-scale is 0\.0"):
        _read(write_gaussian_avatar().path, image_scale=0.0)
