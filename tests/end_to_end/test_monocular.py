"""A monocular capture goes the whole way: filmed by our command, trained, measured and rendered by nerfstudio's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nerfstudio.scripts import train
from nerfstudio.scripts.eval import ComputePSNR
from nerfstudio.scripts.render import DatasetRender
from PIL import Image

from human_avatars.capture.capture_config import CaptureConfig
from human_avatars.capture.gaussian_avatar_writer import write_gaussian_avatar
from human_avatars.scripts.cli import run
from human_avatars.scripts.quickstart import method_config

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def spin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of 128 pixels of a person who turns before one camera."""
    folder = tmp_path_factory.mktemp("captures") / "spin"
    write_gaussian_avatar(folder, CaptureConfig(frames=12, size=128, motion="apose_spin", unseen_motion="apose_spin"))
    return folder


def test_the_demo_in_gaussian_avatars_layout_trains_and_is_measured(command: Run, tmp_path: Path) -> None:
    capture = tmp_path / "spin"
    command("human-avatars", "demo", "--layout=gaussian-avatar", "--output", capture, "--frames=9", "--size=64")
    command(
        "ns-train", "neural-body-cpu", "--data", capture, "--output-dir", tmp_path / "outputs", "--timestamp=first",
        "--max-num-iterations=2", "--vis=tensorboard", "--pipeline.model.num-samples=16",
        "--pipeline.datamanager.train-num-rays-per-batch=64", "gaussian-avatar-data", "--eval-frame-interval=2",
    )  # fmt: skip
    config = tmp_path / "outputs" / "spin" / "neural-body-cpu" / "first" / "config.yml"
    command("ns-eval", "--load-config", config, "--output-path", tmp_path / "metrics.json")
    results = json.loads((tmp_path / "metrics.json").read_text())["results"]
    assert [(Path(image["image"]).stem, image["split"]) for image in results["per_image"]] == [
        ("000002", "in_between"), ("000006", "novel_pose"), ("000008", "novel_pose"),
    ]  # fmt: skip
    assert {"in_between/psnr_box", "novel_pose/psnr_box"} <= results.keys()
    command(
        "ns-render", "dataset", "--load-config", config, "--output-path", tmp_path / "renders", "--split=test",
        "--downscale-factor=2", "--rendered-output-names", "rgb",
    )  # fmt: skip
    renders = sorted((tmp_path / "renders").rglob("*.jpg"))
    assert [Image.open(path).size for path in renders] == [(32, 32)] * 3


def test_quickstart_knows_the_layout_and_shows_its_splits(
    spin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["quickstart", "--data", str(spin), "--output-dir", str(tmp_path), "--iterations", "20"]) == 0
    printed = capsys.readouterr().out
    assert "in between" in printed
    assert "novel pose" in printed
    assert "novel view" not in printed
    (config,) = tmp_path.rglob("config.yml")
    assert f"ns-viewer --load-config {config}" in printed
    assert (config.parent / "orbit.mp4").stat().st_size > 0
    assert (config.parent / "metrics.json").is_file()


def test_gaussian_avatar_trains_goes_on_and_is_rendered(spin: Path, tmp_path: Path) -> None:
    first = _train_gaussian_avatar(spin, tmp_path, "first", steps=30, load_dir=None)
    second = _train_gaussian_avatar(spin, tmp_path, "second", steps=150, load_dir=first.parent / "nerfstudio_models")
    results = _measured(second, tmp_path)
    assert {image["split"] for image in results["per_image"]} == {"in_between", "novel_pose"}
    for split in ("in_between", "novel_pose"):
        assert results[f"{split}/psnr_box"] > _measured(first, tmp_path)[f"{split}/psnr_box"] + 2
    DatasetRender(load_config=second, output_path=tmp_path / "renders", rendered_output_names=["rgb"]).main()
    assert len(list((tmp_path / "renders").rglob("*.jpg"))) == len(results["per_image"])


def _train_gaussian_avatar(capture: Path, output: Path, name: str, steps: int, load_dir: Path | None) -> Path:
    """Train at a low resolution of the feature map, with a learning rate planned anew where a run goes on."""
    config = method_config("gaussian-avatar-cpu")
    config.data, config.output_dir, config.timestamp = capture, output, name
    config.load_dir, config.load_scheduler = load_dir, False
    config.max_num_iterations, config.vis = steps, "tensorboard"
    config.pipeline.model.uv_size, config.pipeline.model.feature_size = 64, 16
    train.main(config)
    return output / capture.name / "gaussian-avatar-cpu" / name / "config.yml"


def _measured(run_config: Path, folder: Path) -> dict[str, Any]:
    ComputePSNR(load_config=run_config, output_path=folder / "metrics.json").main()
    return json.loads((folder / "metrics.json").read_text())["results"]
