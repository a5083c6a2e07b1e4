"""The perceptual loss trains nothing of its own, and training goes on where its weights are missing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from human_avatars.model_components import perceptual_loss
from human_avatars.model_components.perceptual_loss import PerceptualLoss


class _Difference(nn.Module):
    """Stands in for the network: mean squared difference of pictures in [-1, 1]."""

    def forward(self, first: Tensor, second: Tensor, normalize: bool) -> Tensor:
        assert normalize
        assert first.shape == second.shape == (1, 3, 40, 50)
        return (2 * (first - second)).square().mean().view(1, 1, 1, 1)


def test_pictures_reach_the_network_and_gradients_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual_loss, "_load_network", _Difference)
    torch.manual_seed(0)
    rgb, target = torch.rand(40, 50, 3, requires_grad=True), torch.rand(40, 50, 3)
    loss = PerceptualLoss()(rgb, target)
    assert loss is not None
    assert_close(loss, 4 * (rgb - target).square().mean())
    loss.backward()
    assert rgb.grad is not None


def test_without_weights_there_is_no_loss_and_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    loss = PerceptualLoss()
    assert loss(torch.rand(40, 50, 3), torch.rand(40, 50, 3)) is None
    assert loss(torch.rand(40, 50, 3), torch.rand(40, 50, 3)) is None
    assert capsys.readouterr().out.count("is not there") == 1


def test_damaged_weights_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / perceptual_loss.ALEXNET_FILE).write_bytes(b"cut short")
    assert PerceptualLoss()(torch.rand(40, 50, 3), torch.rand(40, 50, 3)) is None
    assert "cannot be read" in capsys.readouterr().out


def test_pictures_too_small_for_the_network_have_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual_loss, "_load_network", _Difference)
    assert PerceptualLoss()(torch.rand(20, 50, 3), torch.rand(20, 50, 3)) is None


def test_nothing_of_it_is_saved_with_a_model() -> None:
    model: Any = nn.Module()
    model.loss = PerceptualLoss()
    assert model.state_dict() == {}
