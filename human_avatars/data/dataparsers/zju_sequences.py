"""Which frames and cameras of a ZJU-MoCap sequence train: the published table, and rules for other captures."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SequenceFrames:
    """The frames of one sequence that train, and those that hold unseen poses."""

    begin: int
    """First training frame."""
    num_train: int
    """Number of training frames."""
    novel_poses: tuple[int, int] | None
    """First unseen frame and the one after the last; None where the sequence has none."""


PUBLISHED_SEQUENCES: dict[str, SequenceFrames] = {
    "313": SequenceFrames(0, 60, (60, 1060)),
    "315": SequenceFrames(0, 400, (400, 1400)),
    "377": SequenceFrames(0, 300, (300, 617)),
    "386": SequenceFrames(0, 300, (300, 646)),
    "387": SequenceFrames(0, 300, (300, 654)),
    "390": SequenceFrames(700, 300, (0, 700)),
    "392": SequenceFrames(0, 300, (300, 556)),
    "393": SequenceFrames(0, 300, (300, 658)),
    "394": SequenceFrames(0, 300, (300, 859)),
    "395": SequenceFrames(0, 300, None),
    "396": SequenceFrames(810, 540, None),
}
"""Neural Body's configuration of each released sequence."""

PUBLISHED_TRAINING_CAMERAS = (0, 6, 12, 18)
"""Neural Body's training views, as positions in the calibration; every other camera tests."""

PUBLISHED_CAMERA_COUNTS = (21, 23)
"""Cameras of the released sequences; 313 and 315 lack two."""

PUBLISHED_IMAGE_SIZE = 1024
"""Width and height of the released images, in pixels."""

PUBLISHED_IMAGE_SCALE = 0.5
"""Neural Body trains and tests the released sequences at half their size."""


def published_sequence(folder: Path) -> str | None:
    """The number of a released sequence, by its folder's name.

    Args:
        folder: A dataset folder such as `zju/CoreView_313` or `zju/313`.

    Returns:
        `"313"`; None for any other capture.
    """
    match = re.fullmatch(r"(?:CoreView_)?(\d{3})", folder.resolve().name)
    return match[1] if match and match[1] in PUBLISHED_SEQUENCES else None


def default_sequence_frames(num_frames: int) -> SequenceFrames:
    """The split of a capture that nobody has published one for: the first two thirds train, the rest are unseen.

    Args:
        num_frames: Frames of the capture, at least one.

    Returns:
        The split.
    """
    num_train = max(1, 2 * num_frames // 3)
    return SequenceFrames(0, num_train, (num_train, num_frames) if num_train < num_frames else None)


def default_training_cameras(num_cameras: int) -> tuple[int, ...]:
    """The training views of a capture: the published ones for the published rigs, else four spread evenly.

    Args:
        num_cameras: Cameras of the capture.

    Returns:
        Positions in the calibration. At most four cameras keep the last one for testing; a single one trains.
    """
    if num_cameras in PUBLISHED_CAMERA_COUNTS:
        return PUBLISHED_TRAINING_CAMERAS
    count = len(PUBLISHED_TRAINING_CAMERAS)
    if num_cameras > count:
        return tuple(num_cameras * view // count for view in range(count))
    return tuple(range(max(1, num_cameras - 1)))


def file_number(image: str) -> int:
    """The number that names a frame's `params` and `vertices` files.

    Args:
        image: An image's path in the annotations. 313 and 315 carry the number, from 1, as the fifth part of names
            such as `CoreView_313_Camera_(1)_0001_2019-08-23_16-08-50.592.jpg`; elsewhere the name is the number.

    Returns:
        The number.

    Raises:
        ValueError: The name follows neither pattern.
    """
    name = Path(image).name
    parts = name.split("_")
    if name.startswith("CoreView_") and len(parts) > 4 and parts[4].isdigit():
        return int(parts[4])
    stem = Path(name).stem
    if stem.isdigit():
        return int(stem)
    raise ValueError(
        f"cannot tell the frame number of image {image!r}: expected a number such as 000012.jpg, or a name such as "
        "CoreView_313_Camera_(1)_0001_2019-08-23_16-08-50.592.jpg. Rename the images and list them so in annots.npy."
    )
