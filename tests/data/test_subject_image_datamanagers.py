"""The image datamanager as splat models, nerfstudio's trainer, evaluator and tools use it."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanagerConfig
from nerfstudio.scripts.render import _disable_datamanager_setup
from nerfstudio.viewer.utils import parse_object
from nerfstudio.viewer.viewer_elements import ViewerElement

from human_avatars.data import subject_dataset
from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig
from human_avatars.data.subject_dataset import SubjectDataset
from human_avatars.data.subject_image_datamanagers import SubjectImageDataManager, SubjectImageDataManagerConfig

WriteZju = Callable[..., Any]
NUM_TRAIN, NUM_EVAL = 16, 3


@pytest.fixture
def config(write_zju: WriteZju) -> SubjectImageDataManagerConfig:
    folder = write_zju(num_cameras=5, num_frames=6).path
    return SubjectImageDataManagerConfig(dataparser=ZjuMocapDataParserConfig(data=folder, eval_frame_interval=2))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read, in order."""
    files: list[Path] = []
    original = subject_dataset.read_cutout

    def read(image: Path, *arguments: Any) -> Any:
        files.append(image)
        return original(image, *arguments)

    monkeypatch.setattr(subject_dataset, "read_cutout", read)
    return files


def _set_up(config: SubjectImageDataManagerConfig, **changes: Any) -> SubjectImageDataManager:
    return replace(config, **changes).setup(device="cpu", test_mode="val")


def _epoch(manager: SubjectImageDataManager) -> list[int]:
    return [manager.next_train(step)[1]["image_idx"] for step in range(NUM_TRAIN)]


def _reader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("training-images")]


def test_set_up_and_the_viewers_search_read_nothing(config: SubjectImageDataManagerConfig, reads: list[Path]) -> None:
    manager = _set_up(config)
    assert (len(manager.train_dataset), len(manager.eval_dataset)) == (NUM_TRAIN, NUM_EVAL)
    assert parse_object(manager, ViewerElement, "Custom Elements") == []
    assert manager.get_train_rays_per_batch() == 48 * 48
    assert manager.includes_time
    assert reads == []
    assert not _reader_threads()


@pytest.mark.parametrize("trusted", [True, False])
def test_a_batch_is_the_rectangle_that_its_camera_sees(config: SubjectImageDataManagerConfig, trusted: bool) -> None:
    manager = _set_up(config, trust_mask_border=trusted)
    camera, batch = manager.next_train(0)
    height, width = batch["image"].shape[:2]
    assert batch["image"].dtype == torch.float32
    assert batch["image"].shape == (height, width, 4)
    assert set(batch["image"].unique().mul(255).tolist()) <= set(range(256))
    assert batch["mask"].shape == batch["mask_at_box"].shape == (height, width, 1)
    assert batch["mask"].dtype == batch["mask_at_box"].dtype == torch.bool
    assert bool(batch["mask"].all()) == trusted
    assert camera.shape == (1,)
    assert (camera.height.item(), camera.width.item()) == (height, width)
    assert manager.get_train_rays_per_batch() == height * width < 48 * 48
    assert manager.train_count == 1


def test_a_cut_camera_shoots_the_rays_of_the_whole_one(config: SubjectImageDataManagerConfig) -> None:
    manager = _set_up(config)
    camera, batch = manager.next_train(0)
    whole = manager.train_dataset.cameras[batch["image_idx"] : batch["image_idx"] + 1]
    top, left = int(whole.cy - camera.cy), int(whole.cx - camera.cx)
    assert left > 0
    part = (slice(top, top + int(camera.height)), slice(left, left + int(camera.width)))
    ours = camera.generate_rays(camera_indices=0, keep_shape=True)
    theirs = whole.generate_rays(camera_indices=0, keep_shape=True)[part]
    torch.testing.assert_close(ours.directions, theirs.directions)
    assert ours.times is not None
    assert theirs.times is not None
    assert torch.equal(ours.times, theirs.times)
    assert torch.equal(ours.metadata["frame_index"], theirs.metadata["frame_index"])
    mask_at_box = manager.train_dataset.frames.mask_at_box(batch["image_idx"])
    assert torch.equal(batch["mask_at_box"][..., 0], mask_at_box[part])


def test_whole_images_where_asked(config: SubjectImageDataManagerConfig) -> None:
    manager = _set_up(config, crop_margin=None, trust_mask_border=False)
    camera, batch = manager.next_train(0)
    entry = manager.train_dataset.get_data(batch["image_idx"])
    for key in ("image", "mask", "mask_at_box"):
        assert torch.equal(batch[key], entry[key])
    assert torch.equal(camera.cx, manager.train_dataset.cameras.cx[batch["image_idx"]][None])
    with pytest.raises(ValueError, match=r"crop_margin is -0.1"):
        _set_up(config, crop_margin=-0.1)


def test_every_image_comes_once_before_any_comes_again(config: SubjectImageDataManagerConfig) -> None:
    manager = _set_up(config)
    first, second = _epoch(manager), _epoch(manager)
    assert sorted(first) == sorted(second) == list(range(NUM_TRAIN))
    assert first != second


def test_the_order_follows_the_seed(config: SubjectImageDataManagerConfig) -> None:
    def order(seed: int) -> list[int]:
        torch.manual_seed(seed)
        return _epoch(_set_up(config))

    assert order(1) == order(1) != order(2)


def test_what_a_model_does_to_its_camera_and_batch_stays_there(config: SubjectImageDataManagerConfig) -> None:
    manager = _set_up(config)
    seen = {}
    for _ in range(NUM_TRAIN):
        camera, batch = manager.next_train(0)
        seen[batch["image_idx"]] = (camera.cx.item(), batch["image"].clone())
        assert camera.metadata is not None
        assert camera.metadata["cam_idx"] == batch["image_idx"]
        camera.rescale_output_resolution(0.5)
        camera.metadata.clear()
        batch["image"].zero_()
    for _ in range(NUM_TRAIN):
        camera, batch = manager.next_train(0)
        cx, image = seen[batch["image_idx"]]
        assert camera.cx.item() == cx
        assert torch.equal(batch["image"], image)


@pytest.mark.parametrize(("gigabytes", "epochs_read"), [(2.0, 1), (0.0, 3)])
def test_images_are_kept_within_the_budget(
    config: SubjectImageDataManagerConfig, reads: list[Path], gigabytes: float, epochs_read: int
) -> None:
    manager = _set_up(config, cache_gigabytes=gigabytes)
    for _ in range(3):
        _epoch(manager)
    manager._reader.shutdown(wait=True)
    assert len(reads) - (epochs_read == 3) == epochs_read * NUM_TRAIN
    assert manager._images.num_bytes <= gigabytes * 2**30


def test_the_next_image_is_read_during_the_step(config: SubjectImageDataManagerConfig, reads: list[Path]) -> None:
    manager = _set_up(config)
    _, batch = manager.next_train(0)
    deadline = time.monotonic() + 10
    while len(reads) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert reads[0] == manager.train_dataset.image_filenames[batch["image_idx"]]
    _, batch = manager.next_train(1)
    assert reads[1] == manager.train_dataset.image_filenames[batch["image_idx"]]


def test_a_broken_file_is_named_at_its_turn_and_training_can_go_on(config: SubjectImageDataManagerConfig) -> None:
    manager = _set_up(config)
    broken = manager.train_dataset.image_filenames[5]
    broken.write_bytes(broken.read_bytes()[:-80])
    seen, errors = [], []
    for step in range(NUM_TRAIN):
        try:
            seen.append(manager.next_train(step)[1]["image_idx"])
        except ValueError as error:
            errors.append(str(error))
    assert len(errors) == 1
    assert str(broken) in errors[0]
    assert sorted(seen) == [index for index in range(NUM_TRAIN) if index != 5]


def test_an_error_of_any_other_kind_names_the_file_too(
    config: SubjectImageDataManagerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError("none left")

    monkeypatch.setattr(subject_dataset, "read_cutout", fail)
    with pytest.raises(RuntimeError, match=r"Camera_B\d[/\\]\d{6}\.jpg could not be made ready .*none left"):
        _set_up(config).next_train(0)


def test_evaluation_is_the_same_however_training_images_are_cut(config: SubjectImageDataManagerConfig) -> None:
    assert isinstance(config, FullImageDatamanagerConfig)
    entries = [list(_set_up(config, trust_mask_border=trust).fixed_indices_eval_dataloader) for trust in (True, False)]
    for (camera, batch), (_, other), index in zip(*entries, range(NUM_EVAL), strict=True):
        assert camera.shape == (1,)
        assert batch["image_idx"] == index
        assert batch["image"].shape == (48, 48, 4)
        assert not batch["mask"].all()
        for key in ("image", "mask", "mask_at_box"):
            assert torch.equal(batch[key], other[key])
    assert len(_set_up(config).fixed_indices_eval_dataloader) == NUM_EVAL


def test_evaluation_during_training_visits_every_image(config: SubjectImageDataManagerConfig) -> None:
    manager = _set_up(config)
    for _ in range(2):
        drawn = []
        for draw in (manager.next_eval, manager.next_eval_image, manager.next_eval):
            camera, batch = draw(0)
            drawn.append(batch["image_idx"])
            assert camera.times is not None
            assert camera.times.item() == pytest.approx(_time_of(manager, batch["image_idx"]))
        assert sorted(drawn) == list(range(NUM_EVAL))
    assert manager.eval_count == 6


def _time_of(manager: SubjectImageDataManager, image_idx: int) -> float:
    times = manager.eval_dataset.cameras.times
    assert times is not None
    return times[image_idx].item()


def test_rendering_the_dataset_needs_no_set_up(config: SubjectImageDataManagerConfig) -> None:
    with _disable_datamanager_setup(config._target):
        manager = config.setup(test_mode="test", device="cpu")
    assert isinstance(manager.eval_dataset, SubjectDataset)
    inference = config.setup(test_mode="inference", device="cpu")
    assert inference.eval_dataset.split_labels == ("novel_view", "novel_view", "novel_pose")


def test_the_thread_ends_with_the_manager(config: SubjectImageDataManagerConfig) -> None:
    manager = _set_up(config)
    manager.next_train(0)
    (thread,) = _reader_threads()
    del manager
    thread.join(timeout=10)
    assert not thread.is_alive()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_lie_on_the_device(config: SubjectImageDataManagerConfig) -> None:
    on_device, on_cpu = (config.setup(device=device, test_mode="val") for device in ("cuda", "cpu"))
    on_cpu.train_unseen_cameras = list(on_device.train_unseen_cameras)
    for _ in range(NUM_TRAIN):
        (camera, batch), (expected_camera, expected) = on_device.next_train(0), on_cpu.next_train(0)
        assert camera.camera_to_worlds.is_cuda
        assert torch.equal(camera.cx.cpu(), expected_camera.cx)
        for key in ("image", "mask", "mask_at_box"):
            assert batch[key].is_cuda
            assert torch.equal(batch[key].cpu(), expected[key])
    assert on_device.fixed_indices_eval_dataloader.get_camera(0)[0].camera_to_worlds.is_cuda
