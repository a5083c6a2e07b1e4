"""The layout of GaussianAvatar (Hu et al. 2024): one person before one camera, as its data and converters have it."""

import warnings
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig
from typing_extensions import assert_never

from human_avatars.body_models.base_body_model import BodyPose
from human_avatars.body_models.motion import BodyMotion, Subject
from human_avatars.body_models.smpl import load_body_model
from human_avatars.data.dataparsers.capture_records import read_capture_record
from human_avatars.data.dataparsers.gaussian_avatar_fit import BodyFit, read_body_fit
from human_avatars.data.dataparsers.gaussian_avatar_recording import Recording, read_recording
from human_avatars.data.dataparsers.subject_dataparser import SubjectDataParser
from human_avatars.data.subject_frames import SplitLabel, SubjectFrames

CAMERA_NAME = "camera"
"""The layout does not name its camera."""

HELD_OUT_FRACTION = 5
"""One frame in this many is held out where a capture has no test folder; NeuMan's rule and the original converter's."""


@dataclass
class GaussianAvatarDataParserConfig(DataParserConfig):
    """A person before one camera, in GaussianAvatar's layout: train/ and test/ with images, masks, cam_parms.npz (or
    cam_parms/) and smpl_parms.pth. Images are used whole and at their own size, as in the original."""

    _target: type = field(default_factory=lambda: GaussianAvatarDataParser)
    data: Path = Path("data/gaussian-avatar/demo")
    """The capture's folder, with train/ in it."""
    body_model_path: Path | None = None
    """The SMPL, SMPL-H or SMPL-X file that was fitted; None for the packaged open body."""
    poses: Literal["captured", "refined"] = "captured"
    """Poses of the training frames: smpl_parms.pth, or smpl_parms_pred.pth, which GaussianAvatar exports after its
    first stage. Test frames always have smpl_parms.pth."""
    eval_frame_interval: int = 1
    """Frames of each kind of test image are measured at this interval."""
    image_scale: float = 1.0
    """Images are used at this fraction of their size."""
    downscale_factor: float | None = None
    """Images are divided by this once more; ns-render sets it."""
    box_padding: tuple[float, float, float] = (0.1, 0.1, 0.1)
    """Growth of the body's box at both ends of each world axis, in metres: room for hair and clothes."""


@dataclass(frozen=True)
class _Capture:
    """What both splits share: all frames, those of train/ before those of test/."""

    recording: Recording
    subject: Subject
    train_frames: tuple[int, ...]
    test_frames: dict[int, SplitLabel]


class GaussianAvatarDataParser(SubjectDataParser):
    """Reads GaussianAvatar's layout: train is train/; val and test are test/.

    Test images whose name sorts between those of training images are "in_between", all others "novel_pose"; they are
    "novel_pose" too where both folders number their images anew. Without test/ one frame in five of train/ is held out,
    by the rule of NeuMan and of the original's converter, which measures the first half of them only.

    Args:
        config: Where the capture lies.
    """

    config: GaussianAvatarDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def read_frames(self, split: str) -> SubjectFrames:
        """As of every parser of captured people."""
        capture = self._capture
        recording = capture.recording
        frames = self._labelled_frames(split)
        indices = torch.tensor(list(frames))
        return SubjectFrames(
            image_filenames=tuple(recording.images[frame] for frame in frames),
            mask_filenames=tuple((recording.masks[frame],) for frame in frames),
            split_labels=tuple(frames.values()),
            camera_names=(CAMERA_NAME,) * len(frames),
            frame_indices=indices,
            intrinsics=recording.intrinsics[indices],
            distortions=torch.zeros(len(frames), 5, dtype=torch.float64),
            world_to_cameras=recording.world_to_cameras[indices],
            full_sizes=recording.full_sizes[indices],
            image_scale=self._image_scale(),
            mask_border=0,
            subject=capture.subject,
            train_frame_indices=torch.tensor(capture.train_frames),
        )

    @cached_property
    def _capture(self) -> _Capture:
        config, folder = self.config, Path(self.config.data)
        if not (folder / "train").is_dir():
            raise ValueError(
                f"{folder.absolute()} has no train folder (working directory {Path.cwd()}): expected a capture in "
                "GaussianAvatar's layout. Give its folder with --data; a run that was trained on a relative path is "
                "opened from the directory it was trained in."
            )
        body_model = load_body_model(config.body_model_path)
        train = read_recording(folder / "train")
        fit = read_body_fit(folder / "train" / self._fit_file(), body_model, len(train))
        recording, poses = train, fit.poses
        train_frames, test_frames = held_out_frames(len(train))
        if (folder / "test").is_dir():
            test = read_recording(folder / "test")
            test_fit = read_body_fit(folder / "test" / "smpl_parms.pth", body_model, len(test))
            recording, poses = train.followed_by(test), _joined(poses, test_fit.poses)
            train_frames = tuple(range(len(train)))
            test_frames = dict(enumerate(labels_of_test_images(train.names, test.names), start=len(train)))
        betas = self._betas_for_the_body(folder, fit)
        subject = Subject(body_model, betas, BodyMotion.evenly_timed(poses), config.box_padding)
        return _Capture(recording, subject, train_frames, test_frames)

    def _labelled_frames(self, split: str) -> dict[int, SplitLabel]:
        """Frames of a split and what each is for."""
        capture, interval = self._capture, self.config.eval_frame_interval
        if split == "train":
            return dict.fromkeys(capture.train_frames, "train")
        if interval < 1:
            raise ValueError(f"--eval-frame-interval is {interval}, expected at least 1.")
        labels = capture.test_frames
        chosen: dict[int, SplitLabel] = {}
        for label in dict.fromkeys(labels.values()):
            members = [frame for frame in labels if labels[frame] == label]
            chosen |= dict.fromkeys(members[::interval], label)
        return chosen

    def _fit_file(self) -> str:
        match self.config.poses:
            case "captured":
                return "smpl_parms.pth"
            case "refined":
                return "smpl_parms_pred.pth"
            case _:
                assert_never(self.config.poses)

    def _betas_for_the_body(self, folder: Path, fit: BodyFit) -> torch.Tensor:
        if self.config.body_model_path is not None or read_capture_record(folder).get("body_model") == "open":
            return fit.betas
        warnings.warn(
            f"{folder} does not say that the packaged open body was fitted, and no body model was given: the open body "
            "stands in with its mean shape. Give the fitted SMPL file with --body-model-path.",
            UserWarning,
            stacklevel=2,
        )
        return torch.zeros_like(fit.betas)

    def _image_scale(self) -> float:
        if self.config.image_scale <= 0:
            raise ValueError(f"--image-scale is {self.config.image_scale}, expected a number above 0.")
        return self.config.image_scale / (self.config.downscale_factor or 1.0)


def held_out_frames(num_frames: int) -> tuple[tuple[int, ...], dict[int, SplitLabel]]:
    """The split of a capture that comes without one, NeuMan's rule (Jiang et al. 2022).

    Args:
        num_frames: Frames of the capture, at least one.

    Returns:
        Frames that train, and frames that test with their label. A single frame is both.
    """
    step = max(2, num_frames // max(1, num_frames // HELD_OUT_FRACTION))
    held_out = range(step // 2, num_frames, step)
    if len(held_out) == 0:
        return (0,), {0: "train"}
    train = tuple(frame for frame in range(num_frames) if frame not in held_out)
    return train, {frame: "in_between" if frame < train[-1] else "novel_pose" for frame in held_out}


def labels_of_test_images(train_names: tuple[str, ...], test_names: tuple[str, ...]) -> list[SplitLabel]:
    """What each test image is for, by its name's place among those of the training images.

    Args:
        train_names: Names of the training images, sorted.
        test_names: Names of the test images.

    Returns:
        One label per test image.
    """
    numbered_anew = not set(train_names).isdisjoint(test_names)
    first, last = train_names[0], train_names[-1]
    return ["in_between" if first < name < last and not numbered_anew else "novel_pose" for name in test_names]


def _joined(first: BodyPose, second: BodyPose) -> BodyPose:
    return BodyPose.from_axis_angle(
        torch.cat([first.axis_angle, second.axis_angle]), torch.cat([first.transl, second.transl])
    )
