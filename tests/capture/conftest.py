"""A tiny capture and its stage, filmed once for all tests of this folder."""

from pathlib import Path

import pytest

from human_avatars.capture.capture_config import CaptureConfig
from human_avatars.capture.footage import Stage
from human_avatars.capture.staging import stage_capture
from human_avatars.capture.writers import write_zju_mocap

TINY = CaptureConfig(frames=6, size=64, training_cameras=(0, 6), test_cameras=(3,), betas=(1.0, -0.5, *[0.0] * 8))


@pytest.fixture(scope="session")
def tiny_options() -> CaptureConfig:
    """Six frames of 64 pixels from two training cameras and a test camera."""
    return TINY


@pytest.fixture(scope="session")
def tiny_stage(tiny_options: CaptureConfig) -> Stage:
    """The stage of the tiny capture."""
    return stage_capture(tiny_options)


@pytest.fixture(scope="session")
def tiny_folder(tiny_options: CaptureConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny capture in ZJU-MoCap's layout; no test may write into it."""
    folder = tmp_path_factory.mktemp("captures") / "tiny"
    write_zju_mocap(folder, tiny_options)
    return folder
