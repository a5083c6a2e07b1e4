"""The original GaussianAvatar's files: ours computes the same function from them in float64, or says why it cannot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from human_avatars.checkpoints.gaussian_avatar import (
    convert_state_dict,
    find_checkpoint,
    flatten_checkpoint,
    read_gaussian_avatar_checkpoint,
)
from human_avatars.fields.gaussian_avatar_field import GaussianAvatarField

Content = dict[str, Any]
Original = Callable[..., Content]
Weights = dict[str, Tensor]


class OriginalNetworks:
    """Both networks over whole maps in double precision, by the names of the file.

    Args:
        content: What the file holds.
        bn_eval: Statistics of batch norm: of the frame, as the original always has them, or the running ones.
    """

    def __init__(self, content: Content, bn_eval: str) -> None:
        self.features = content["geo_feature"].detach().double()
        self.net: Weights = {name: tensor.double() for name, tensor in content["net"].items()}
        self.encoder: Weights = {name: tensor.double() for name, tensor in content.get("pose_encoder", {}).items()}
        self.bn_eval = bn_eval

    def __call__(self, size: int, position_map: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Offsets in metres, radii and colours of all texels of a map, row by row."""
        features = self.features
        for layer in (1, 2, 3):
            features = F.conv2d(features, self.net[f"geom_proc_layers.conv{layer}.weight"], padding=2)
        if position_map is not None:
            features = features + self.encode(position_map[None])
        counted = torch.arange(size, dtype=torch.float64) / (size - 1)
        row, column = torch.meshgrid(counted, counted, indexing="ij")
        if size != features.shape[-1]:
            grid = torch.stack([column, row], dim=-1)[None] * 2 - 1
            features = F.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        x = torch.cat([features.flatten(2), torch.stack([row, column]).flatten(1)[None]], dim=1)
        hidden = x
        for layer in "1234":
            hidden = self._layer(layer, hidden)
        hidden = self._layer("5", torch.cat([x, hidden], dim=1))
        offset, scale, color = (
            F.conv1d(
                self._layer(f"7{mark}", self._layer(f"6{mark}", hidden)),
                self.net[f"decoder.conv8{mark}.weight"],
                self.net[f"decoder.conv8{mark}.bias"],
            )[0].t()
            for mark in ("", "N", "SH")
        )
        return 0.02 * offset, scale.sigmoid(), color.sigmoid()

    def encode(self, positions: Tensor) -> Tensor:
        """Pose features of a position map."""
        down = [F.conv2d(positions, self.encoder["conv1.conv.weight"], stride=2, padding=1)]
        for layer in (2, 3, 4, 5):
            weight = self.encoder[f"conv{layer}.conv.weight"]
            convolved = F.conv2d(F.leaky_relu(down[-1], 0.2), weight, stride=2, padding=1)
            down.append(self._normalise(self.encoder, f"conv{layer}.bn", convolved) if layer < 5 else convolved)
        up = down[4]
        for layer in (1, 2, 3, 4):
            convolved = F.conv_transpose2d(up.relu(), self.encoder[f"upconv{layer}.up.weight"], stride=2, padding=1)
            up = torch.cat([self._normalise(self.encoder, f"upconv{layer}.bn", convolved), down[4 - layer]], dim=1)
        last, bias = self.encoder["upconv5.up.weight"], self.encoder["upconv5.up.bias"]
        return F.conv_transpose2d(up.relu(), last, bias, stride=2, padding=1)

    def _layer(self, name: str, x: Tensor) -> Tensor:
        convolved = F.conv1d(x, self.net[f"decoder.conv{name}.weight"], self.net[f"decoder.conv{name}.bias"])
        return (1 + self._normalise(self.net, f"decoder.bn{name}", convolved).exp()).log()

    def _normalise(self, weights: Weights, name: str, x: Tensor) -> Tensor:
        axes = [0, *range(2, x.ndim)]
        shape = [1, -1] + [1] * (x.ndim - 2)
        if self.bn_eval == "frame":
            mean, variance = x.mean(axes), x.var(axes, unbiased=False)
        else:
            mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        normalised = (x - mean.view(shape)) / (variance.view(shape) + 1e-5).sqrt()
        if f"{name}.weight" not in weights:
            return normalised
        return normalised * weights[f"{name}.weight"].view(shape) + weights[f"{name}.bias"].view(shape)


def _mask(size: int) -> Tensor:
    torch.manual_seed(3)
    return torch.rand(size, size) < 0.7


@torch.no_grad()
@pytest.mark.parametrize("bn_eval", ["frame", "running"])
@pytest.mark.parametrize("size", [24, 32, 50])
@pytest.mark.parametrize("stage", [1, 2])
def test_the_converted_weights_compute_the_same_function(
    stage: int, size: int, bn_eval: str, original_content: Original
) -> None:
    content = original_content(stage)
    mask = _mask(size)
    # The original decodes all texels, and those beside the body count in its statistics.
    field = GaussianAvatarField(mask, stage, feature_size=32, bn_eval=bn_eval, decoded_texels="all").double().eval()  # pyright: ignore[reportArgumentType]
    field.load_state_dict(convert_state_dict(flatten_checkpoint(content)))
    positions = torch.randn(3, 32, 32, dtype=torch.float64) if stage == 2 else None
    gaussians = field(None if positions is None else field.encode_pose(positions))
    offsets, radii, colors = OriginalNetworks(content, bn_eval)(size, positions)
    assert colors.std() > 0.1
    assert_close(gaussians.squared_offset, offsets.square().mean())
    valid = mask.flatten()
    assert_close(
        (gaussians.offsets, gaussians.radii, gaussians.colors), (offsets[valid], radii[valid, 0], colors[valid])
    )


@pytest.mark.parametrize("stage", [1, 2])
def test_the_result_fits_the_field_and_owns_its_memory(stage: int, original_content: Original) -> None:
    content = original_content(stage)
    converted = convert_state_dict(flatten_checkpoint(content))
    field = GaussianAvatarField(_mask(8), stage, feature_size=32)  # pyright: ignore[reportArgumentType]
    assert {name: tensor.shape for name, tensor in converted.items()} == {
        name: tensor.shape for name, tensor in field.state_dict().items()
    }
    memory = {tensor.untyped_storage().data_ptr() for tensor in flatten_checkpoint(content).values()}
    assert all(tensor.untyped_storage().data_ptr() not in memory for tensor in converted.values())


@pytest.mark.parametrize(("stage", "channels", "body"), [(1, 72, ("SMPL", 24)), (2, 66, ("SMPL-X", 55))])
def test_a_file_gives_weights_and_refined_poses(
    tmp_path: Path, stage: int, channels: int, body: tuple[str, int], original_content: Original
) -> None:
    content = original_content(stage, num_frames=4, pose_channels=channels)
    folder = tmp_path / "net" / "iteration_200"
    folder.mkdir(parents=True)
    file = folder / ("net.pth" if stage == 1 else "pose_encoder.pth")
    torch.save(content, file)
    for path in (file, folder, tmp_path):
        checkpoint = read_gaussian_avatar_checkpoint(path)
        assert (checkpoint.stage, checkpoint.epoch, checkpoint.feature_size) == (stage, 200, 32)
        assert (checkpoint.body, checkpoint.num_joints) == body
        assert_close(checkpoint.axis_angle, content["pose"]["weight"].view(4, -1, 3))
        assert_close(checkpoint.transl, content["transl"]["weight"])
        assert_close(checkpoint.weights, convert_state_dict(flatten_checkpoint(content)))


def test_the_last_iteration_of_a_run_is_taken(tmp_path: Path) -> None:
    for iteration in (90, 180, 30):
        (tmp_path / "net" / f"iteration_{iteration}").mkdir(parents=True)
        (tmp_path / "net" / f"iteration_{iteration}" / "net.pth").touch()
    assert find_checkpoint(tmp_path) == tmp_path / "net" / "iteration_180" / "net.pth"


def test_of_both_stages_the_wanted_one_is_taken(tmp_path: Path) -> None:
    (tmp_path / "net.pth").touch()
    (tmp_path / "pose_encoder.pth").touch()
    assert find_checkpoint(tmp_path).name == find_checkpoint(tmp_path, 2).name == "pose_encoder.pth"
    assert find_checkpoint(tmp_path, 1).name == "net.pth"


def test_a_folder_without_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no pose_encoder\.pth or net\.pth, nor does any folder net/iteration"):
        find_checkpoint(tmp_path)
    (tmp_path / "net.pth").touch()
    with pytest.raises(ValueError, match=r"holds no pose_encoder\.pth, .* with --train_stage 2"):
        find_checkpoint(tmp_path, 2)


def _without(name: str) -> Callable[[Content], Content]:
    return lambda content: {key: value for key, value in content.items() if key != name}


def _with_tensor(table: str, name: str, *shape: int) -> Callable[[Content], Content]:
    return lambda content: content | {table: content[table] | {name: torch.zeros(shape)}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda _: {"beta": torch.zeros(1, 10), "body_pose": torch.zeros(4, 72)},
            "holds 'beta', 'body_pose', expected",
        ),
        (lambda content: list(content), "holds a list"),
        (_without("geo_feature"), "expected 'net', 'geo_feature'"),
        (lambda content: content | {"pose": {"weight": 3}}, r"pose\.weight is no tensor"),
        (_with_tensor("net", "decoder.conv9.bias", 3), r"unknown net\.decoder\.conv9\.bias.*networks of stage 1"),
        (_with_tensor("net", "decoder.conv2.weight", 256, 256, 1), r"conv2\.weight .*expected \[128, 128, 1\]"),
        (_with_tensor("pose", "weight", 4, 156), r"pose\.weight has the shape \[4, 156\].*66"),
        (_with_tensor("transl", "weight", 3, 3), r"transl\.weight has the shape \[3, 3\], expected \[5, 3\]"),
        (lambda content: content | {"geo_feature": torch.zeros(1, 64, 32, 16)}, "UV maps are square"),
        (lambda content: content | {"geo_feature": torch.zeros(1, 16, 32, 32)}, r"expected \[1, 64, 32, 32\]"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    change: Callable[[Content], Any], message: str, tmp_path: Path, original_content: Original
) -> None:
    torch.save(change(original_content(1)), tmp_path / "net.pth")
    with pytest.raises(ValueError, match=message) as refusal:
        read_gaussian_avatar_checkpoint(tmp_path)
    assert str(tmp_path / "net.pth") in str(refusal.value)


def test_a_file_of_the_other_stage_is_refused(tmp_path: Path, original_content: Original) -> None:
    torch.save(original_content(1), tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"of stage 1, expected stage 2: give the pose_encoder\.pth"):
        read_gaussian_avatar_checkpoint(tmp_path / "net.pth", stage=2)


def test_a_pose_encoder_needs_a_map_that_can_be_halved(tmp_path: Path, original_content: Original) -> None:
    torch.save(original_content(2, feature_size=48), tmp_path / "pose_encoder.pth")
    with pytest.raises(ValueError, match="divisible by 32"):
        read_gaussian_avatar_checkpoint(tmp_path)
