"""A tiny folder in GaussianAvatar's layout, written from the layout's description."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from human_avatars.body_models.base_body_model import BodyModel, BodyPose

SIZE = (40, 48)
"""Height and width of the images."""
INTRINSIC = np.array([[62.0, 0, 23.5], [0, 60.0, 20.75], [0, 0, 1]])
"""As on disk: a point that projects to (0.5, 0.5) lies at the first pixel's centre."""


@dataclass(frozen=True)
class GaussianAvatarFolder:
    """What was written."""

    path: Path
    vertices: np.ndarray
    """(frames, vertices, 3) world positions, in metres: the training frames, then the test frames."""
    extrinsics: np.ndarray
    """(frames, 4, 4) world to camera."""
    betas: np.ndarray


WriteGaussianAvatar = Callable[..., GaussianAvatarFolder]


@pytest.fixture
def write_gaussian_avatar(tmp_path: Path, open_body: BodyModel) -> WriteGaussianAvatar:
    """Writes a folder with the given image names and returns what is in it."""

    def write(
        train: Sequence[str] = ("000000", "000001", "000003", "000004"),
        test: Sequence[str] | None = ("000002", "000005"),
        moving_camera: bool = False,
        capture_record: str | None = '{"body_model": "open"}',
        num_betas: int = 10,
    ) -> GaussianAvatarFolder:
        folder = tmp_path / "person"
        rng = np.random.default_rng(0)
        betas = rng.normal(size=num_betas).astype(np.float32) * 0.5
        vertices, extrinsics = [], []
        for split, names in (("train", train), ("test", test)):
            if names is None:
                continue
            (folder / split).mkdir(parents=True)
            fit = _random_fit(len(names), open_body.num_joints, betas, rng)
            torch.save(fit, folder / split / "smpl_parms.pth")
            posed = _posed(open_body, fit)
            cameras = (
                [_camera(rng) for _ in names] if moving_camera else [_camera(np.random.default_rng(1))] * len(names)
            )
            _write_cameras(folder / split, names, cameras, moving_camera)
            for name, body, camera in zip(names, posed, cameras, strict=True):
                _write_images(folder / split, name, body, camera, rng)
            vertices.append(posed)
            extrinsics.append(np.stack(cameras))
        if capture_record is not None:
            (folder / "capture.json").write_text(capture_record)
        return GaussianAvatarFolder(folder, np.concatenate(vertices), np.concatenate(extrinsics), betas)

    return write


def _random_fit(
    num_frames: int, num_joints: int, betas: np.ndarray, rng: np.random.Generator
) -> dict[str, torch.Tensor]:
    poses = rng.normal(scale=0.1, size=(num_frames, num_joints, 3))
    # A y-up body before a camera whose world has y down, as monocular captures have it.
    poses[:, 0, 0] += np.pi
    transl = rng.normal(scale=0.1, size=(num_frames, 3)) + np.array([0, 0, 3.4])
    return {
        "beta": torch.from_numpy(betas[None]),
        "body_pose": torch.from_numpy(poses.reshape(num_frames, -1)).float(),
        "trans": torch.from_numpy(transl).float(),
    }


def _posed(body: BodyModel, fit: dict[str, torch.Tensor]) -> np.ndarray:
    betas = torch.zeros(body.num_betas)
    betas[: fit["beta"].shape[1]] = fit["beta"][0, : body.num_betas]
    joints = fit["body_pose"].reshape(len(fit["body_pose"]), -1, 3)
    return body.with_shape(betas).with_pose(BodyPose.from_axis_angle(joints, fit["trans"])).vertices.numpy()


def _camera(rng: np.random.Generator) -> np.ndarray:
    extrinsic = np.eye(4)
    extrinsic[:3, :3] = cv2.Rodrigues(rng.normal(scale=0.03, size=3))[0]
    extrinsic[:3, 3] = rng.normal(scale=0.05, size=3)
    return extrinsic


def _write_cameras(folder: Path, names: Sequence[str], cameras: list[np.ndarray], moving: bool) -> None:
    if not moving:
        np.savez(folder / "cam_parms.npz", intrinsic=INTRINSIC, extrinsic=cameras[0])
        return
    (folder / "cam_parms").mkdir()
    for name, camera in zip(names, cameras, strict=True):
        np.savez(folder / "cam_parms" / f"{name}.npz", intrinsic=INTRINSIC, extrinsic=camera)


def _write_images(folder: Path, name: str, vertices: np.ndarray, camera: np.ndarray, rng: np.random.Generator) -> None:
    pixels, _ = cv2.projectPoints(vertices, camera[:3, :3], camera[:3, 3], INTRINSIC, np.zeros(5))
    columns, rows = np.floor(pixels[:, 0]).astype(int).T
    visible = (columns >= 0) & (columns < SIZE[1]) & (rows >= 0) & (rows < SIZE[0])
    mask = np.zeros(SIZE, np.uint8)
    mask[rows[visible], columns[visible]] = 255
    files: dict[str, Any] = {
        "images": rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8),
        "masks": cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)),
    }
    for kind, array in files.items():
        (folder / kind).mkdir(exist_ok=True)
        assert cv2.imwrite(str(folder / kind / f"{name}.png"), array)
