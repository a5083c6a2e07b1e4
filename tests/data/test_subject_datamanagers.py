"""The datamanager as nerfstudio's trainer, evaluator and tools use it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager
from nerfstudio.scripts.render import _disable_datamanager_setup

from human_avatars.data import subject_dataset
from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig
from human_avatars.data.subject_datamanagers import SubjectDataManager, SubjectDataManagerConfig
from human_avatars.data.subject_dataset import SubjectDataset

WriteZju = Callable[..., Any]
pytestmark = pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")


@pytest.fixture
def folder(write_zju: WriteZju) -> Path:
    return write_zju(num_cameras=5, num_frames=6).path


@pytest.fixture
def manager(folder: Path) -> SubjectDataManager:
    return _config(folder).setup(device="cpu", test_mode="val")


def _config(folder: Path) -> SubjectDataManagerConfig:
    return SubjectDataManagerConfig(
        dataparser=ZjuMocapDataParserConfig(data=folder, eval_frame_interval=2), train_num_rays_per_batch=50
    )


def test_set_up_reads_no_image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("an image was read")

    monkeypatch.setattr(subject_dataset, "read_subject_image", refuse)
    manager = _config(folder).setup(device="cpu", test_mode="val")
    assert (len(manager.train_dataset), len(manager.eval_dataset)) == (16, 3)


def test_training_rays_go_through_the_drawn_pixels(manager: SubjectDataManager) -> None:
    rays, batch = manager.next_train(0)
    assert rays.origins.shape == (50, 3)
    assert batch["image"].shape == (50, 4)
    image, y, x = batch["indices"][7].tolist()
    coordinates = torch.tensor([y + 0.5, x + 0.5])
    expected = manager.train_dataset.cameras.generate_rays(image, coords=coordinates)
    torch.testing.assert_close(rays.directions[7], expected.directions)
    frame = manager.train_dataset.frames.frame_indices[image]
    assert (rays.metadata["frame_index"] == frame).all()
    assert manager.train_count == 1


def test_evaluation_rays_are_drawn_from_the_test_images(manager: SubjectDataManager) -> None:
    rays, batch = manager.next_eval(0)
    assert len(rays.origins) == manager.get_eval_rays_per_batch() == 1024
    assert batch["indices"][:, 0].max() < 3


def test_evaluation_images_come_one_by_one_with_their_silhouette(manager: SubjectDataManager) -> None:
    loader = manager.fixed_indices_eval_dataloader
    assert len(loader) == 3
    for _ in range(2):
        entries = list(loader)
        assert [batch["image_idx"] for _, batch in entries] == [0, 1, 2]
        for camera, batch in entries:
            assert camera.shape == (1,)
            assert batch["image"].shape == (48, 48, 4)
            assert batch["mask_at_box"].shape == (48, 48, 1)
    camera, batch = manager.next_eval_image(0)
    times = manager.eval_dataset.cameras.times
    assert camera.times is not None
    assert times is not None
    assert torch.equal(camera.times, times[batch["image_idx"]][None])
    assert batch["image"].shape[-1] == 4


def test_spiral_and_export_find_what_they_ask_for(manager: SubjectDataManager) -> None:
    assert isinstance(manager, VanillaDataManager)
    camera, _ = manager.eval_dataloader.get_camera(image_idx=0)
    assert camera.fx.dtype == camera.camera_to_worlds.dtype == torch.float32
    assert manager.train_pixel_sampler is not None
    manager.train_pixel_sampler.num_rays_per_batch = 7
    assert len(manager.next_train(0)[1]["indices"]) == manager.get_train_rays_per_batch() == 7


def test_rendering_the_dataset_needs_no_set_up(folder: Path) -> None:
    config = _config(folder)
    with _disable_datamanager_setup(config._target):
        manager = config.setup(test_mode="test", device="cpu")
    assert isinstance(manager.eval_dataset, SubjectDataset)
    # ns-render takes four channels for features and shows their principal components.
    assert manager.eval_dataset[0]["image"].shape[-1] == 3


def test_inference_parses_both_splits_and_sets_nothing_up(folder: Path) -> None:
    manager = _config(folder).setup(device="cpu", test_mode="inference")
    assert manager.includes_time
    assert manager.train_pixel_sampler is None
    assert manager.eval_dataset.split_labels == ("novel_view", "novel_view", "novel_pose")


def test_two_managers_with_the_same_seed_draw_the_same(folder: Path) -> None:
    def draw() -> torch.Tensor:
        torch.manual_seed(42)
        manager = _config(folder).setup(device="cpu", test_mode="val")
        return torch.cat([manager.next_train(step)[1]["indices"] for step in range(5)])

    assert torch.equal(draw(), draw())


def test_zju_mocap_is_the_default_data_parser() -> None:
    assert isinstance(SubjectDataManagerConfig().dataparser, ZjuMocapDataParserConfig)
