"""avatar-splat goes the whole way: trained by ns-train, then measured, rendered, resumed and exported.

The commands run inside of this process after the training: each takes several seconds to start.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.scripts import train
from nerfstudio.scripts.eval import ComputePSNR
from nerfstudio.scripts.exporter import ExportGaussianSplat
from nerfstudio.scripts.render import DatasetRender, RenderCameraPath
from PIL import Image

from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig
from human_avatars.data.subject_dataset import SubjectDataset
from human_avatars.model_components.metrics import AvatarMetrics
from human_avatars.scripts import orbit
from human_avatars.scripts.quickstart import method_config

NUM_GAUSSIANS, STEPS = 4000, 400
"""Of the shared run."""


@pytest.fixture(scope="module")
def results(splat_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _measured(splat_run, tmp_path_factory.mktemp("metrics"))


def _measured(run: Path, folder: Path) -> dict[str, Any]:
    """What ns-eval writes, which is JSON by the standard: Python's own reader also takes NaN."""
    ComputePSNR(load_config=run, output_path=folder / "metrics.json").main()
    text = (folder / "metrics.json").read_text()
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["results"]


def _flat_silhouettes(capture: Path) -> dict[str, float]:
    """Mean PSNR in the body's box, by split, of true silhouettes filled with the person's mean colour."""
    parser = ZjuMocapDataParserConfig(data=capture, eval_frame_interval=3).setup()
    dataset, metrics = SubjectDataset(parser.get_dataparser_outputs("test")), AvatarMetrics()
    scores: dict[str, list[float]] = {}
    for index, split in enumerate(dataset.split_labels):
        data = dataset.get_data(index)
        rgb, person = data["image"][..., :3], data["image"][..., 3] > 0.5
        flat = torch.where(person[..., None], rgb[person].mean(0), torch.zeros_like(rgb))
        measured = metrics.image_metrics(flat, rgb * person[..., None], data["mask_at_box"][..., 0], person)
        scores.setdefault(split, []).append(float(measured["psnr_box"]))
    return {split: float(np.mean(values)) for split, values in scores.items()}


def _images(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path), dtype=np.float32) for path in sorted(folder.rglob("*.[jp][pn]g"))]


@pytest.mark.parametrize(("split", "margin"), [("novel_view", 9.0), ("novel_pose", 8.0)])
def test_seconds_of_training_beat_a_flat_silhouette(
    results: dict[str, Any], small_capture: Path, split: str, margin: float
) -> None:
    assert results[f"{split}/psnr_box"] > _flat_silhouettes(small_capture)[split] + margin


def test_eval_reports_splits_and_every_image(results: dict[str, Any]) -> None:
    images = results["per_image"]
    assert [(image["split"], image["frame"]) for image in images] == [
        *[("novel_view", 0)] * 2, *[("novel_view", 3)] * 2, *[("novel_pose", 6)] * 2,
    ]  # fmt: skip
    for split in ("novel_view", "novel_pose"):
        for name in ("psnr", "ssim", "psnr_box", "ssim_box", "psnr_body"):
            mean = np.mean([image[name] for image in images if image["split"] == split])
            assert results[f"{split}/{name}"] == pytest.approx(mean)


def test_resuming_goes_on_from_the_last_step_and_loses_nothing(
    splat_run: Path, small_capture: Path, results: dict[str, Any], tmp_path: Path
) -> None:
    config = method_config("avatar-splat")
    config.data, config.output_dir, config.timestamp = small_capture, tmp_path, "second"
    config.load_dir, config.max_num_iterations, config.vis = splat_run.parent / "nerfstudio_models", 60, "tensorboard"
    config.pipeline.model.num_gaussians = NUM_GAUSSIANS
    config.pipeline.datamanager.dataparser.eval_frame_interval = 3
    train.main(config)
    run = tmp_path / "small" / "avatar-splat" / "second"
    (checkpoint,) = (run / "nerfstudio_models").glob("*.ckpt")
    assert torch.load(checkpoint, weights_only=True)["step"] == STEPS + 60 - 1
    resumed = _measured(run / "config.yml", tmp_path)
    assert resumed["novel_view/psnr_box"] > results["novel_view/psnr_box"] - 0.1


def test_held_out_images_are_rendered_as_they_were_measured(
    splat_run: Path, results: dict[str, Any], tmp_path: Path
) -> None:
    names = ["rgb", "gt-rgb", "accumulation", "depth"]
    DatasetRender(
        load_config=splat_run, output_path=tmp_path, split="test", rendered_output_names=names, image_format="png"
    ).main()
    rendered, true = _images(tmp_path / "test" / "rgb"), _images(tmp_path / "test" / "gt-rgb")
    assert len(rendered) == len(true) == len(results["per_image"])
    psnr = [-10 * np.log10(np.mean(((a - b) / 255) ** 2)) for a, b in zip(rendered, true, strict=True)]
    # In the order of the files' names, and rounded to bytes.
    np.testing.assert_allclose(sorted(psnr), sorted(image["psnr"] for image in results["per_image"]), atol=0.1)


def test_a_camera_path_of_whole_numbers_is_rendered_and_time_moves_the_person(
    splat_run: Path, write_camera_path: Callable[..., Path], tmp_path: Path
) -> None:
    # What writes 1 in place of 1.0 makes torch read integers.
    path = write_camera_path(tmp_path / "path.json", [0, 0, 1], number=int)
    RenderCameraPath(
        load_config=splat_run, camera_path_filename=path, output_path=tmp_path / "frames", output_format="images",
        image_format="png", rendered_output_names=["rgb", "depth", "accumulation"],
    ).main()  # fmt: skip
    first, again, later = _images(tmp_path / "frames")
    np.testing.assert_array_equal(first, again)
    assert first.max() > 100, "the person is in the picture"
    assert np.abs(first - later).max() > 50


def test_orbit_shows_the_moving_person_from_all_sides(splat_run: Path, tmp_path: Path) -> None:
    import av

    orbit.main(splat_run, tmp_path / "orbit.mp4", num_frames=3, size=64)
    with av.open(str(tmp_path / "orbit.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert [frame.shape for frame in frames] == [(64, 64, 3)] * 3
    assert all(frame.max() > 100 for frame in frames)
    assert np.abs(frames[0].astype(float) - frames[1]).max() > 50


def test_export_writes_every_gaussian_where_the_person_stands(splat_run: Path, tmp_path: Path) -> None:
    ExportGaussianSplat(load_config=splat_run, output_dir=tmp_path).main()
    header, _, body = (tmp_path / "splat.ply").read_bytes().partition(b"end_header\n")
    lines = header.decode().splitlines()
    properties = [line.split()[2] for line in lines if line.startswith("property float ")]
    assert f"element vertex {NUM_GAUSSIANS}" in lines
    values = np.frombuffer(body, "<f4").reshape(NUM_GAUSSIANS, len(properties))
    assert np.isfinite(values).all()
    # The demo walks on the ground at z = 0, arms down in the first frame.
    height = np.ptp(values[:, properties.index("z")])
    assert 1.4 < height < 2.0
    scales = np.exp(values[:, [properties.index(f"scale_{axis}") for axis in range(3)]])
    assert 1e-4 < np.median(scales) < 0.1
