"""A monocular capture goes the whole way: filmed by our command, trained, measured and rendered by nerfstudio's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

Run = Callable[..., Any]


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
