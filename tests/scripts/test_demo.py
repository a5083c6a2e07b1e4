"""The demo command: options reach the capture, mistakes are told in one line."""

import json
from pathlib import Path

import pytest
import tyro

from human_avatars.capture.capture_config import CaptureConfig
from human_avatars.scripts import cli, demo

TINY = ("--frames", "3", "--size", "32", "--training-cameras", "1", "--test-cameras", "2")


def test_the_defaults_are_the_documented_capture() -> None:
    config = tyro.cli(demo.DemoConfig, args=[])
    assert (config.frames, config.size, config.ring_cameras) == (60, 512, 23)
    assert config.training_cameras == (0, 6, 12, 18)
    assert len(config.test_cameras) >= 4
    assert config.noise == CaptureConfig().noise
    assert config.layout == "zju-mocap"
    assert config.output is config.motion is None, "each layout has its own"


def test_options_reach_the_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "data" / "demo"
    arguments = ["demo", "--layout", "zju-mocap", "--output", str(output), *TINY]
    assert cli.run([*arguments, "--outfit", "checks", "--wrinkles", "0.5", "--pose-noise-degrees", "1"]) == 0
    options = json.loads((output / "capture.json").read_text())["options"]
    assert (options["outfit"], options["wrinkles"], options["size"]) == ("checks", 0.5, 32)
    assert options["noise"]["pose_noise_degrees"] == 1
    printed = capsys.readouterr().out
    assert printed.index("ns-train avatar-splat --data") < printed.index("ns-train neural-body --data")


def test_one_camera_films_a_turning_person_by_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["demo", "--layout", "gaussian-avatar", *TINY]
    assert cli.run([*arguments, "--output", str(tmp_path / "spin")]) == 0
    options = json.loads((tmp_path / "spin" / "capture.json").read_text())["options"]
    assert (options["motion"], options["unseen_motion"]) == ("apose_spin", "apose_spin")
    assert (options["training_cameras"], options["test_cameras"]) == ([1], [])
    printed = capsys.readouterr().out
    for method in ("avatar-splat", "gaussian-avatar"):
        assert f"ns-train {method} --data {tmp_path / 'spin'} gaussian-avatar-data" in printed
    assert cli.run([*arguments, "--output", str(tmp_path / "walk"), "--motion", "walk"]) == 0
    options = json.loads((tmp_path / "walk" / "capture.json").read_text())["options"]
    assert (options["motion"], options["unseen_motion"]) == ("walk", None)


def test_a_second_run_needs_overwrite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["demo", "--output", str(tmp_path / "demo"), *TINY]
    assert cli.run(arguments) == 0
    assert cli.run(arguments) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert cli.run([*arguments, "--overwrite"]) == 0


def test_a_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["demo", "--output", str(tmp_path / "demo"), "--frames", "2"]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("human-avatars demo: frames is 2")
    assert "\n" not in error
    assert not (tmp_path / "demo").exists()
