"""Original weights, converted, compute the function that the original's layers define on dense volumes in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from human_avatars.checkpoints.neural_body import checkpoint_sizes, convert_state_dict, unwrap_state_dict
from human_avatars.fields.neural_body_field import NeuralBodyField
from human_avatars.transforms import axis_angle_to_matrix, rigid_from_rotation_translation, transform_points

NUM_VERTICES = 60
NUM_FRAMES = 3
VOXEL = 0.02
PADDING = (0.0, 0.0, 0.05)
# Blocks of the original's network: name, channels in, channels out, convolutions; the "down" ones have stride 2.
BLOCKS = (
    ("conv0", 16, 16, 2), ("down0", 16, 32, 1), ("conv1", 32, 32, 2), ("down1", 32, 64, 1), ("conv2", 64, 64, 3),
    ("down2", 64, 128, 1), ("conv3", 128, 128, 3), ("down3", 128, 128, 1), ("conv4", 128, 128, 3),
)  # fmt: skip
HEADS = {
    "fc_0": (256, 352), "fc_1": (256, 256), "fc_2": (256, 256), "alpha_fc": (1, 256), "feature_fc": (256, 256),
    "latent_fc": (256, 384), "view_fc": (128, 346), "rgb_fc": (3, 128),
}  # fmt: skip
Weights = dict[str, Tensor]


def _original_weights(layout: str) -> Weights:
    """Random weights under the original's names; the layout is the one of spconv 1 or spconv 2."""
    torch.manual_seed(0)
    weights = {"c.weight": torch.randn(NUM_VERTICES, 16), "latent.weight": torch.randn(NUM_FRAMES, 128)}
    for block, in_channels, out_channels, count in BLOCKS:
        for layer in range(count):
            kernel = torch.randn(3, 3, 3, in_channels, out_channels) / (8 * in_channels) ** 0.5
            weights[f"xyzc_net.{block}.{3 * layer}.weight"] = (
                kernel if layout == "spconv1" else kernel.permute(4, 0, 1, 2, 3).contiguous()
            )
            norm = f"xyzc_net.{block}.{3 * layer + 1}"
            weights |= {f"{norm}.{entry}": torch.rand(out_channels) + 0.5 for entry in ("weight", "running_var")}
            weights |= {f"{norm}.{entry}": torch.randn(out_channels) for entry in ("bias", "running_mean")}
            weights[f"{norm}.num_batches_tracked"] = torch.tensor(1234)
    for name, (out_channels, in_channels) in HEADS.items():
        weights[f"{name}.weight"] = torch.randn(out_channels, in_channels, 1) / in_channels**0.5
        weights[f"{name}.bias"] = torch.randn(out_channels)
    return weights


def _double(weights: Weights) -> Weights:
    return {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}


class DenseNeuralBody:
    """The original network as its layers are defined, on dense volumes with masks; spconv 1's layout."""

    def __init__(self, weights: Weights, bn_eval: str) -> None:
        self.weights = weights
        self.bn_eval = bn_eval

    def volumes(self, model_vertices: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Dense feature volumes, the grid's corner and its voxel counts (x, y, z)."""
        padding = torch.tensor(PADDING, dtype=torch.float64)
        low, high = model_vertices.amin(0) - padding, model_vertices.amax(0) + padding
        counts = (torch.ceil((high - low) / VOXEL).long() | 31) + 1
        x, y, z = torch.round((model_vertices - low) / VOXEL).long().unbind(-1)
        width, height, depth = counts.tolist()
        volume = torch.zeros(1, 16, depth, height, width, dtype=torch.float64)
        for vertex, code in enumerate(self.weights["c.weight"]):
            volume[0, :, z[vertex], y[vertex], x[vertex]] += code
        mask = torch.zeros(1, 1, depth, height, width, dtype=torch.float64)
        mask[0, 0, z, y, x] = 1
        read = []
        for block, _, _, count in BLOCKS:
            for layer in range(count):
                stride = 2 if block.startswith("down") else 1
                mask = F.max_pool3d(mask, 3, stride, 1) if stride == 2 else mask
                volume = self._layer(volume, mask, f"xyzc_net.{block}", layer, stride)
            if block in ("conv1", "conv2", "conv3", "conv4"):
                read.append(volume)
        return read, low, counts

    def _layer(self, volume: Tensor, mask: Tensor, block: str, layer: int, stride: int) -> Tensor:
        kernel = self.weights[f"{block}.{3 * layer}.weight"].permute(4, 3, 0, 1, 2)
        volume = F.conv3d(volume, kernel, stride=stride, padding=1)
        norm = {
            entry: self.weights[f"{block}.{3 * layer + 1}.{entry}"].view(1, -1, 1, 1, 1)
            for entry in ("weight", "bias", "running_mean", "running_var")
        }
        if self.bn_eval == "frame":
            mean = (volume * mask).sum((2, 3, 4), keepdim=True) / mask.sum()
            variance = ((volume - mean).square() * mask).sum((2, 3, 4), keepdim=True) / mask.sum()
        else:
            mean, variance = norm["running_mean"], norm["running_var"]
        return ((volume - mean) / (variance + 1e-3).sqrt() * norm["weight"] + norm["bias"]).relu() * mask

    def __call__(
        self, vertices: Tensor, rotation: Tensor, translation: Tensor, points: Tensor, directions: Tensor, frame: int
    ) -> tuple[Tensor, Tensor]:
        """Density before its activation (points 1) and colour (points 3)."""
        volumes, low, counts = self.volumes((vertices - translation) @ rotation)
        grid = ((points - translation) @ rotation - low) / VOXEL / counts * 2 - 1
        sampled = [
            F.grid_sample(volume, grid[None, None, None], padding_mode="zeros", align_corners=True)[:, :, 0, 0]
            for volume in volumes
        ]
        hidden = torch.cat(sampled, dim=1)
        for name in ("fc_0", "fc_1", "fc_2"):
            hidden = self._head(name, hidden).relu()
        density = self._head("alpha_fc", hidden)
        code = self.weights["latent.weight"][frame].view(1, -1, 1).expand(-1, -1, len(points))
        latent = self._head("latent_fc", torch.cat([self._head("feature_fc", hidden), code], dim=1))
        encoded = [_encode(directions, 4), _encode(points, 10)]
        color = self._head("rgb_fc", self._head("view_fc", torch.cat([latent, *encoded], dim=1)).relu())
        return density[0].t(), color.sigmoid()[0].t()

    def _head(self, name: str, values: Tensor) -> Tensor:
        return F.conv1d(values, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])


def _encode(values: Tensor, num_frequencies: int) -> Tensor:
    """The original's encoding as (1, channels, points)."""
    encoded = [values]
    for octave in range(num_frequencies):
        encoded += [torch.sin(values * 2.0**octave), torch.cos(values * 2.0**octave)]
    return torch.cat(encoded, dim=-1).t()[None]


@pytest.mark.parametrize("bn_eval", ["frame", "running"])
@pytest.mark.parametrize("layout", ["spconv1", "spconv2"])
def test_the_converted_weights_compute_the_same_function(layout: str, bn_eval: str) -> None:
    dense = DenseNeuralBody(_double(_original_weights("spconv1")), bn_eval)
    field = NeuralBodyField(NUM_VERTICES, NUM_FRAMES, PADDING, voxel_size=VOXEL, bn_eval=bn_eval).double().eval()  # pyright: ignore[reportArgumentType]
    field.load_state_dict(convert_state_dict(_double(_original_weights(layout))))

    torch.manual_seed(1)
    body = (torch.rand(NUM_VERTICES, 3, dtype=torch.float64) - 0.5) * torch.tensor([0.5, 0.6, 0.3])
    points = (torch.rand(200, 3, dtype=torch.float64) - 0.5) * 1.2
    directions = F.normalize(torch.randn(200, 3, dtype=torch.float64), dim=-1)
    rotation = axis_angle_to_matrix(torch.tensor([0.4, -0.8, 0.3], dtype=torch.float64))
    translation = torch.tensor([0.2, 0.9, -0.4], dtype=torch.float64)
    root = rigid_from_rotation_translation(rotation, translation)
    vertices, points = transform_points(root, body), transform_points(root, points)

    with torch.no_grad():
        volumes = field.diffuse(vertices, root)
        assert min(len(features) for features in volumes.features) > 1
        density, rgb = field(volumes, points, directions, 2)
        expected = dense(vertices, rotation, translation, points, directions, 2)
    assert expected[0].std() > 0.01
    assert expected[1].std() > 0.01
    assert_close((density, rgb), expected)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {"net": weights, "optim": {}, "epoch": 399},
        lambda weights: {"net": {f"module.net.{name}": tensor for name, tensor in weights.items()}},
        lambda weights: {f"module.{name}": tensor for name, tensor in weights.items()},
        lambda weights: {f"net.{name}": tensor for name, tensor in weights.items()},
    ],
    ids=["file", "wrapped file", "distributed", "wrapper"],
)
def test_wrappers_are_taken_off(wrap: Callable[[Weights], dict]) -> None:
    weights = _original_weights("spconv1")
    assert unwrap_state_dict(wrap(weights)).keys() == weights.keys()
    assert checkpoint_sizes(wrap(weights)) == (NUM_VERTICES, NUM_FRAMES)
    assert_close(convert_state_dict(wrap(weights)), convert_state_dict(weights))


def test_the_result_fits_the_field_and_owns_its_memory() -> None:
    weights = _original_weights("spconv2")
    converted = convert_state_dict(weights)
    field = NeuralBodyField(NUM_VERTICES, NUM_FRAMES, PADDING)
    assert {name: tensor.shape for name, tensor in converted.items()} == {
        name: tensor.shape for name, tensor in field.state_dict().items()
    }
    memory = {tensor.untyped_storage().data_ptr() for tensor in weights.values()}
    assert all(tensor.untyped_storage().data_ptr() not in memory for tensor in converted.values())


def test_what_is_missing_or_unknown_is_named() -> None:
    weights = _original_weights("spconv1")
    del weights["xyzc_net.conv3.4.running_var"], weights["alpha_fc.bias"]
    weights["hyper_fc.weight"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"lacks alpha_fc.bias, xyzc_net.conv3.4.running_var and .* hyper_fc.weight"):
        convert_state_dict(weights)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("xyzc_net.down1.0.weight", (27, 32, 64), r"expected \[3, 3, 3, 32, 64\] or \[64, 3, 3, 3, 32\]"),
        ("fc_0.weight", (256, 100, 1), r"expected \[256, 352, 1\]"),
        ("fc_1.weight", (256, 256), r"expected \[256, 256, 1\]"),
        ("c.weight", (NUM_VERTICES, 32), r"expected \[60, 16\]"),
        ("rgb_fc.bias", (4,), r"expected \[3\]"),
    ],
)
def test_a_shape_that_is_not_the_published_one_is_named(name: str, shape: tuple[int, ...], expected: str) -> None:
    weights = _original_weights("spconv1") | {name: torch.zeros(shape)}
    with pytest.raises(ValueError, match=rf"{name} .*{expected}"):
        convert_state_dict(weights)


def test_another_file_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lacks c\.weight, latent\.weight; found conv\.weight"):
        convert_state_dict({"net": {"conv.weight": torch.zeros(2)}})
    with pytest.raises(ValueError, match="a dict under 'state'"):
        convert_state_dict({"state": {}})
