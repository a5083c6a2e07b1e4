"""Where training pixels come from: fractions, one frame per batch, epochs, and the seed."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from human_avatars.data.dataparsers.zju_mocap import ZjuMocapDataParserConfig
from human_avatars.data.pixel_samplers import SubjectPixelSampler, SubjectPixelSamplerConfig
from human_avatars.data.subject_dataset import SubjectDataset

WriteZju = Callable[..., Any]
NUM_VIEWS, NUM_FRAMES = 4, 3


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def folder(write_zju: WriteZju) -> Path:
    return write_zju(num_cameras=NUM_VIEWS + 1, num_frames=NUM_FRAMES).path


@pytest.fixture
def dataset(folder: Path) -> SubjectDataset:
    return _dataset(folder, mask_border=3)


def _dataset(folder: Path, **options: Any) -> SubjectDataset:
    config = ZjuMocapDataParserConfig(data=folder, num_train_frames=NUM_FRAMES, **options)
    return SubjectDataset(config.setup().get_dataparser_outputs("train"))


def _sampler(dataset: SubjectDataset, num_rays: int = 100, cache_bytes: int = 2**20, **options: Any) -> Any:
    config = SubjectPixelSamplerConfig(**options)
    return config.setup(dataset=dataset, num_rays_per_batch=num_rays, cache_bytes=cache_bytes)


def _pixels(dataset: SubjectDataset, indices: torch.Tensor, key: str) -> torch.Tensor:
    """What the dataset's own entries hold at the drawn indices."""
    return torch.stack([dataset.get_data(int(image))[key][y, x] for image, y, x in indices.tolist()])


def test_colours_are_those_of_the_drawn_pixels(dataset: SubjectDataset) -> None:
    batch = _sampler(dataset).sample()
    assert set(batch) == {"image", "indices"}
    assert batch["indices"].dtype == torch.int64
    assert torch.equal(batch["image"], _pixels(dataset, batch["indices"], "image"))


def test_every_pixel_sees_the_box_and_none_is_undecided(dataset: SubjectDataset) -> None:
    sampler = _sampler(dataset)
    for _ in range(8):
        indices = sampler.sample()["indices"]
        assert _pixels(dataset, indices, "mask_at_box").all()
        assert _pixels(dataset, indices, "mask").all()


def test_border_pixels_train_where_asked(dataset: SubjectDataset) -> None:
    sampler = _sampler(dataset, num_rays=400, sample_border=True)
    batch = sampler.sample()
    undecided = ~_pixels(dataset, batch["indices"], "mask")[:, 0]
    assert undecided.any()
    assert (batch["image"][undecided, 3] == 1).all()


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_the_bodys_part_of_the_rays(dataset: SubjectDataset, fraction: float) -> None:
    sampler = _sampler(dataset, num_rays=1000, body_fraction=fraction)
    batch = sampler.sample()
    image = int(batch["indices"][0, 0])
    data = dataset.get_data(image)
    eligible = data["mask_at_box"] & data["mask"]
    inside = (data["image"][..., 3:] > 0) & eligible
    share = float(inside.sum() / eligible.sum())
    expected = fraction + (1 - fraction) * share
    assert float(batch["image"][:, 3].mean()) == pytest.approx(expected, abs=4 * (0.25 / 1000) ** 0.5)


def test_a_batch_is_one_view_by_default_and_an_epoch_is_every_view_once(dataset: SubjectDataset) -> None:
    sampler = _sampler(dataset)
    orders = []
    for _ in range(3):
        images = [sampler.sample()["indices"][:, 0].unique().tolist() for _ in range(len(dataset))]
        assert sorted(images) == [[image] for image in range(len(dataset))]
        orders.append(images)
    assert orders[0] != orders[1]
    assert orders[1] != orders[2]


def test_all_views_of_one_frame_share_the_rays_evenly(dataset: SubjectDataset) -> None:
    sampler = _sampler(dataset, num_rays=102, views_per_batch=None)
    frames = []
    for _ in range(NUM_FRAMES):
        counts = Counter(sampler.sample()["indices"][:, 0].tolist())
        assert sorted(counts.values()) == [25, 25, 26, 26]
        (frame,) = dataset.frames.frame_indices[list(counts)].unique().tolist()
        frames.append(frame)
    assert sorted(frames) == list(range(NUM_FRAMES))


def test_some_views_of_one_frame_share_a_batch(dataset: SubjectDataset) -> None:
    sampler = _sampler(dataset, views_per_batch=3)
    seen: Counter[int] = Counter()
    for _ in range(2 * NUM_FRAMES):
        images = sampler.sample()["indices"][:, 0].unique()
        assert len(images) in (1, 3)
        assert len(dataset.frames.frame_indices[images].unique()) == 1
        seen.update(images.tolist())
    assert seen == dict.fromkeys(range(len(dataset)), 1)


def test_the_seed_decides_order_and_pixels(dataset: SubjectDataset) -> None:
    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        sampler = _sampler(dataset)
        # Other random numbers in between do not matter.
        torch.rand(seed + 1)
        return torch.cat([sampler.sample()["indices"] for _ in range(5)])

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))


def test_the_cache_changes_nothing_but_the_reading(dataset: SubjectDataset) -> None:
    draws = []
    for cache_bytes in (0, 2**20):
        torch.manual_seed(0)
        sampler = _sampler(dataset, cache_bytes=cache_bytes)
        draws.append(torch.cat([sampler.sample()["indices"] for _ in range(10)]))
    assert torch.equal(*draws)


def test_candidates_are_kept_within_the_budget(dataset: SubjectDataset) -> None:
    sampler = _sampler(dataset, cache_bytes=20_000)
    for _ in range(30):
        sampler.sample()
        assert sampler._candidates.num_bytes <= 20_000
    assert sampler._candidates.num_bytes > 0


def test_the_number_of_rays_can_change_between_batches(dataset: SubjectDataset) -> None:
    sampler = _sampler(dataset)
    sampler.num_rays_per_batch = 37
    assert len(sampler.sample()["indices"]) == 37


def test_a_person_within_the_border_band_is_drawn_from_the_box(folder: Path) -> None:
    dataset = _dataset(folder, mask_border=17, box_padding=(0.3, 0.3, 0.3))
    sampler = _sampler(dataset, body_fraction=1.0)
    for _ in range(len(dataset)):
        batch = sampler.sample()
        assert not batch["image"].any()
        assert _pixels(dataset, batch["indices"], "mask_at_box").all()


def test_a_border_band_that_covers_the_box_is_told(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"\.jpg: the border band of 95 pixels covers.*--mask-border"):
        _sampler(_dataset(folder, mask_border=95)).sample()


def test_a_body_out_of_the_picture_is_told(dataset: SubjectDataset) -> None:
    dataset.frames.world_to_cameras[:, 0, 3] += 50.0
    with pytest.raises(ValueError, match=r"\.jpg: no pixel of this image sees the body's box.*calibration"):
        _sampler(dataset).sample()


@pytest.mark.parametrize("options", [{"body_fraction": 1.5}, {"views_per_batch": 0}])
def test_options_out_of_range_are_told(dataset: SubjectDataset, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        _sampler(dataset, **options)


def test_the_config_builds_this_sampler(dataset: SubjectDataset) -> None:
    assert isinstance(_sampler(dataset), SubjectPixelSampler)
