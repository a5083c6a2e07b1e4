"""Tensors out of files that `torch.save` wrote: read as weights only, so that nothing in them is executed."""

import pickle
from pathlib import Path
from typing import Any

import torch


def read_weight_file(path: Path, cure: str) -> Any:
    """What a PyTorch file holds, on the CPU.

    Args:
        path: The file.
        cure: What to do where it does not exist, such as "give the checkpoint with --checkpoint".

    Returns:
        Its content: containers, numbers and tensors.

    Raises:
        ValueError: The file is missing, broken, of another kind, or holds more than data.
    """
    if not path.is_file():
        raise ValueError(f"{path.absolute()} does not exist: {cure}.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        # torch's own message advises to load it without the restriction, which would execute what is in it.
        raise ValueError(
            f"{path} cannot be read as a PyTorch checkpoint of weights ({type(error).__name__}): it is cut short, of "
            "another kind, or holds more than data. Download it again, and from its authors."
        ) from error
