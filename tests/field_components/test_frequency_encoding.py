"""The order and the frequencies of the positional encoding."""

import torch
from torch.testing import assert_close

from human_avatars.field_components.frequency_encoding import frequency_encoding


def test_one_point_by_hand() -> None:
    x, y = 0.3, -2.0
    values = torch.tensor([x, y])
    expected = torch.cat([values, values.sin(), values.cos(), (2 * values).sin(), (2 * values).cos()])
    assert_close(frequency_encoding(values, 2), expected)


def test_batches_and_no_octaves() -> None:
    values = torch.randn(4, 5, 3)
    assert frequency_encoding(values, 10).shape == (4, 5, 63)
    assert torch.equal(frequency_encoding(values, 0), values)
    assert frequency_encoding(torch.zeros(0, 3), 4).shape == (0, 27)
