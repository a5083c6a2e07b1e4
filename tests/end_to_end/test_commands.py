"""Train, resume, evaluate and render through nerfstudio's own commands, on a CPU with today's torch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

Run = Callable[..., Any]


def _images(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path), dtype=np.float32) for path in sorted(folder.rglob("*.[jp][pn]g"))]


def test_training_leaves_a_checkpoint_that_stock_torch_reads(trained_run: Path) -> None:
    (checkpoint,) = (trained_run.parent / "nerfstudio_models").glob("*.ckpt")
    state = torch.load(checkpoint, weights_only=True)
    assert state["step"] == 19
    assert not [name for name in state["pipeline"] if "subject" in name or ("weights" in name and "skinning" in name)]


def test_resuming_goes_on_from_the_last_step(
    trained_run: Path, tiny_capture: Path, command: Run, tmp_path: Path
) -> None:
    command(
        "ns-train", "neural-body-cpu", "--data", tiny_capture, "--output-dir", tmp_path, "--timestamp=second",
        "--max-num-iterations=5", "--load-dir", trained_run.parent / "nerfstudio_models",
        "--vis=tensorboard", "--pipeline.model.num-samples=16", "--pipeline.datamanager.train-num-rays-per-batch=64",
    )  # fmt: skip
    (checkpoint,) = (tmp_path / "tiny/neural-body-cpu/second/nerfstudio_models").glob("*.ckpt")
    assert torch.load(checkpoint, weights_only=True)["step"] == 24


def test_eval_reports_means_splits_and_every_image(trained_run: Path, command: Run, tmp_path: Path) -> None:
    command("ns-eval", "--load-config", trained_run, "--output-path", tmp_path / "metrics.json")
    results = json.loads((tmp_path / "metrics.json").read_text())["results"]
    # Training frames 0-5 and unseen frames 6-8, every 30th of each, seen by two test cameras.
    images = results["per_image"]
    assert [(image["split"], image["frame"]) for image in images] == [
        ("novel_view", 0), ("novel_view", 0), ("novel_pose", 6), ("novel_pose", 6),
    ]  # fmt: skip
    for split in ("novel_view", "novel_pose"):
        mine = [image for image in images if image["split"] == split]
        for name in ("psnr", "ssim", "psnr_box", "ssim_box", "ssim_box_range2", "psnr_whole_box", "psnr_body"):
            assert results[f"{split}/{name}"] == pytest.approx(np.mean([image[name] for image in mine]))
    assert results["psnr"] == pytest.approx(np.mean([image["psnr"] for image in images]))


def test_a_camera_path_moves_the_person_by_its_times(
    trained_run: Path, command: Run, write_camera_path: Callable[..., Path], tmp_path: Path
) -> None:
    write_camera_path(tmp_path / "path.json", [0.0, 0.0, 1.0])
    command(
        "ns-render", "camera-path", "--load-config", trained_run, "--camera-path-filename", tmp_path / "path.json",
        "--output-path", tmp_path / "frames", "--output-format=images", "--image-format=png",
        "--rendered-output-names", "rgb", "depth", "accumulation",
    )  # fmt: skip
    first, again, later = _images(tmp_path / "frames")
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - later).max() > 5


def test_a_camera_path_without_times_shows_the_first_frame(
    trained_run: Path, command: Run, write_camera_path: Callable[..., Path], tmp_path: Path
) -> None:
    write_camera_path(tmp_path / "timed.json", [0.0])
    write_camera_path(tmp_path / "untimed.json", [None])
    for name in ("timed", "untimed"):
        command(
            "ns-render", "camera-path", "--load-config", trained_run,
            "--camera-path-filename", tmp_path / f"{name}.json", "--output-path", tmp_path / name,
            "--output-format=images", "--image-format=png",
        )  # fmt: skip
    np.testing.assert_array_equal(_images(tmp_path / "timed")[0], _images(tmp_path / "untimed")[0])


def test_dataset_and_interpolate_render(trained_run: Path, command: Run, tmp_path: Path) -> None:
    command(
        "ns-render", "dataset", "--load-config", trained_run, "--output-path", tmp_path / "dataset",
        "--split=test", "--rendered-output-names", "rgb", "gt-rgb", "accumulation", "depth",
    )  # fmt: skip
    assert len(_images(tmp_path / "dataset" / "test" / "rgb")) == 4
    command(
        "ns-render", "interpolate", "--load-config", trained_run, "--output-path", tmp_path / "between.mp4",
        "--interpolation-steps=2", "--frame-rate=2", "--pose-source=eval", "--eval-num-rays-per-chunk=4096",
    )  # fmt: skip
    assert (tmp_path / "between.mp4").stat().st_size > 0


def test_orbit_writes_a_video_and_keeps_an_old_one(trained_run: Path, command: Run, tmp_path: Path) -> None:
    options = ("orbit", "--load-config", trained_run, "--output-path", tmp_path / "orbit.mp4", "--num-frames=2")
    command("human-avatars", *options, "--size=32")
    before = (tmp_path / "orbit.mp4").read_bytes()
    refused = command("human-avatars", *options, "--size=32", expect=1)
    assert "--overwrite" in refused.stderr
    assert (tmp_path / "orbit.mp4").read_bytes() == before


def test_other_methods_of_nerfstudio_still_start(command: Run) -> None:
    text = command("ns-train", "nerfacto", "--help").stdout
    assert "zju-mocap-data" in text


def test_a_capture_that_moved_is_named(trained_run: Path, command: Run, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    finished = command("ns-train", "neural-body-cpu", "--data", absent, "--vis=tensorboard", expect=1)
    assert str(absent) in finished.stdout + finished.stderr
