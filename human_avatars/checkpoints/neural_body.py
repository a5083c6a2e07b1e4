"""Weights of the original Neural Body implementation, for spconv 1 and spconv 2, as weights of our field."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Shaped
from torch import Tensor

from human_avatars.checkpoints.tensor_names import check_names, shortened
from human_avatars.field_components.sparse_convolution import LEVELS
from human_avatars.fields.neural_body_field import NeuralBodyField

LayerKind = Literal["embedding", "sparse", "norm", "conv1d"]
"""How the original stores a layer: a table, a sparse kernel, batch norm, or a linear layer as Conv1d of kernel 1."""

NORM_ENTRIES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
CODES, FRAME_CODES = "c.weight", "latent.weight"


@dataclass(frozen=True)
class _Layer:
    """One layer under its name in the original and its name in our field."""

    original: str
    ours: str
    kind: LayerKind

    @property
    def entries(self) -> tuple[str, ...]:
        """Names of its tensors, the same on both sides."""
        if self.kind == "norm":
            return NORM_ENTRIES
        return ("weight", "bias") if self.kind == "conv1d" else ("weight",)


def _layers() -> Iterator[_Layer]:
    yield _Layer("c", "codes", "embedding")
    yield _Layer("latent", "frame_codes", "embedding")
    for level, (_, num_layers) in enumerate(LEVELS):
        if level > 0:
            yield _Layer(f"xyzc_net.down{level - 1}.0", f"diffusion.strides.{level - 1}", "sparse")
            yield _Layer(f"xyzc_net.down{level - 1}.1", f"diffusion.strides.{level - 1}.norm", "norm")
        for layer in range(num_layers):
            # A sequence of convolution, norm and ReLU, three entries a layer.
            yield _Layer(f"xyzc_net.conv{level}.{3 * layer}", f"diffusion.levels.{level}.{layer}", "sparse")
            yield _Layer(f"xyzc_net.conv{level}.{3 * layer + 1}", f"diffusion.levels.{level}.{layer}.norm", "norm")
    for layer in range(3):
        yield _Layer(f"fc_{layer}", f"heads.trunk.{layer}", "conv1d")
    for original, ours in (("alpha", "density"), ("feature",) * 2, ("latent",) * 2, ("view",) * 2, ("rgb", "color")):
        yield _Layer(f"{original}_fc", f"heads.{ours}", "conv1d")


def unwrap_state_dict(original: Mapping[str, Any]) -> dict[str, Tensor]:
    """The network's tensors under their bare names.

    Args:
        original: The whole checkpoint file (its network lies under "net"), or the network's own dictionary, with or
            without the prefixes of DistributedDataParallel ("module.") and of the training wrapper ("net.").

    Raises:
        ValueError: An entry of the network is not a tensor.
    """
    nested = original.get("net")
    tensors = nested if isinstance(nested, Mapping) else original
    unwrapped: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(
                f"The Neural Body checkpoint holds a {type(tensor).__name__} under {name!r}; expected tensors only. "
                "Pass the original's file with its network under 'net', or that network's state_dict."
            )
        while name.startswith(("module.", "net.")):
            name = name.split(".", 1)[1]
        unwrapped[name] = tensor
    return unwrapped


def checkpoint_sizes(original: Mapping[str, Any]) -> tuple[int, int]:
    """Vertices of the body model and frame codes of a checkpoint: what `NeuralBodyField` must be built with.

    Args:
        original: As for `unwrap_state_dict`.

    Raises:
        ValueError: There are no vertex codes or frame codes in it.
    """
    tensors = unwrap_state_dict(original)
    missing = [name for name in (CODES, FRAME_CODES) if name not in tensors]
    if missing:
        raise ValueError(f"This is no Neural Body checkpoint: it lacks {', '.join(missing)}; {_found(tensors)}.")
    return len(tensors[CODES]), len(tensors[FRAME_CODES])


def convert_state_dict(original: Mapping[str, Any]) -> dict[str, Tensor]:
    """Translate the original's weights.

    Args:
        original: As for `unwrap_state_dict`.

    Returns:
        A state dict for `NeuralBodyField` with the sizes that `checkpoint_sizes` tells.

    Raises:
        ValueError: Names are missing or unknown, or a tensor has another shape than the published network's.
    """
    num_vertices, num_frame_codes = checkpoint_sizes(original)
    tensors = unwrap_state_dict(original)
    layers = list(_layers())
    expected = [f"{layer.original}.{entry}" for layer in layers for entry in layer.entries]
    check_names(tensors, expected, "The Neural Body checkpoint", "the published network (latent_xyzc)")
    with torch.device("meta"):
        reference = NeuralBodyField(num_vertices, num_frame_codes, box_padding=(0.0, 0.0, 0.0)).state_dict()
    return {
        f"{layer.ours}.{entry}": _convert(
            tensors[f"{layer.original}.{entry}"],
            reference[f"{layer.ours}.{entry}"].shape,
            layer.kind,
            f"{layer.original}.{entry}",
        )
        for layer in layers
        for entry in layer.entries
    }


def _convert(tensor: Tensor, shape: torch.Size, kind: LayerKind, name: str) -> Shaped[Tensor, "..."]:
    accepted = [list(shape)]
    if kind == "sparse":
        # No channel count is 3, so the layouts never look alike: kernel axes lead in spconv 1 and follow in spconv 2.
        _, in_channels, out_channels = shape
        accepted = [[3, 3, 3, in_channels, out_channels], [out_channels, 3, 3, 3, in_channels]]
    elif kind == "conv1d" and len(shape) == 2:
        accepted = [[*shape, 1]]
    if list(tensor.shape) not in accepted:
        raise ValueError(
            f"{name} of the Neural Body checkpoint has the shape {list(tensor.shape)}; "
            f"expected {' or '.join(map(str, accepted))}. Only the published sizes can be imported."
        )
    if kind == "sparse" and list(tensor.shape) == accepted[1]:
        tensor = tensor.permute(1, 2, 3, 4, 0)
    # A copy of its own: a saved run must not share memory with the file it came from.
    return tensor.detach().clone(memory_format=torch.contiguous_format).view(shape)


def _found(tensors: Mapping[str, Tensor]) -> str:
    return f"found {shortened(sorted(tensors))}" if tensors else "found nothing"
