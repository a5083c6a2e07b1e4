"""The demo on disk in the layout of GaussianAvatar (Hu et al. 2024): one still camera before a turning person."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from scipy.spatial.transform import Rotation

from human_avatars.capture.capture_config import CaptureConfig
from human_avatars.capture.filming import film_frames, set_stage
from human_avatars.capture.footage import Footage, Stage
from human_avatars.capture.picture_files import write_png
from human_avatars.files.safe_writes import fresh_folder

CAPTURE_FORMAT_VERSION = 1
OPEN_BODY = "open"
"""What capture.json calls the packaged open body."""
FOREGROUND = 255
"""Value of the person in `masks/`; the original takes 128 and more."""
FIRST_IN_BETWEEN, IN_BETWEEN_INTERVAL = 2, 5
"""Every fifth frame from the third on is kept from training, as the original's converter does."""
HALF_PIXEL = 0.5
"""From camera matrices whose integer coordinates are pixel centres to the original's, where they are pixel corners."""


@dataclass(frozen=True)
class _Fit:
    """The fitted body of one frame, in smplx's convention."""

    pose: Float32[np.ndarray, "joints 3"]
    transl: Float32[np.ndarray, "3"]


def write_gaussian_avatar(
    output: Path, options: CaptureConfig, overwrite: bool = False, workers: int | None = None
) -> None:
    """Film a capture in GaussianAvatar's layout from the first training camera alone.

    `train/` holds the first two thirds of the frames but every fifth; `test/` holds those, which lie between training
    frames, and the last third, which comes after them. Images are named by their frame, so readers can tell which is
    which. `capture.json` says whose body it is, and how to film the same again.

    Args:
        output: The folder to write; it appears when it is whole.
        options: What to film; all its cameras but the first training one are left out.
        overwrite: Whether a non-empty folder at `output` may be replaced.
        workers: Processes that film; by default one per core where the capture is worth it. The files are the same.

    Raises:
        ValueError: An option is out of range, or `output` holds something and `overwrite` is off.
    """
    options = replace(options, training_cameras=options.training_cameras[:1], test_cameras=())
    record = {"version": CAPTURE_FORMAT_VERSION, "body_model": OPEN_BODY, "options": asdict(options)}
    with fresh_folder(output, overwrite) as folder:
        stage = set_stage(options)
        for split in ("train", "test"):
            for kind in ("images", "masks"):
                (folder / split / kind).mkdir(parents=True)
        fits = film_frames(folder, stage, workers, _write_frame)
        for split in ("train", "test"):
            members = [fit for frame, fit in enumerate(fits) if _split_of(options, frame) == split]
            _write_camera(folder / split / "cam_parms.npz", stage)
            _write_fits(folder / split / "smpl_parms.pth", stage, members)
        (folder / "capture.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _split_of(options: CaptureConfig, frame: int) -> str:
    last_training_frame = options.num_training_frames - 1
    in_between = frame < last_training_frame and frame % IN_BETWEEN_INTERVAL == FIRST_IN_BETWEEN
    return "test" if in_between or frame > last_training_frame else "train"


def _write_frame(folder: Path, stage: Stage, frame: int, footage: Footage) -> _Fit:
    split, name = folder / _split_of(stage.config, frame), f"{frame:06d}.png"
    (picture,) = footage.pictures
    write_png(split / "images" / name, picture.colours)
    write_png(split / "masks" / name, FOREGROUND * (picture.labels > 0).astype(np.uint8))
    # R(Rh) v + Th = R (v - J0) + J0 + transl: smplx turns the body about its pelvis J0, Neural Body about the origin.
    rotation = Rotation.from_rotvec(footage.orient.astype(np.float64)).as_matrix()
    transl = footage.place - stage.pelvis + rotation @ stage.pelvis
    pose = np.concatenate([footage.orient[None], footage.poses[1:]])
    return _Fit(pose=pose, transl=transl.astype(np.float32))


def _write_camera(path: Path, stage: Stage) -> None:
    (camera,) = stage.written_cameras
    intrinsic, extrinsic = camera.intrinsics.copy(), np.eye(4)
    intrinsic[:2, 2] += HALF_PIXEL
    extrinsic[:3, :3], extrinsic[:3, 3] = camera.rotation, camera.translation
    np.savez(path, intrinsic=intrinsic, extrinsic=extrinsic)


def _write_fits(path: Path, stage: Stage, fits: Sequence[_Fit]) -> None:
    import torch  # here, because the processes that film do without

    content = {
        "beta": torch.from_numpy(stage.betas[None].copy()),
        "body_pose": torch.from_numpy(np.stack([fit.pose.ravel() for fit in fits])),
        "trans": torch.from_numpy(np.stack([fit.transl for fit in fits])),
    }
    torch.save(content, path)
