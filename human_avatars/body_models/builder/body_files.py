"""The open body's files: one archive of arrays in SMPL's layout, and its surface maps beside it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray

from human_avatars.body_models.surface_map import PACKAGED_SIZES, SurfaceMap
from human_avatars.files.safe_writes import atomic_path, check_free


@dataclass(frozen=True)
class OpenBody:
    """The open body as it is packaged."""

    arrays: dict[str, ndarray]
    """`v_template`, `f`, `weights`, `shapedirs` and `kintree` as in SMPL's files; the joint regressor's non-zero
    entries `J_regressor_val` at (row, column) `J_regressor_nz`; `landmarks` as pairs of name and vertex."""
    surface_maps: dict[int, SurfaceMap]
    """By their number of texels along a side."""


def surface_map_path(body_path: Path, size: int) -> Path:
    """Where the surface map of `size` texels along a side lies, beside the body's archive."""
    return body_path.with_name(f"surfmap_{size}.npz")


def save_open_body(body: OpenBody, path: Path, overwrite: bool = False) -> list[Path]:
    """Write a body's archive and its surface maps; the same body gives the same bytes.

    Args:
        body: What to write.
        path: The archive, `.npz`.
        overwrite: Whether older files may be replaced.

    Returns:
        The files written.

    Raises:
        ValueError: The path ends in something else than `.npz`, or a file exists and `overwrite` is off.
    """
    if path.suffix != ".npz":
        raise ValueError(f"{path}: found the ending {path.suffix!r}, expected .npz; name the output FILE.npz.")
    contents = {path: body.arrays}
    contents |= {surface_map_path(path, size): surface_map.arrays() for size, surface_map in body.surface_maps.items()}
    for file in contents:
        check_free(file, overwrite)
    for file, arrays in contents.items():
        with atomic_path(file) as temporary:
            np.savez_compressed(temporary, **arrays)  # pyright: ignore[reportArgumentType] (newer numpy has options)
    return list(contents)


def read_body_files(path: Path) -> OpenBody:
    """Read what `save_open_body` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    faces = torch.from_numpy(arrays["f"].astype(np.int64))
    surface_maps = {}
    for size in PACKAGED_SIZES:
        with np.load(surface_map_path(path, size), allow_pickle=False) as archive:
            surface_maps[size] = SurfaceMap.from_arrays(archive, faces)
    return OpenBody(arrays, surface_maps)
