"""The monocular capture on disk is what GaussianAvatar's loader would take, and says what was filmed."""

import filecmp
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from human_avatars.body_models.base_body_model import BodyModel, BodyPose
from human_avatars.capture import gaussian_avatar_writer
from human_avatars.capture.capture_config import CaptureConfig, NoiseConfig
from human_avatars.capture.footage import shoot
from human_avatars.capture.gaussian_avatar_writer import write_gaussian_avatar
from human_avatars.capture.staging import stage_capture

SPIN = CaptureConfig(
    frames=12,
    size=64,
    training_cameras=(4, 0),
    motion="apose_spin",
    unseen_motion="apose_spin",
    betas=(1.0, -0.5, *[0.0] * 8),
)
TRAIN, TEST = [0, 1, 3, 4, 5, 6, 7], [2, 8, 9, 10, 11]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny spin; no test may write into it."""
    path = tmp_path_factory.mktemp("captures") / "spin"
    write_gaussian_avatar(path, SPIN, workers=1)
    return path


def differing_files(first: Path, second: Path) -> set[str]:
    names = {str(path.relative_to(first)) for path in first.rglob("*") if path.is_file()}
    assert names == {str(path.relative_to(second)) for path in second.rglob("*") if path.is_file()}
    return {name for name in names if not filecmp.cmp(first / name, second / name, shallow=False)}


@pytest.mark.parametrize(("split", "frames"), [("train", TRAIN), ("test", TEST)])
def test_the_layout_is_gaussian_avatars(folder: Path, open_body: BodyModel, split: str, frames: list[int]) -> None:
    names = [f"{frame:06d}.png" for frame in frames]
    for kind in ("images", "masks"):
        assert sorted(path.name for path in (folder / split / kind).iterdir()) == names
    image = cv2.imread(str(folder / split / "images" / names[0]), cv2.IMREAD_UNCHANGED)
    mask = cv2.imread(str(folder / split / "masks" / names[0]), cv2.IMREAD_UNCHANGED)
    assert image.shape == (64, 64, 3)
    assert mask.shape == (64, 64)
    assert set(np.unique(mask)) == {0, 255}
    assert image[mask > 0].mean() > 30
    assert not image[cv2.dilate(mask, np.ones((5, 5))) == 0].any(), "the background is black"
    camera = np.load(folder / split / "cam_parms.npz")
    assert {name: camera[name].shape for name in camera.files} == {"intrinsic": (3, 3), "extrinsic": (4, 4)}
    fit = torch.load(folder / split / "smpl_parms.pth", weights_only=True)
    assert {name: tuple(tensor.shape) for name, tensor in fit.items()} == {
        "beta": (1, open_body.num_betas),
        "body_pose": (len(frames), 3 * open_body.num_joints),
        "trans": (len(frames), 3),
    }
    assert {tensor.dtype for tensor in fit.values()} == {torch.float32}


def test_the_parameters_are_the_filmed_body_in_smplxs_convention(folder: Path, open_body: BodyModel) -> None:
    stage = stage_capture(replace(SPIN, training_cameras=(4,), test_cameras=()))
    for split, frames in (("train", TRAIN), ("test", TEST)):
        fit = torch.load(folder / split / "smpl_parms.pth", weights_only=True)
        joints = fit["body_pose"].reshape(len(frames), -1, 3)
        posed = open_body.with_shape(fit["beta"]).with_pose(BodyPose.from_axis_angle(joints, fit["trans"]))
        for row in (0, -1):
            expected = shoot(stage, frames[row]).vertices
            np.testing.assert_allclose(posed.vertices[row].numpy(), expected, atol=2e-6)


def test_the_camera_is_the_first_training_one_and_counts_pixels_from_their_corners(folder: Path) -> None:
    stage = stage_capture(replace(SPIN, training_cameras=(4,), test_cameras=()))
    (camera,) = stage.cameras
    assert camera.name == "Camera_B5"
    for split in ("train", "test"):
        written = np.load(folder / split / "cam_parms.npz")
        np.testing.assert_allclose(written["extrinsic"][:3, :3], camera.rotation)
        np.testing.assert_allclose(written["extrinsic"][:3, 3], camera.translation)
        np.testing.assert_array_equal(written["extrinsic"][3], [0, 0, 0, 1])
        # The middle of the image: 32 pixels from its edge.
        np.testing.assert_allclose(written["intrinsic"][:2, 2], [32, 32])
        np.testing.assert_allclose(written["intrinsic"][0, 0], camera.intrinsics[0, 0])


def test_the_last_third_goes_on_turning(folder: Path) -> None:
    poses = [
        torch.load(folder / split / "smpl_parms.pth", weights_only=True)["body_pose"] for split in ("train", "test")
    ]
    orients = torch.cat(poses)[np.argsort(TRAIN + TEST), :3].double().numpy()
    facing = np.stack([cv2.Rodrigues(orient)[0][:, 2] for orient in orients])
    headings = np.unwrap(np.arctan2(facing[:, 1], facing[:, 0]))
    np.testing.assert_allclose(np.diff(headings), np.full(11, 2 * np.pi / 12), atol=0.02)


def test_capture_json_names_the_body_and_how_to_film_it_again(folder: Path) -> None:
    record = json.loads((folder / "capture.json").read_text())
    assert record["body_model"] == "open"
    assert record["options"]["training_cameras"] == [4]
    assert record["options"]["test_cameras"] == []


def test_workers_do_not_change_a_byte(folder: Path, tmp_path: Path) -> None:
    write_gaussian_avatar(tmp_path / "again", SPIN, workers=2)
    assert differing_files(folder, tmp_path / "again") == set()


@pytest.mark.parametrize(
    ("noise", "changed"),
    [
        (NoiseConfig(pose_noise_degrees=2.0), {"smpl_parms.pth"}),
        (NoiseConfig(place_noise_centimetres=2.0), {"smpl_parms.pth"}),
        (NoiseConfig(mask_noise_pixels=1.0), {"masks"}),
        (NoiseConfig(calibration_noise_degrees=0.5), {"cam_parms.npz"}),
    ],
)
def test_noise_changes_only_what_it_says(folder: Path, tmp_path: Path, noise: NoiseConfig, changed: set[str]) -> None:
    write_gaussian_avatar(tmp_path / "noisy", replace(SPIN, noise=noise), workers=1)
    files = differing_files(folder, tmp_path / "noisy") - {"capture.json"}
    assert {name.split("/")[1] for name in files} == changed


@pytest.mark.parametrize(("frames", "test"), [(3, {2}), (4, {3}), (6, {2, 4, 5}), (30, {2, 7, 12, 17, *range(20, 30)})])
def test_every_fifth_frame_and_the_last_third_test(frames: int, test: set[int]) -> None:
    options = replace(SPIN, frames=frames)
    assert {frame for frame in range(frames) if gaussian_avatar_writer._split_of(options, frame) == "test"} == test


def test_bad_options_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="training_cameras names no place"):
        write_gaussian_avatar(tmp_path / "capture", replace(SPIN, training_cameras=()))
    with pytest.raises(ValueError, match="workers is 0"):
        write_gaussian_avatar(tmp_path / "capture", SPIN, workers=0)
    assert list(tmp_path.iterdir()) == []
