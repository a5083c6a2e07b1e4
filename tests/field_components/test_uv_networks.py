"""The UV networks have the published sizes and see what they should see."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from human_avatars.field_components.frame_batch_norm import FrameBatchNorm
from human_avatars.field_components.uv_networks import FeatureSmoother, PointDecoder, PoseEncoder


def _num_weights(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def test_the_networks_are_as_large_as_the_released_ones() -> None:
    assert _num_weights(FeatureSmoother()) == 307_200
    assert _num_weights(PoseEncoder()) == 4_228_672
    assert _num_weights(PointDecoder()) == 185_863


def test_smoothing_is_linear_and_reaches_six_texels_far() -> None:
    torch.manual_seed(0)
    smoother = FeatureSmoother(4).double()
    a, b = torch.randn(2, 1, 4, 20, 20, dtype=torch.float64)
    assert_close(smoother(2 * a - 3 * b), 2 * smoother(a) - 3 * smoother(b))
    impulse = torch.zeros(1, 4, 20, 20, dtype=torch.float64)
    impulse[..., 10, 9] = 1
    reached = smoother(impulse).abs().amax(dim=(0, 1)) > 0
    assert reached[4:17, 3:16].all()
    assert reached.sum() == 13 * 13


@pytest.mark.parametrize("size", [32, 64, 128])
def test_the_pose_encoder_keeps_the_resolution(size: int) -> None:
    torch.manual_seed(0)
    encoder = PoseEncoder(out_channels=5, filters=2)
    assert encoder(torch.randn(1, 3, size, size)).shape == (1, 5, size, size)


def test_a_map_that_cannot_be_halved_five_times_is_refused() -> None:
    with pytest.raises(AssertionError, match="halved five times"):
        PoseEncoder(out_channels=5, filters=2)(torch.randn(1, 3, 48, 48))


def test_only_inner_layers_of_the_pose_encoder_are_normalised_and_learn_no_factor() -> None:
    encoder = PoseEncoder()
    norms = [norm for norm in encoder.modules() if isinstance(norm, FrameBatchNorm)]
    assert [norm.num_features for norm in norms] == [64, 128, 256, 256, 128, 64, 32]
    assert not any(norm.affine for norm in norms)
    assert [name for name, _ in encoder.named_parameters() if name.endswith("bias")] == ["up.4.bias"]


def test_every_level_of_the_pose_encoder_reaches_the_result() -> None:
    torch.manual_seed(0)
    encoder = PoseEncoder(out_channels=5, filters=2)
    encoder(torch.randn(1, 3, 64, 64)).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in encoder.parameters())


def test_points_are_decoded_each_on_its_own_in_evaluation() -> None:
    torch.manual_seed(0)
    decoder = PointDecoder(in_channels=6, hidden=8).double()
    points = torch.randn(30, 6, dtype=torch.float64)
    for _ in range(3):
        decoder(points)
    decoder.eval()
    offset, scale, color = decoder(points)
    assert offset.shape == color.shape == (30, 3)
    assert scale.shape == (30, 1)
    for all_points, some_points in zip(decoder(points), decoder(points[10:20]), strict=True):
        assert_close(all_points[10:20], some_points)


def test_decoding_with_the_frames_statistics_repeats_training() -> None:
    torch.manual_seed(0)
    decoder = PointDecoder(in_channels=6, hidden=8, bn_eval="frame")
    points = torch.randn(30, 6)
    trained = decoder(points)
    assert_close(decoder.eval()(points), trained)
