"""Options that make no capture are refused with their cure; defaults resolve as documented."""

import pytest

from human_avatars.capture.capture_config import CaptureConfig, NoiseConfig

NUM_BETAS = 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (CaptureConfig(frames=2), "frames is 2: give at least 3"),
        (CaptureConfig(size=16), "size is 16 pixels: give at least 32"),
        (CaptureConfig(training_cameras=(0, 23)), "place 23 of a ring of 23 cameras: give places from 0 to 22"),
        (CaptureConfig(test_cameras=(-1,)), "place -1 of a ring"),
        (CaptureConfig(training_cameras=()), "training_cameras names no place"),
        (CaptureConfig(test_cameras=(3, 6)), "share or repeat a place"),
        (CaptureConfig(betas=(1.0, 2.0)), "betas has 2 numbers: give all 10 of this body, or none"),
        (CaptureConfig(wrinkles=-1.0), "wrinkles is -1.0: give a number that is zero or more"),
        (CaptureConfig(noise=NoiseConfig(mask_noise_pixels=float("nan"))), "mask_noise_pixels is nan"),
        (CaptureConfig(seed=-3), "seed is -3"),
    ],
)
def test_bad_options_are_refused(options: CaptureConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options.check(NUM_BETAS)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("motion", "motion is 'limp': choose one of walk, "),
        ("unseen_motion", "unseen_motion is 'limp': choose one of walk, "),
        ("outfit", "outfit is 'limp': choose one of stripes, checks"),
    ],
)
def test_unknown_names_are_refused(field: str, message: str) -> None:
    options = CaptureConfig()
    object.__setattr__(options, field, "limp")  # the type checker of the tests would refuse it in the constructor
    with pytest.raises(ValueError, match=message):
        options.check(NUM_BETAS)


def test_the_defaults_are_a_capture() -> None:
    options = CaptureConfig()
    options.check(NUM_BETAS)
    assert options.rendered_cameras == (0, 3, 6, 9, 12, 15, 18, 21)
    assert options.num_training_frames == 40


@pytest.mark.parametrize(("frames", "training"), [(3, 2), (4, 3), (5, 4), (6, 4), (60, 40)])
def test_the_last_third_is_held_out(frames: int, training: int) -> None:
    assert CaptureConfig(frames=frames).num_training_frames == training


def test_the_held_out_motion_differs_by_default() -> None:
    assert CaptureConfig(motion="walk").held_out_motion == "twist_box"
    assert CaptureConfig(motion="twist_box").held_out_motion == "arm_raise"
    assert CaptureConfig(motion="walk", unseen_motion="walk").held_out_motion == "walk"
