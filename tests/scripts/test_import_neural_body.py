"""Files of the original trainer become runs, or are refused with the reason."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.capture.writers import CaptureConfig, write_zju_mocap
from human_avatars.engine.schedulers import EpochDecaySchedulerConfig
from human_avatars.scripts.cli import run
from human_avatars.scripts.import_neural_body import read_neural_body_checkpoint

NUM_FRAMES = 3
EPOCH = 399
# Channels in and out of the published network's convolutions, and how many follow each other in a block.
BLOCKS = {
    "conv0": (16, 16, 2),
    "down0": (16, 32, 1),
    "conv1": (32, 32, 2),
    "down1": (32, 64, 1),
    "conv2": (64, 64, 3),
    "down2": (64, 128, 1),
    "conv3": (128, 128, 3),
    "down3": (128, 128, 1),
    "conv4": (128, 128, 3),
}
HEADS = {
    "fc_0": (352, 256),
    "fc_1": (256, 256),
    "fc_2": (256, 256),
    "alpha_fc": (256, 1),
    "feature_fc": (256, 256),
    "latent_fc": (384, 256),
    "view_fc": (346, 128),
    "rgb_fc": (128, 3),
}


def original_network(num_vertices: int, num_frames: int) -> dict[str, torch.Tensor]:
    """Random weights by the names and shapes of the original, in spconv 1's layout."""
    torch.manual_seed(7)
    state = {"c.weight": torch.randn(num_vertices, 16), "latent.weight": torch.randn(num_frames, 128)}
    for block, (channels_in, channels_out, count) in BLOCKS.items():
        for i in range(count):
            convolution, norm = f"xyzc_net.{block}.{3 * i}", f"xyzc_net.{block}.{3 * i + 1}"
            state[f"{convolution}.weight"] = torch.randn(3, 3, 3, channels_in if i == 0 else channels_out, channels_out)
            state |= {f"{norm}.{name}": torch.rand(channels_out) for name in ("weight", "bias", "running_mean")}
            state |= {f"{norm}.running_var": torch.ones(channels_out), f"{norm}.num_batches_tracked": torch.tensor(9)}
    for name, (channels_in, channels_out) in HEADS.items():
        state[f"{name}.weight"] = torch.randn(channels_out, channels_in, 1)
        state[f"{name}.bias"] = torch.randn(channels_out)
    return state


def write_original(path: Path, **changes: Any) -> Path:
    """A file as the original's trainer writes it, with entries replaced, or left out where None."""
    content = {"net": {}, "optim": {"state": {}}, "scheduler": {"last_epoch": EPOCH}, "recorder": {}, "epoch": EPOCH}
    torch.save({key: value for key, value in (content | changes).items() if value is not None}, path)
    return path


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three training frames and an unseen one, 32 pixels wide."""
    folder = tmp_path_factory.mktemp("data") / "tiny"
    write_zju_mocap(folder, CaptureConfig(frames=NUM_FRAMES + 1, size=32, test_cameras=(3,)))
    return folder


@pytest.fixture(scope="module")
def latest(tmp_path_factory: pytest.TempPathFactory, open_body: BodyModel) -> Path:
    """A published checkpoint's like for the open body."""
    path = tmp_path_factory.mktemp("published") / "latest.pth"
    return write_original(path, net=original_network(open_body.num_vertices, NUM_FRAMES))


def _import(checkpoint: Path, capture: Path, output: Path, *options: str) -> int:
    arguments = ["--checkpoint", str(checkpoint), "--data", str(capture), "--output-dir", str(output)]
    return run(["import-checkpoint", "neural-body", *arguments, "--timestamp=imported", *options])


def test_weights_and_epoch_are_read(tmp_path: Path) -> None:
    path = write_original(tmp_path / "latest.pth", net={"fc_0.bias": torch.ones(2)}, epoch=3)
    network, epoch = read_neural_body_checkpoint(path)
    assert_close(network, {"fc_0.bias": torch.ones(2)})
    assert epoch == 3


@pytest.mark.parametrize(
    ("changes", "found"),
    [({"net": None}, "optim, scheduler, recorder, epoch"), ({"net": 3}, "'net'"), ({"epoch": None}, "'epoch' is None")],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, Any], found: str) -> None:
    path = write_original(tmp_path / "latest.pth", **changes)
    with pytest.raises(ValueError, match=found) as refusal:
        read_neural_body_checkpoint(path)
    assert str(path) in str(refusal.value)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.pth does not exist"):
        read_neural_body_checkpoint(tmp_path / "absent.pth")
    whole = write_original(tmp_path / "whole.pth", net={"fc_0.weight": torch.ones(99, 99)}).read_bytes()
    for content in (b"", b"<html>", whole[: len(whole) // 2]):
        (tmp_path / "latest.pth").write_bytes(content)
        with pytest.raises(ValueError, match=r"latest\.pth cannot be read .* Download it again"):
            read_neural_body_checkpoint(tmp_path / "latest.pth")


def test_nothing_in_the_file_is_executed(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    write_original(tmp_path / "zip.pth", recorder=Trap())
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"net": Trap()}))
    for name in ("zip.pth", "plain.pth"):
        with pytest.raises(ValueError, match="more than data"):
            read_neural_body_checkpoint(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_numpy_numbers_in_the_trainers_records_do_no_harm(tmp_path: Path) -> None:
    import human_avatars.configs.method_configs  # noqa: F401  declares them harmless

    path = write_original(tmp_path / "latest.pth", scheduler={"base_lrs": [np.float64(5e-4)]})
    assert read_neural_body_checkpoint(path)[1] == EPOCH


def test_the_run_is_what_nerfstudios_commands_open(
    latest: Path, capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nerfstudio.utils.eval_utils import eval_setup

    monkeypatch.setattr("human_avatars.model_components.metrics._load_lpips", lambda: None)  # no download
    assert _import(latest, capture, tmp_path) == 0
    folder = tmp_path / "tiny" / "neural-body" / "imported"
    _, pipeline, path, step = eval_setup(folder / "config.yml")
    assert path == folder / "nerfstudio_models/step-000199999.ckpt"
    assert step == 199_999
    original: Any = torch.load(latest, weights_only=True)
    field: Any = pipeline.model.field
    assert_close(field.codes.weight, original["net"]["c.weight"], check_device=False)
    assert_close(field.frame_codes.weight, original["net"]["latent.weight"], check_device=False)
    results: Any = pipeline.get_average_eval_image_metrics()
    assert results["novel_view/num_images"] == results["novel_pose/num_images"] == 1


def test_training_goes_on_at_the_rate_of_the_next_epoch(latest: Path, capture: Path, tmp_path: Path) -> None:
    assert _import(latest, capture, tmp_path) == 0
    folder = tmp_path / "tiny" / "neural-body" / "imported"
    config = yaml.load((folder / "config.yml").read_text(), Loader=yaml.Loader)
    config.load_dir, config.vis = folder / "nerfstudio_models", "tensorboard"
    config.pipeline.datamanager.train_num_rays_per_batch = 16
    trainer = config.setup()
    trainer.setup()
    assert trainer._start_step == 200_000
    scheduler = trainer.optimizers.schedulers["fields"]
    factor = EpochDecaySchedulerConfig().decay_factor ** (400 / 1000)
    assert scheduler.get_last_lr() == [pytest.approx(5e-4 * factor)]
    assert trainer.optimizers.optimizers["fields"].param_groups[0]["lr"] == pytest.approx(5e-4 * factor)


def test_an_existing_run_stays(latest: Path, capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _import(latest, capture, tmp_path) == 0
    (config,) = tmp_path.rglob("config.yml")
    config.write_text("mine")
    assert _import(latest, capture, tmp_path) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert config.read_text() == "mine"
    assert _import(latest, capture, tmp_path, "--overwrite") == 0
    assert config.read_text() != "mine"


@pytest.mark.parametrize(
    ("vertices", "frames", "options", "message"),
    [
        (99, NUM_FRAMES, (), "codes for 99 vertices"),
        (None, 50, (), "50 frames"),
        (None, NUM_FRAMES, ("--num-train-frames=2",), "but 2 frames of the capture train"),
    ],
)
def test_a_capture_that_does_not_fit_is_refused(
    vertices: int | None,
    frames: int,
    options: tuple[str, ...],
    message: str,
    capture: Path,
    open_body: BodyModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    network = original_network(vertices or open_body.num_vertices, frames)
    checkpoint = write_original(tmp_path / "latest.pth", net=network)
    assert _import(checkpoint, capture, tmp_path / "outputs", *options) == 1
    error = capsys.readouterr().err
    assert message in error
    assert str(checkpoint) in error
    assert not (tmp_path / "outputs").exists()


def test_a_network_of_another_method_is_named(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_original(tmp_path / "latest.pth", net={"encoder.weight": torch.ones(3)})
    assert _import(checkpoint, capture, tmp_path / "outputs") == 1
    assert str(checkpoint) in capsys.readouterr().err
