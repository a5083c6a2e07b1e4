"""The user's own SMPL, SMPL-H and SMPL-X files, read without chumpy and without executing what is in them."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.body_models.open_body import load_open_body
from human_avatars.files.restricted_pickle import load_restricted

REQUIRED_ARRAYS = ("v_template", "f", "weights", "J_regressor", "shapedirs", "posedirs", "kintree_table")
DEFAULT_NUM_BETAS = 10
"""Shape coefficients that datasets carry; the later SMPL files offer up to 300."""


def load_body_model(path: Path | None, num_betas: int = DEFAULT_NUM_BETAS) -> BodyModel:
    """Read a body model file, or the packaged open body.

    Args:
        path: A `.pkl` or `.npz` file of SMPL, SMPL-H or SMPL-X; None for the packaged open body.
        num_betas: Leading shape coefficients to keep.

    Returns:
        The body model in float32.

    Raises:
        ValueError: The file is missing, broken, or not a body model of the SMPL family.
    """
    if path is None:
        return load_open_body()
    arrays = _read_arrays(path)
    missing = [name for name in REQUIRED_ARRAYS if name not in arrays]
    if missing:
        raise ValueError(
            f"{path} has no {', '.join(missing)}, so it is not a SMPL, SMPL-H or SMPL-X body model (it holds "
            f"{', '.join(sorted(map(str, arrays))[:8]) or 'nothing'}): give the model file itself, such as "
            "SMPL_NEUTRAL.pkl."
        )
    numeric = {name: _numeric(path, name, arrays[name]) for name in REQUIRED_ARRAYS}
    _check_shapes(path, numeric)
    return BodyModel(
        name=path.name,
        rest_template=_float_tensor(numeric["v_template"]),
        faces=torch.from_numpy(numeric["f"].astype(np.int64)),
        skinning_weights=_float_tensor(numeric["weights"]),
        joint_regressor=_float_tensor(numeric["J_regressor"]),
        shape_directions=_float_tensor(numeric["shapedirs"][..., :num_betas]),
        pose_directions=_float_tensor(numeric["posedirs"]),
        parents=_parents(path, numeric["kintree_table"]),
    )


def _read_arrays(path: Path) -> dict[Any, Any]:
    if path.suffix == ".npz":
        if not path.is_file():
            raise ValueError(f"{path} does not exist: check --body-model-path.")
        try:
            if not zipfile.is_zipfile(path):
                raise ValueError("no zip archive")
            with np.load(path, allow_pickle=False) as archive:
                # What is not asked for may be pickled, and is named in messages only.
                return {name: archive[name] if name in REQUIRED_ARRAYS else None for name in archive.files}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path} is not a whole .npz of plain arrays ({error}): download it again.") from error
    if path.suffix == ".pkl":
        content = load_restricted(path)
        if isinstance(content, dict):
            return content
        raise ValueError(f"{path} holds a {type(content).__name__}, not the dictionary of a body model.")
    raise ValueError(f"{path} is neither .pkl nor .npz: give a SMPL, SMPL-H or SMPL-X model file.")


def _numeric(path: Path, name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{path}: {name} holds {array.dtype}, not numbers: this is not a body model of a known kind.")
    return array


def _check_shapes(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Every array must agree with the number of vertices and joints."""
    vertices, joints = arrays["v_template"].size // 3, arrays["kintree_table"].size // 2
    expected = {
        "v_template": (vertices, 3),
        "kintree_table": (2, joints),
        "f": (arrays["f"].size // 3, 3),
        "weights": (vertices, joints),
        "J_regressor": (joints, vertices),
        "shapedirs": (vertices, 3, *arrays["shapedirs"].shape[-1:]),
        "posedirs": (vertices, 3, 9 * (joints - 1)),
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(
                f"{path}: {name} has shape {arrays[name].shape}, expected {shape} for {vertices} vertices and "
                f"{joints} joints: the file is broken or of another model family."
            )


def _parents(path: Path, kintree_table: np.ndarray) -> tuple[int, ...]:
    # The root's parent is stored as the largest unsigned number.
    parents = (-1, *kintree_table[0, 1:].astype(np.int64).tolist())
    if any(not 0 <= parent < joint for joint, parent in enumerate(parents[1:], start=1)):
        raise ValueError(
            f"{path}: kintree_table names the parents {parents}, expected every joint's parent before the joint: the "
            "file is broken or of another model family."
        )
    return parents


def _float_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
