"""Sharing a decoding among steps changes no gradient, and what is baked follows the weights."""

import copy

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from human_avatars.fields.gaussian_avatar_field import GaussianAvatarField, TexelGaussians
from human_avatars.fields.texel_decoding import BakedTexels, SharedDecoding


@pytest.fixture
def field() -> GaussianAvatarField:
    """A small field in double precision."""
    torch.manual_seed(0)
    mask = torch.rand(12, 12) < 0.7
    return GaussianAvatarField(mask, feature_size=8, feature_channels=4, hidden=8).double()


def _loss(texels: TexelGaussians, image: int) -> Tensor:
    """Another function of all decoded values for every image."""
    torch.manual_seed(image)
    parts = (texels.offsets, texels.radii, texels.colors, texels.squared_offset)
    return sum(((part * torch.randn_like(part)).sin().sum() for part in parts), torch.zeros(()))


def _gradients(field: GaussianAvatarField, steps_per_update: int, num_steps: int) -> dict[str, Tensor]:
    shared = SharedDecoding(field)
    for step in range(num_steps):
        _loss(shared.of_step(step, steps_per_update), step).backward()
    return {name: weight.grad for name, weight in field.named_parameters() if weight.grad is not None}


def test_steps_that_share_a_decoding_leave_the_gradients_of_steps_that_do_not(field: GaussianAvatarField) -> None:
    other = copy.deepcopy(field)
    assert_close(_gradients(field, 3, 6), _gradients(other, 1, 6))


def test_no_weight_has_a_gradient_before_the_last_step(field: GaussianAvatarField) -> None:
    assert _gradients(field, 3, 2) == {}


def test_training_may_go_on_in_the_middle_of_an_update(field: GaussianAvatarField) -> None:
    other = copy.deepcopy(field)
    late = SharedDecoding(field)
    for step in (1, 2):
        _loss(late.of_step(step, 3), step).backward()
    for step in (1, 2):
        _loss(other(), step).backward()
    assert_close([weight.grad for weight in field.parameters()], [weight.grad for weight in other.parameters()])


def test_texels_are_decoded_anew_when_a_weight_changes_and_only_then(field: GaussianAvatarField) -> None:
    baked, calls = BakedTexels(field.eval()), []

    def decode() -> TexelGaussians:
        calls.append(1)
        return field()

    assert not baked.get(None, decode).colors.requires_grad
    assert_close(baked.get(None, decode).colors, field().colors)
    assert len(calls) == 1
    with torch.no_grad():
        field.features[0, 0, 0, 0] += 1
    assert_close(baked.get(None, decode).colors, field().colors)
    assert len(calls) == 2
    field.load_state_dict({name: tensor + 1 for name, tensor in field.state_dict().items()})
    baked.get(None, decode)
    field.float()
    assert baked.get(None, decode).colors.dtype == torch.float32
    assert len(calls) == 4


def test_statistics_of_batch_norm_count_as_weights(field: GaussianAvatarField) -> None:
    baked = BakedTexels(field)
    before = baked.get(None, field.eval()).colors
    field.train()()
    assert (baked.get(None, field.eval()).colors - before).abs().max() > 0


def test_another_pose_is_decoded_anew(field: GaussianAvatarField) -> None:
    baked = BakedTexels(field.eval())
    baked.get(3, field)
    with pytest.raises(ZeroDivisionError):
        baked.get(4, lambda: 1 / 0)  # pyright: ignore[reportArgumentType]
    baked.get(3, field)
