"""A body's texture layout from an .obj file, such as the smpl_uv.obj that SMPL's site offers, as a surface map."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.body_models.mesh_queries import texels_of_layout
from human_avatars.body_models.surface_map import SurfaceMap

HIDDEN_LAYOUT = 0.1
"""Largest fraction of a layout that may lie over itself or beyond the texture."""


class ObjLayout(NamedTuple):
    """The texture layout of an .obj file's triangles."""

    uvs: Float[ndarray, "uvs 2"]
    """Texture coordinates, v upwards."""
    faces: Int[ndarray, "faces 3"]
    """Vertex of each corner."""
    uv_faces: Int[ndarray, "faces 3"]
    """Texture coordinates of each corner."""


def surface_map_from_obj(path: Path, body_model: BodyModel, size: int) -> SurfaceMap:
    """Bake the surface map of a body in the texture layout of an .obj file of the same mesh.

    Args:
        path: The .obj file; of its vertices the numbers count alone, and triangles may come in any order.
        body_model: The body.
        size: Texels along each side.

    Returns:
        The map, on the body's device.

    Raises:
        ValueError: The file is missing or broken, is not of the body's mesh, or cannot tell its parts apart.
    """
    layout = read_obj_layout(path)
    uv_faces = _match_faces(path, layout, body_model)
    _check_coverage(path, layout)
    mask, triangles, barycentric = texels_of_layout(size, layout.uvs, uv_faces)
    device = body_model.faces.device
    located = torch.from_numpy(triangles).to(device)
    weights = torch.from_numpy(barycentric.clip(0, 1).astype(np.float32)).to(device)
    return SurfaceMap(torch.from_numpy(mask).to(device), located, weights, body_model.faces[located])


def read_obj_layout(path: Path) -> ObjLayout:
    """Read vertex and texture numbers of an .obj file's triangles.

    Raises:
        ValueError: The file is missing or broken, has no texture coordinates, or has other polygons than triangles.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist: give an .obj file with texture coordinates.")
    uvs: list[list[float]] = []
    corners: list[list[tuple[int, int]]] = []
    num_vertices = 0
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        key, *words = line.split() or [""]
        try:
            if key == "v":
                num_vertices += 1
            elif key == "vt":
                u, v = (float(word) for word in words[:2])
                uvs.append([u, v])
            elif key == "f":
                corners.append([_corner(word, num_vertices, len(uvs)) for word in words])
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"{path}, line {number}: found {line.strip()!r}, expected corners with texture coordinates such as "
                "'f 1/1 2/2 3/3': export the mesh with UVs."
            ) from error
        if key == "f" and len(words) != 3:
            raise ValueError(
                f"{path}, line {number}: found a polygon of {len(words)} corners, expected triangles: triangulate the "
                "mesh on export."
            )
    if not corners or not uvs:
        raise ValueError(
            f"{path}: found {len(corners)} faces and {len(uvs)} texture coordinates (vt), expected both: export the "
            "mesh with UVs."
        )
    numbers = np.array(corners)
    if numbers.min() < 0 or numbers[..., 1].max() >= len(uvs):
        raise ValueError(f"{path}: faces name texture coordinates that are not there: the file is cut off or broken.")
    return ObjLayout(np.array(uvs), numbers[..., 0], numbers[..., 1])


def _corner(word: str, num_vertices: int, num_uvs: int) -> tuple[int, int]:
    """Vertex and texture number of `v/vt` or `v/vt/vn`, from zero; negative ones count from the last one read."""
    vertex, uv = (int(number) for number in word.split("/")[:2])
    return vertex - 1 if vertex > 0 else num_vertices + vertex, uv - 1 if uv > 0 else num_uvs + uv


def _match_faces(path: Path, layout: ObjLayout, body_model: BodyModel) -> Int[ndarray, "faces 3"]:
    """The texture numbers in the order of the body's triangles and of their corners."""
    faces = body_model.faces.cpu().numpy()
    if len(layout.faces) != len(faces):
        raise ValueError(
            f"{path} has {len(layout.faces)} triangles, expected the {len(faces)} of {body_model.name}: give the .obj "
            "file of the same body model."
        )
    # Corners sorted by vertex, and triangles by their corners: the same for any order in a file.
    sorted_faces, orders = [], []
    for triangles in (faces, layout.faces):
        by_vertex = np.sort(triangles, axis=1)
        orders.append(np.lexsort(by_vertex.T[::-1]))
        sorted_faces.append(by_vertex[orders[-1]])
    if not np.array_equal(*sorted_faces):
        differing = int((sorted_faces[0] != sorted_faces[1]).any(axis=1).sum())
        raise ValueError(
            f"{path}: {differing} of its {len(faces)} triangles join other vertices than those of {body_model.name}: "
            "give the .obj file of the same body model, exported with the order of its vertices kept."
        )
    uvs_by_vertex = np.take_along_axis(layout.uv_faces, np.argsort(layout.faces, axis=1), axis=1)
    matched = np.empty_like(uvs_by_vertex)
    matched[orders[0]] = uvs_by_vertex[orders[1]]
    return np.take_along_axis(matched, np.argsort(np.argsort(faces, axis=1), axis=1), axis=1)


def _check_coverage(path: Path, layout: ObjLayout) -> None:
    """Parts that share texels, or lie beyond the texture, would have no points of their own."""
    corners = layout.uvs[layout.uv_faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum() / 2
    shown = texels_of_layout(512, layout.uvs, layout.uv_faces)[0].mean()
    if not shown >= (1 - HIDDEN_LAYOUT) * area:
        raise ValueError(
            f"{path}: its triangles take up {area:.0%} of the texture but show on {shown:.0%}, so parts of the body "
            "lie over each other or beyond the texture: unwrap it so that every part has its own place in [0, 1]."
        )
