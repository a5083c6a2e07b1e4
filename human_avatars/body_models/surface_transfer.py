"""The surface map of any body of the SMPL family: packaged, read from an .obj file, or carried over and cached."""

import hashlib
import os
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.body_models.body_registration import register_body
from human_avatars.body_models.mesh_queries import closest_points
from human_avatars.body_models.obj_layout import surface_map_from_obj
from human_avatars.body_models.open_body import load_open_body
from human_avatars.body_models.surface_map import SurfaceMap, load_packaged_surface_map
from human_avatars.files.safe_writes import atomic_path

TRANSFER_VERSION = 1
"""Part of the name of cached maps; a new one for every change of what a transfer computes."""


def surface_map_of(body_model: BodyModel, size: int, uv_obj: Path | None = None) -> SurfaceMap:
    """The surface map of a body.

    The open body's is packaged. Other bodies get the open body's texture layout laid over them, which takes about a
    second and is kept in the user's cache folder, or the layout of an .obj file.

    Args:
        body_model: The body.
        size: Texels along each side.
        uv_obj: An .obj file of the body's own triangles with texture coordinates, such as smpl_uv.obj.

    Returns:
        The map, on the body's device.

    Raises:
        ValueError: The .obj file does not suit the body, the size is larger than the packaged maps', or the body's
            skeleton is not SMPL's.
    """
    if uv_obj is not None:
        return surface_map_from_obj(uv_obj, body_model, size)
    open_body = load_open_body()
    # By what it is, not by its name: the open body may come from a file.
    same = (
        torch.equal(getattr(body_model, name).cpu(), getattr(open_body, name)) for name in ("faces", "rest_template")
    )
    if all(same):
        return load_packaged_surface_map(size, body_model.faces)
    path = _cached_path(body_model, open_body, size)
    if path.exists():
        try:
            return _read_cached(path, body_model, size)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            warnings.warn(f"{path} is damaged ({error}) and is made anew.", UserWarning, stacklevel=2)
    arrays = transfer_surface_map(load_packaged_surface_map(size, open_body.faces), open_body, body_model).arrays()
    try:
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, **arrays)  # pyright: ignore[reportArgumentType] (newer numpy has options)
    except OSError as error:
        warnings.warn(f"{path} cannot be written ({error}): the map will be made anew.", UserWarning, stacklevel=2)
    # Through the arrays, so that a fresh map is the same as a cached one.
    return SurfaceMap.from_arrays(arrays, body_model.faces)


def transfer_surface_map(surface_map: SurfaceMap, source: BodyModel, target: BodyModel) -> SurfaceMap:
    """Carry a surface map from one body to another.

    Args:
        surface_map: The source's map.
        source: The body that the map is for.
        target: Another body of the SMPL family, of any mesh and shape.

    Returns:
        A map whose texels show the same places on the target, on the target's device.

    Raises:
        ValueError: The target's skeleton is not SMPL's.
    """
    laid_over = torch.from_numpy(register_body(source, target))
    places = surface_map.points().interpolate(laid_over)
    template, faces = target.rest_template.cpu().numpy(), target.faces.cpu().numpy()
    triangles, barycentric = closest_points(places.cpu().numpy(), template, faces)
    device = target.faces.device
    located = torch.from_numpy(triangles).to(device)
    weights = torch.from_numpy(barycentric.clip(0, 1)).to(device)
    return SurfaceMap(surface_map.mask.to(device), located, weights, target.faces[located])


def _cached_path(body_model: BodyModel, open_body: BodyModel, size: int) -> Path:
    digest = hashlib.sha256(f"{TRANSFER_VERSION} {size} {body_model.parents}".encode())
    for body in (body_model, open_body):
        for tensor in (body.rest_template, body.faces, body.joint_regressor):
            digest.update(_bytes(tensor))
    # As the XDG base directory specification has it: relative paths are to be ignored.
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    root = root if root.is_absolute() else Path.home() / ".cache"
    return root / "human_avatars" / "surface_maps" / f"{digest.hexdigest()}.npz"


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()


def _read_cached(path: Path, body_model: BodyModel, size: int) -> SurfaceMap:
    if not zipfile.is_zipfile(path):
        raise ValueError("no zip archive")
    with np.load(path, allow_pickle=False) as arrays:
        surface_map = SurfaceMap.from_arrays(arrays, body_model.faces)
    if surface_map.size != size:
        raise ValueError(f"{surface_map.size} texels a side, expected {size}")
    return surface_map
