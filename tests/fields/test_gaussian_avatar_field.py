"""Laws of GaussianAvatar's field: where texels read, what they depend on, and that decoding fewer changes nothing."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from human_avatars.fields.gaussian_avatar_field import GaussianAvatarField

SIZE = 24


@pytest.fixture(scope="module")
def mask() -> Tensor:
    """A disc of texels."""
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    return (rows - 9) ** 2 + (columns - 13) ** 2 < 60


def _field(mask: Tensor, **options: object) -> GaussianAvatarField:
    torch.manual_seed(0)
    small = {"feature_size": 32, "feature_channels": 4, "hidden": 8, "encoder_filters": 2}
    field = GaussianAvatarField(mask, **(small | options)).double()  # pyright: ignore[reportArgumentType]
    torch.nn.init.normal_(field.features)
    return field


def _position_map(size: int = 32) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(3, size, size, dtype=torch.float64)


def test_one_gaussian_per_texel_of_the_body(mask: Tensor) -> None:
    gaussians = _field(mask)()
    count = int(mask.sum())
    assert gaussians.offsets.shape == gaussians.colors.shape == (count, 3)
    assert gaussians.radii.shape == (count,)
    assert 0 < gaussians.radii.min() < gaussians.radii.max() < 1
    assert 0 < gaussians.colors.min() < gaussians.colors.max() < 1


def test_a_fresh_feature_map_is_faint_noise(mask: Tensor) -> None:
    torch.manual_seed(0)
    features = GaussianAvatarField(mask).features
    assert features.shape == (1, 64, 128, 128)
    assert_close(features.std(), torch.tensor(0.01), rtol=0.02, atol=0)


def test_features_are_read_as_the_original_reads_whole_maps(mask: Tensor) -> None:
    field = _field(mask)
    smoothed = field.smoother(field.features)
    # The original's map of coordinates, row first, turned into a sampling grid of (column, row).
    counted = torch.arange(SIZE, dtype=torch.float64) / (SIZE - 1)
    places = torch.stack(torch.meshgrid(counted, counted, indexing="ij"), dim=-1)
    grid = (2 * places - 1).transpose(0, 1)
    sampled = F.grid_sample(smoothed, grid[None], mode="bilinear", align_corners=False)[0]
    everything = torch.cat([sampled, places.permute(2, 0, 1)]).flatten(1).t()
    assert_close(field._read(smoothed), everything[mask.reshape(-1)])


def test_the_outermost_texels_read_half_of_the_border(mask: Tensor) -> None:
    # align_corners=False: the first and last texel lie on the map's edge, where the zeros beyond weigh one half.
    corner = torch.zeros_like(mask)
    corner[0, 5] = corner[0, 0] = True
    field = _field(corner)
    read = field._read(torch.ones(1, 4, 32, 32, dtype=torch.float64))
    assert_close(read[:, :4].mean(dim=1), torch.tensor([0.25, 0.5], dtype=torch.float64))
    assert_close(read[:, 4:], torch.tensor([[0, 0], [0, 5 / (SIZE - 1)]], dtype=torch.float64))


def test_a_feature_map_of_the_same_size_is_read_as_it_is() -> None:
    mask = torch.rand(32, 32) > 0.5
    field = _field(mask)
    features = torch.randn(1, 4, 32, 32, dtype=torch.float64)
    assert torch.equal(field._read(features)[:, :4], features[0, :, mask].t())


@torch.no_grad()
def test_texels_beside_the_body_change_only_batch_statistics(mask: Tensor) -> None:
    field, whole = _field(mask), _field(mask, decoded_texels="all")
    assert (field().offsets - whole().offsets).abs().max() > 1e-6
    whole.load_state_dict(field.state_dict())
    some, every = field.eval()(), whole.eval()()
    assert_close((some.offsets, some.radii, some.colors), (every.offsets, every.radii, every.colors))
    # The published offset loss is of all decoded texels.
    assert_close(some.squared_offset, some.offsets.square().mean())
    assert (some.squared_offset - every.squared_offset).abs() > 1e-9


def test_stage_1_knows_no_pose(mask: Tensor) -> None:
    field = _field(mask)
    assert not any(name.startswith("pose_encoder") for name in field.state_dict())
    with pytest.raises(AssertionError, match="no pose encoder"):
        field.encode_pose(_position_map())
    with pytest.raises(AssertionError, match="stage 1 none"):
        field(torch.zeros(1, 4, 32, 32, dtype=torch.float64))


@torch.no_grad()
def test_stage_2_adds_the_pose_to_the_smoothed_features(mask: Tensor) -> None:
    first, second = _field(mask).eval(), _field(mask, stage=2).eval()
    incompatible = second.load_state_dict(first.state_dict(), strict=False)
    assert incompatible.unexpected_keys == []
    assert all(name.startswith("pose_encoder") for name in incompatible.missing_keys)
    nothing = torch.zeros(1, 4, 32, 32, dtype=torch.float64)
    assert_close(second(nothing).colors, first().colors)
    there, elsewhere = (second(second.encode_pose(positions)) for positions in (_position_map(), -_position_map()))
    assert (there.colors - elsewhere.colors).abs().max() > 1e-6


@pytest.mark.parametrize("stage", [1, 2])
def test_every_weight_is_trained(mask: Tensor, stage: int) -> None:
    field = _field(mask, stage=stage)
    gaussians = field(field.encode_pose(_position_map()) if stage == 2 else None)
    (gaussians.offsets.sum() + gaussians.radii.sum() + gaussians.colors.sum()).backward()
    assert all(weight.grad is not None for weight in field.parameters())


def test_checkpoints_do_not_hold_the_surface_map(mask: Tensor) -> None:
    assert "valid" not in _field(mask).state_dict()
