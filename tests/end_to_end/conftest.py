"""A tiny capture and short training runs on it, shared by the tests of the whole path."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from human_avatars.capture.writers import CaptureConfig, write_zju_mocap

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# In front of the person, at the height of the chest: x right, y up, looking along -z.
CAMERA_IN_FRONT = ((0, 0, 1, 3), (1, 0, 0, 0), (0, 1, 0, 1), (0, 0, 0, 1))

SMALL_TRAINING = (
    "--vis=tensorboard",
    "--pipeline.model.num-samples=16",
    "--pipeline.datamanager.train-num-rays-per-batch=64",
    "--steps-per-save=10",
)


@pytest.fixture(scope="session")
def command() -> Run:
    """Run an installed console command; a non-zero exit fails the test with its output."""

    def run(name: str, *arguments: object, expect: int = 0) -> "subprocess.CompletedProcess[str]":
        program = Path(sys.executable).parent / name
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200"}
        finished = subprocess.run(
            [str(program), *map(str, arguments)], capture_output=True, text=True, env=environment, check=False
        )
        assert finished.returncode == expect, f"{name} {arguments}\n{finished.stdout}\n{finished.stderr}"
        return finished

    return run


@pytest.fixture(scope="session")
def tiny_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine frames of 64 pixels from four training and two test cameras."""
    folder = tmp_path_factory.mktemp("captures") / "tiny"
    write_zju_mocap(folder, CaptureConfig(frames=9, size=64, test_cameras=(3, 9)))
    return folder


@pytest.fixture(scope="session")
def trained_run(tiny_capture: Path, command: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config.yml of twenty steps of the CPU preset."""
    output = tmp_path_factory.mktemp("outputs")
    command(
        "ns-train", "neural-body-cpu", "--data", tiny_capture, "--output-dir", output, "--timestamp=first",
        "--max-num-iterations=20", *SMALL_TRAINING,
    )  # fmt: skip
    return output / "tiny" / "neural-body-cpu" / "first" / "config.yml"


@pytest.fixture(scope="session")
def small_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny capture's frames and cameras with 128 pixels, at which a person is more than a border."""
    folder = tmp_path_factory.mktemp("captures") / "small"
    write_zju_mocap(folder, CaptureConfig(frames=9, size=128, test_cameras=(3, 9)))
    return folder


@pytest.fixture(scope="session")
def splat_run(small_capture: Path, command: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config.yml of four hundred steps of avatar-splat with 4000 Gaussians."""
    output = tmp_path_factory.mktemp("outputs")
    command(
        "ns-train", "avatar-splat", "--data", small_capture, "--output-dir", output, "--timestamp=first",
        "--max-num-iterations=400", "--vis=tensorboard", "--pipeline.model.num-gaussians=4000",
        "zju-mocap-data", "--eval-frame-interval=3",
    )  # fmt: skip
    return output / "small" / "avatar-splat" / "first" / "config.yml"


@pytest.fixture(scope="session")
def write_camera_path() -> Callable[..., Path]:
    """Write the viewer's camera path file: one camera in front of the person, at several times or none."""

    def write(path: Path, times: list[Any], number: type = float) -> Path:
        pose = np.array(CAMERA_IN_FRONT).astype(number).ravel().tolist()
        camera = {"camera_to_world": pose, "fov": number(45), "aspect": number(1)}
        cameras = [camera if time is None else {**camera, "render_time": time} for time in times]
        content = {"camera_type": "perspective", "render_height": 48, "render_width": 48, "camera_path": cameras}
        path.write_text(json.dumps({**content, "seconds": number(1), "fps": len(times)}))
        return path

    return write
