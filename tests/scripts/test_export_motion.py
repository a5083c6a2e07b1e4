"""`human-avatars export motion` on a run that refined its poses."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from human_avatars.body_models.body_pose_optimizer import BodyPoseOptimizerConfig
from human_avatars.capture.capture_config import CaptureConfig
from human_avatars.capture.writers import write_zju_mocap
from human_avatars.scripts.cli import run

NUM_FRAMES, NUM_TRAINED = 4, 3
MOVED = 0.125


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three training frames and an unseen one, 32 pixels wide."""
    folder = tmp_path_factory.mktemp("data") / "tiny"
    write_zju_mocap(folder, CaptureConfig(frames=NUM_FRAMES, size=32, test_cameras=(3,)))
    return folder


@pytest.fixture(scope="module")
def make_run(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """Writes a run whose refinement moved everything in the training frames; gives its config.yml and its model."""
    from human_avatars.configs.method_configs import neural_body_cpu

    def write(mode: str) -> tuple[Path, Any]:
        config: Any = copy.deepcopy(neural_body_cpu.config)
        config.output_dir, config.timestamp, config.data = tmp_path_factory.mktemp("runs"), "refined", capture
        config.pipeline.datamanager.data = capture
        config.pipeline.model.body_pose_optimizer = BodyPoseOptimizerConfig(mode=mode)  # pyright: ignore[reportArgumentType]
        config.experiment_name = "tiny"
        pipeline = config.pipeline.setup(device="cpu", test_mode="test")
        with torch.no_grad():
            for parameter in pipeline.model.body_pose_optimizer.parameters():
                parameter += MOVED
        folder = config.get_base_dir()
        (folder / config.relative_model_dir).mkdir(parents=True)
        checkpoint = {"step": 0, "pipeline": pipeline.state_dict()}
        torch.save(checkpoint, folder / config.relative_model_dir / "step-000000000.ckpt")
        (folder / "config.yml").write_text(yaml.dump(config), "utf8")
        return folder / "config.yml", pipeline.model

    return write


def test_refined_poses_are_written(make_run: Callable[[str], tuple[Path, Any]], tmp_path: Path) -> None:
    config, model = make_run("all")
    output, refined = tmp_path / "motion.npz", model.refined_motion().poses
    arguments = ["export", "motion", "--load-config", str(config), "--output-path", str(output)]
    assert run([*arguments, "--frames-per-second", "30"]) == 0
    with np.load(output, allow_pickle=False) as file:
        np.testing.assert_allclose(file["poses"], refined.axis_angle.flatten(1), atol=1e-6)
        np.testing.assert_allclose(file["trans"], refined.transl, atol=1e-6)
        np.testing.assert_allclose(file["betas"], model.subject.betas)
        captured = model.subject.motion.poses.transl
        np.testing.assert_allclose(file["trans"][:NUM_TRAINED] - captured[:NUM_TRAINED].numpy(), MOVED, atol=1e-5)
        np.testing.assert_allclose(file["trans"][NUM_TRAINED:], captured[NUM_TRAINED:])
        assert float(file["mocap_framerate"]) == 30
    # What is there stays, unless it may go.
    before = output.read_bytes()
    assert run(arguments) == 1
    assert output.read_bytes() == before
    assert run([*arguments, "--overwrite"]) == 0
    assert output.read_bytes() != before


def test_a_run_without_refinement_writes_what_was_captured(
    make_run: Callable[[str], tuple[Path, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, model = make_run("off")
    output = tmp_path / "smpl_parms.pth"
    arguments = ["export", "motion", "--load-config", str(config), "--output-path", str(output)]
    assert run([*arguments, "--frames", "train"]) == 0
    content = torch.load(output, weights_only=True)
    assert torch.equal(content["trans"], model.subject.motion.poses.transl[:NUM_TRAINED])
    assert "as captured" in capsys.readouterr().out


def test_a_run_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "motion", "--load-config", str(tmp_path / "config.yml")]) == 1
    assert "config.yml does not exist" in capsys.readouterr().err


def test_a_file_of_another_kind_is_refused_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--load-config", str(tmp_path / "config.yml"), "--output-path", str(tmp_path / "motion.bvh")]
    assert run(["export", "motion", *arguments]) == 1
    assert "motion.bvh ends in neither .npz nor .pth" in capsys.readouterr().err
