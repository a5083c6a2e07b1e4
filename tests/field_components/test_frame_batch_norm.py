"""Which statistics a frame's batch norm uses, and that evaluation leaves the running ones alone."""

import pytest
import torch
from torch.testing import assert_close

from human_avatars.field_components.frame_batch_norm import FrameBatchNorm


@pytest.mark.parametrize("shape", [(50, 3), (2, 3, 5, 5)])
def test_evaluation_normalises_by_the_frame_and_moves_no_average(shape: tuple[int, ...]) -> None:
    torch.manual_seed(6)
    norm = FrameBatchNorm(3, "frame", momentum=0.01)
    elements = torch.randn(*shape) * 4 + 7
    trained = norm(elements)
    averages = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    # The running mean has moved a hundredth of the way from 0.
    assert_close(averages["running_mean"], 0.01 * elements.transpose(0, 1).flatten(1).mean(dim=1))
    assert_close(norm.eval()(elements), trained)
    assert all(torch.equal(averages[name], buffer) for name, buffer in norm.named_buffers())


def test_evaluation_can_use_the_running_averages() -> None:
    norm = FrameBatchNorm(3, "running", eps=1e-3).eval()
    rows = torch.randn(50, 3) * 4 + 7
    assert_close(norm(rows), rows / (1 + 1e-3) ** 0.5)


def test_without_factor_and_offset_nothing_is_learned() -> None:
    norm = FrameBatchNorm(3, "running", affine=False)
    assert list(norm.parameters()) == []
    normalised = norm(torch.randn(50, 3) * 4 + 7)
    assert_close(normalised.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
