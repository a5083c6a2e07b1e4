"""Which cameras and frames of a capture train and which test: options first, then capture.json, then the table."""

from dataclasses import dataclass
from pathlib import Path

from human_avatars.data.dataparsers.capture_records import CAPTURE_FILE, read_capture_record
from human_avatars.data.dataparsers.zju_annotations import ZjuAnnotations
from human_avatars.data.dataparsers.zju_sequences import (
    PUBLISHED_SEQUENCES,
    SequenceFrames,
    default_sequence_frames,
    default_training_cameras,
    published_sequence,
)


@dataclass(frozen=True)
class SplitOptions:
    """What the user asked for; None leaves a choice to the capture."""

    train_cameras: tuple[int, ...] | None = None
    """Cameras that train."""
    test_cameras: tuple[int, ...] | None = None
    """Cameras that test."""
    begin_frame: int | None = None
    """First training frame."""
    num_train_frames: int | None = None
    """Number of training frames."""
    novel_pose_frames: tuple[int, int] | None = None
    """First unseen frame and the one after the last; equal for none."""
    frame_interval: int = 1
    """Frames are used at this interval."""


@dataclass(frozen=True)
class ZjuSplit:
    """Positions in the annotations."""

    train_cameras: tuple[int, ...]
    """Cameras that train."""
    test_cameras: tuple[int, ...]
    """Cameras that test."""
    train_frames: tuple[int, ...]
    """Frames that train."""
    novel_pose_frames: tuple[int, ...]
    """Frames whose pose is never trained on."""

    @property
    def motion_frames(self) -> tuple[int, ...]:
        """Every frame of the split, in order of time."""
        return tuple(sorted({*self.train_frames, *self.novel_pose_frames}))


def choose_split(folder: Path, annotations: ZjuAnnotations, options: SplitOptions) -> ZjuSplit:
    """Decide what trains and what tests.

    Args:
        folder: The dataset folder, whose name tells a published sequence.
        annotations: Its cameras and frames.
        options: What the user asked for.

    Returns:
        The split. Where every camera trains, the first one tests too, as in the original.

    Raises:
        ValueError: A camera or frame is asked for that the capture does not have.
    """
    cameras, frames = _defaults(folder, annotations)
    train_cameras = cameras if options.train_cameras is None else options.train_cameras
    _check_cameras(annotations, train_cameras, "--train-cameras")
    others = tuple(camera for camera in range(len(annotations.intrinsics)) if camera not in train_cameras)
    test_cameras = (others or train_cameras[:1]) if options.test_cameras is None else options.test_cameras
    _check_cameras(annotations, test_cameras, "--test-cameras")
    train_frames, novel_pose_frames = _choose_frames(annotations, frames, options)
    return ZjuSplit(train_cameras, test_cameras, train_frames, novel_pose_frames)


def _choose_frames(
    annotations: ZjuAnnotations, default: SequenceFrames, options: SplitOptions
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    interval = options.frame_interval
    begin = default.begin if options.begin_frame is None else options.begin_frame
    count = default.num_train if options.num_train_frames is None else options.num_train_frames
    if interval < 1 or count < 1:
        raise ValueError(f"frame interval {interval} and {count} training frames: expected at least 1 of both.")
    train = range(begin, begin + count * interval, interval)
    _check_frames(annotations, train, "training", "--begin-frame and --num-train-frames")
    start, stop = (default.novel_poses or (0, 0)) if options.novel_pose_frames is None else options.novel_pose_frames
    novel = range(start, stop, interval)
    if len(novel) > 0:
        _check_frames(annotations, novel, "unseen", "--novel-pose-frames (two equal numbers for none)")
    elif start != stop:
        raise ValueError(
            f"--novel-pose-frames {start} {stop} names no frame: give the first one and the one after the last."
        )
    if options.novel_pose_frames is None:
        return tuple(train), tuple(frame for frame in novel if frame not in train)
    shared = sorted(set(train) & set(novel))
    if shared:
        raise ValueError(
            f"frame {shared[0]} is in the training range and in --novel-pose-frames {start} {stop}: a pose that was "
            "trained on is not unseen. Give ranges that do not overlap."
        )
    return tuple(train), tuple(novel)


def _defaults(folder: Path, annotations: ZjuAnnotations) -> tuple[tuple[int, ...], SequenceFrames]:
    cameras = default_training_cameras(len(annotations.intrinsics))
    sequence = published_sequence(folder)
    frames = PUBLISHED_SEQUENCES[sequence] if sequence else default_sequence_frames(annotations.num_frames)
    file, capture = folder / CAPTURE_FILE, read_capture_record(folder)
    if "training_cameras" in capture:
        cameras = _named_cameras(file, annotations, capture["training_cameras"])
    if "training_frames" in capture:
        count, total = capture["training_frames"], annotations.num_frames
        if not isinstance(count, int) or not 1 <= count <= total:
            raise ValueError(f"{file}: 'training_frames' is {count!r}, expected a count from 1 to {total}.")
        frames = SequenceFrames(0, count, (count, total) if count < total else None)
    return cameras, frames


def _named_cameras(file: Path, annotations: ZjuAnnotations, names: object) -> tuple[int, ...]:
    known = annotations.camera_names
    if not isinstance(names, list) or not names or not all(name in known for name in names):
        raise ValueError(
            f"{file}: 'training_cameras' is {names!r}, expected names among {', '.join(known)}, the image folders of "
            "annots.npy."
        )
    return tuple(known.index(name) for name in names)


def _check_cameras(annotations: ZjuAnnotations, cameras: tuple[int, ...], option: str) -> None:
    count = len(annotations.intrinsics)
    wrong = [camera for camera in cameras if not 0 <= camera < count]
    if wrong or not cameras or len(set(cameras)) < len(cameras):
        names = ", ".join(f"{index} {name}" for index, name in enumerate(annotations.camera_names))
        raise ValueError(
            f"{annotations.path} calibrates {count} cameras ({names}); {option} asks for {cameras}: "
            f"give different numbers from 0 to {count - 1}."
        )


def _check_frames(annotations: ZjuAnnotations, frames: range, kind: str, options: str) -> None:
    if frames[0] < 0 or frames[-1] >= annotations.num_frames:
        raise ValueError(
            f"{annotations.path} lists {annotations.num_frames} frames, but the {kind} frames are {frames[0]} to "
            f"{frames[-1]}: copy the whole sequence, or set {options}."
        )
