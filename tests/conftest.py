"""What tests of several rooms share."""

import pickle
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.body_models.open_body import load_open_body


@pytest.fixture(scope="session")
def open_body() -> BodyModel:
    """The packaged open body; its tensors are shared, so no test may write into them."""
    return load_open_body()


@pytest.fixture
def pickle_with_chumpy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bytes]:
    """A writer of pickles such as the released SMPL files, which hold chumpy objects; it needs no chumpy."""

    def dump(states: dict[str, dict[str, Any]], others: dict[str, Any], protocol: int) -> bytes:
        class Ch:
            def __init__(self, state: dict[str, Any]) -> None:
                self.__dict__.update(state)

        Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
        module = types.ModuleType("chumpy.ch")
        module.Ch = Ch  # pyright: ignore[reportAttributeAccessIssue]
        objects = {name: Ch(state) for name, state in states.items()}
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
            patch.setitem(sys.modules, "chumpy.ch", module)
            return pickle.dumps(others | objects, protocol)

    return dump


ENCODER_CHANNELS = (3, 32, 64, 128, 256, 256)
"""Channels on the way down GaussianAvatar's pose encoder."""
ENCODER_UP_CHANNELS = ((256, 256), (512, 128), (256, 64), (128, 32), (64, 64))


def _original_content(
    stage: int, num_frames: int = 5, pose_channels: int = 72, feature_size: int = 32
) -> dict[str, Any]:
    torch.manual_seed(stage)
    features = nn.Parameter(torch.randn(1, 64, feature_size, feature_size))
    content = {
        "net": dict(_net_weights()),
        "geo_feature": features,
        "pose": {"weight": 0.3 * torch.randn(num_frames, pose_channels)},
        "transl": {"weight": torch.randn(num_frames, 3)},
        "optimizer": torch.optim.Adam([features]).state_dict(),
        "scheduler": {"milestones": Counter({66: 1, 133: 1}), "gamma": 0.1, "base_lrs": [3e-3], "last_epoch": 7},
    }
    return content | ({"pose_encoder": dict(_encoder_weights())} if stage == 2 else {})


def _norm_weights(name: str, channels: int, affine: bool) -> Iterator[tuple[str, Tensor]]:
    if affine:
        yield f"{name}.weight", 0.5 + torch.rand(channels)
        yield f"{name}.bias", torch.randn(channels)
    yield f"{name}.running_mean", torch.randn(channels)
    yield f"{name}.running_var", 0.5 + torch.rand(channels)
    yield f"{name}.num_batches_tracked", torch.tensor(1234)


def _net_weights() -> Iterator[tuple[str, Tensor]]:
    for layer in (1, 2, 3):
        yield f"geom_proc_layers.conv{layer}.weight", torch.randn(64, 64, 5, 5) / 40
    layers = {"1": (66, 128), "2": (128, 128), "3": (128, 128), "4": (128, 128), "5": (194, 128)}
    for mark, channels in (("", 3), ("N", 1), ("SH", 3)):
        layers |= {f"6{mark}": (128, 128), f"7{mark}": (128, 128), f"8{mark}": (128, channels)}
    for name, (ins, outs) in layers.items():
        yield f"decoder.conv{name}.weight", torch.randn(outs, ins, 1) / ins**0.5
        yield f"decoder.conv{name}.bias", torch.randn(outs)
        if not name.startswith("8"):
            yield from _norm_weights(f"decoder.bn{name}", outs, affine=True)


def _encoder_weights() -> Iterator[tuple[str, Tensor]]:
    for layer in range(1, 6):
        ins, outs = ENCODER_CHANNELS[layer - 1], ENCODER_CHANNELS[layer]
        yield f"conv{layer}.conv.weight", torch.randn(outs, ins, 4, 4) / (16 * ins) ** 0.5
        if layer in (2, 3, 4):
            yield from _norm_weights(f"conv{layer}.bn", outs, affine=False)
        ins, outs = ENCODER_UP_CHANNELS[layer - 1]
        yield f"upconv{layer}.up.weight", torch.randn(ins, outs, 4, 4) / (4 * ins) ** 0.5
        if layer < 5:
            yield from _norm_weights(f"upconv{layer}.bn", outs, affine=False)
    yield "upconv5.up.bias", torch.randn(64)


@pytest.fixture
def original_content() -> Callable[..., dict[str, Any]]:
    """Makes what the original GaussianAvatar's trainer saves, with random weights."""
    return _original_content
