"""Files of the original GaussianAvatar become runs, or are refused with the reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.capture.capture_config import CaptureConfig
from human_avatars.capture.gaussian_avatar_writer import write_gaussian_avatar
from human_avatars.scripts.cli import run

NUM_TRAINING_FRAMES = 3
Original = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three training frames and three unseen ones, 64 pixels wide."""
    folder = tmp_path_factory.mktemp("data") / "tiny"
    write_gaussian_avatar(folder, CaptureConfig(frames=6, size=64, motion="apose_spin"), workers=1)
    assert len(list((folder / "train" / "images").iterdir())) == NUM_TRAINING_FRAMES
    return folder


@pytest.fixture(scope="module")
def uv_obj(tmp_path_factory: pytest.TempPathFactory, open_body: BodyModel) -> Path:
    """A layout of the open body in which every triangle has a cell of a grid for itself."""
    cells = int(len(open_body.faces) ** 0.5) + 1
    lines = ["v 0 0 0"] * open_body.num_vertices
    for number, face in enumerate(open_body.faces.tolist()):
        u, v = number % cells / cells, number // cells / cells
        lines += [f"vt {u} {v}", f"vt {u + 1 / cells} {v}", f"vt {u} {v + 1 / cells}"]
        lines.append("f " + " ".join(f"{vertex + 1}/{3 * number + i + 1}" for i, vertex in enumerate(face)))
    path = tmp_path_factory.mktemp("assets") / "template_mesh_smpl_uv.obj"
    path.write_text("\n".join(lines))
    return path


def _save(content: dict[str, Any], folder: Path) -> Path:
    """As the original's trainer lays its output out."""
    iteration = folder / "net" / "iteration_200"
    iteration.mkdir(parents=True)
    torch.save(content, iteration / ("pose_encoder.pth" if "pose_encoder" in content else "net.pth"))
    return folder


def _import(checkpoint: Path, capture: Path, uv_obj: Path, output: Path, *options: str) -> int:
    arguments = ["--checkpoint", str(checkpoint), "--data", str(capture), "--output-dir", str(output)]
    arguments += ["--uv-obj", str(uv_obj), "--uv-size=64", "--timestamp=imported"]
    return run(["import-checkpoint", "gaussian-avatar", *arguments, *options])


@pytest.mark.parametrize("stage", [1, 2])
def test_the_run_is_what_nerfstudios_commands_open(
    stage: int,
    capture: Path,
    uv_obj: Path,
    original_content: Original,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from nerfstudio.utils.eval_utils import eval_setup

    monkeypatch.setattr("human_avatars.model_components.metrics._load_lpips", lambda: None)  # no download
    content = original_content(stage, num_frames=NUM_TRAINING_FRAMES)
    assert _import(_save(content, tmp_path / "original"), capture, uv_obj, tmp_path / "outputs") == 0
    folder = tmp_path / "outputs/tiny/gaussian-avatar-paper/imported"
    _, pipeline, path, step = eval_setup(folder / "config.yml")
    assert step == 200 * NUM_TRAINING_FRAMES - 1
    assert path.name == f"step-{step:09d}.ckpt"
    model: Any = pipeline.model
    assert (model.config.stage, model.config.uv_size, model.config.bn_eval) == (stage, 64, "frame")
    assert_close(model.field.features, content["geo_feature"], check_device=False)
    refined = model.refined_motion().poses[model.train_frame_indices]
    assert_close(refined.transl, content["transl"]["weight"], atol=1e-5, rtol=0)
    poses = content["pose"]["weight"].view(NUM_TRAINING_FRAMES, -1, 3)
    assert_close(refined.axis_angle, poses, atol=1e-4, rtol=0)
    results: Any = pipeline.get_average_eval_image_metrics()
    assert (results["in_between/num_images"], results["novel_pose/num_images"]) == (1, 2)


def test_an_existing_run_stays(
    capture: Path, uv_obj: Path, original_content: Original, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = _save(original_content(1, num_frames=NUM_TRAINING_FRAMES), tmp_path / "original")
    assert _import(checkpoint, capture, uv_obj, tmp_path) == 0
    (config,) = tmp_path.rglob("config.yml")
    config.write_text("mine")
    assert _import(checkpoint, capture, uv_obj, tmp_path) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert config.read_text() == "mine"


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"num_frames": 9}, (), "poses of 9 frames, but 3 frames of the capture train"),
        ({"pose_channels": 66}, (), "trained on SMPL-X with 55 joints, but the packaged open body has 24"),
        ({}, ("--stage=2",), "no pose_encoder.pth"),
    ],
)
def test_what_does_not_fit_is_refused(
    changes: dict[str, int],
    options: tuple[str, ...],
    message: str,
    capture: Path,
    uv_obj: Path,
    original_content: Original,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = original_content(1, **({"num_frames": NUM_TRAINING_FRAMES} | changes))
    checkpoint = _save(content, tmp_path / "original")
    assert _import(checkpoint, capture, uv_obj, tmp_path / "outputs", *options) == 1
    error = capsys.readouterr().err
    assert message in error
    assert str(checkpoint) in error
    assert not (tmp_path / "outputs").exists()


def test_a_layout_of_another_body_is_refused(
    capture: Path, original_content: Original, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = _save(original_content(1, num_frames=NUM_TRAINING_FRAMES), tmp_path / "original")
    layout = tmp_path / "other.obj"
    layout.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n")
    assert _import(checkpoint, capture, layout, tmp_path / "outputs") == 1
    assert "other.obj has 1 triangles" in capsys.readouterr().err
