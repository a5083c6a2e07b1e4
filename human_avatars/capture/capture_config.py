"""What the demo films: the options of a capture and which of them make sense."""

from dataclasses import dataclass, field
from typing import get_args

from human_avatars.capture.motions import MotionName
from human_avatars.capture.textures import OutfitName

MIN_FRAMES = 3
"""With fewer, the unseen third would be empty."""
MIN_SIZE = 32
"""Below this many pixels a person is no longer recognisable."""


@dataclass(frozen=True)
class NoiseConfig:
    """How far what is written differs from what was filmed; zero everywhere is a perfect capture."""

    pose_noise_degrees: float = 0.0
    """Standard deviation of the error of each joint rotation, per axis and frame, in degrees."""
    place_noise_centimetres: float = 0.0
    """Standard deviation of the error of the body's place, per axis and frame, in centimetres."""
    mask_noise_pixels: float = 0.0
    """Standard deviation of the raggedness of silhouette borders, in pixels."""
    calibration_noise_degrees: float = 0.0
    """Standard deviation of the error of each camera's orientation, per axis, in degrees."""
    calibration_noise_millimetres: float = 0.0
    """Standard deviation of the error of each camera's position, per axis, in millimetres."""
    calibration_noise_focal_percent: float = 0.0
    """Standard deviation of the error of each camera's focal length, in percent."""


@dataclass(frozen=True)
class CaptureConfig:
    """A capture of the demo's actor by a ring of cameras."""

    frames: int = 60
    """Number of frames; the last third is kept for unseen poses."""
    size: int = 512
    """Width and height of the images, in pixels."""
    ring_cameras: int = 23
    """Evenly spaced places for cameras round the person."""
    training_cameras: tuple[int, ...] = (0, 6, 12, 18)
    """Places in the ring, counted from 0, whose cameras are for training."""
    test_cameras: tuple[int, ...] = (3, 9, 15, 21)
    """Places in the ring whose cameras are held out; there may be none."""
    motion: MotionName = "walk"
    """What the person does in the training frames."""
    unseen_motion: MotionName | None = None
    """What the person does in the last third; by default twist_box, or arm_raise where that is the first motion. The
    first motion itself goes on to its end."""
    outfit: OutfitName = "stripes"
    """What the person wears."""
    betas: tuple[float, ...] = ()
    """Shape coefficients of the body, in standard deviations; none for the average body."""
    wrinkles: float = 1.0
    """Factor on the depth of the folds that come and go with the pose."""
    seed: int = 0
    """Seed of everything random; equal options and seeds give equal files."""
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    """Errors of pose, silhouettes and calibration."""

    @property
    def num_training_frames(self) -> int:
        """Frames before the unseen third."""
        return self.frames - self.frames // 3

    @property
    def held_out_motion(self) -> MotionName:
        """The motion of the last third, its default resolved."""
        if self.unseen_motion is not None:
            return self.unseen_motion
        return "arm_raise" if self.motion == "twist_box" else "twist_box"

    @property
    def rendered_cameras(self) -> tuple[int, ...]:
        """Places in the ring that are filmed from, in ascending order as in real captures."""
        return tuple(sorted((*self.training_cameras, *self.test_cameras)))

    def check(self, num_betas: int) -> None:
        """Refuse options that make no capture.

        Args:
            num_betas: Shape coefficients of the body.

        Raises:
            ValueError: An option is out of range; the message names it and the cure.
        """
        if self.frames < MIN_FRAMES:
            raise ValueError(
                f"frames is {self.frames}: give at least {MIN_FRAMES}, since the last third is kept for unseen poses."
            )
        if self.size < MIN_SIZE:
            raise ValueError(f"size is {self.size} pixels: give at least {MIN_SIZE}, or nobody could be recognised.")
        self._check_cameras()
        for name, value, known in (
            ("motion", self.motion, get_args(MotionName)),
            ("unseen_motion", self.unseen_motion or self.motion, get_args(MotionName)),
            ("outfit", self.outfit, get_args(OutfitName)),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}: choose one of {', '.join(known)}.")
        if len(self.betas) not in (0, num_betas):
            raise ValueError(
                f"betas has {len(self.betas)} numbers: give all {num_betas} of this body, or none for the average one."
            )
        self._check_amounts()

    def _check_cameras(self) -> None:
        if not self.training_cameras:
            raise ValueError("training_cameras names no place: give at least one, such as 0.")
        for name in ("training_cameras", "test_cameras"):
            outside = [place for place in getattr(self, name) if not 0 <= place < self.ring_cameras]
            if outside:
                raise ValueError(
                    f"{name} names place {outside[0]} of a ring of {self.ring_cameras} cameras: give places from 0 to "
                    f"{self.ring_cameras - 1}, or raise ring_cameras."
                )
        if len(set(self.rendered_cameras)) < len(self.rendered_cameras):
            raise ValueError(
                f"training_cameras {self.training_cameras} and test_cameras {self.test_cameras} share or repeat a "
                "place: name each place once, so that what is tested was never trained on."
            )

    def _check_amounts(self) -> None:
        amounts = {"wrinkles": self.wrinkles, **vars(self.noise)}
        for name, value in amounts.items():
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value}: give a number that is zero or more.")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}: give a whole number that is zero or more.")
