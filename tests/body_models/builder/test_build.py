"""The steps of the build that need no files of MakeHuman's, and what it says where they lack."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from human_avatars.body_models.builder import build
from human_avatars.body_models.builder.body_files import OpenBody
from human_avatars.body_models.builder.build import Family, build_open_body, reduce_family
from human_avatars.body_models.builder.compare import joints
from human_avatars.body_models.builder.landmarks import LANDMARK_VERTICES
from human_avatars.body_models.builder.skin import Skin
from human_avatars.body_models.builder.smpl_skeleton import JOINTS


@pytest.fixture(scope="module")
def family(packaged: OpenBody) -> Family:
    """The packaged body as its own family: shapes drawn from its shape space, on its own mesh."""
    arrays = packaged.arrays
    template, faces = arrays["v_template"].astype(np.float64), arrays["f"].astype(np.int64)
    betas = np.random.default_rng(0).normal(size=(30, 10))
    betas = np.linalg.qr(betas - betas.mean(axis=0))[0] * np.sqrt(30)
    bodies = template + np.einsum("vcb,nb->nvc", arrays["shapedirs"].astype(np.float64), betas)
    regressor = np.zeros((len(JOINTS), len(template)))
    regressor[tuple(arrays["J_regressor_nz"])] = arrays["J_regressor_val"]
    bones = [f"finger{finger}-3.{side}" for side in "LR" for finger in range(1, 6)]
    bones += [f"{bone}.{side}" for side in "LR" for bone in ("toe1-2", "toe5-3", "foot")]
    landmarks = [side.lower() + name for side in "LR" for name in ("thumb", "index", "middle", "ring", "pinky")]
    landmarks += [side + name for side in "LR" for name in ("BigToe", "SmallToe", "Heel")]
    # Each outermost bone holds just its landmark's vertex.
    ids = [LANDMARK_VERTICES[name] for name in landmarks]
    bone_weights = {bone: np.eye(1, len(template), vertex)[0] for bone, vertex in zip(bones, ids, strict=True)}
    near_left_eye = np.where(np.arange(len(template)) == LANDMARK_VERTICES["leye"], 0, -1)
    return Family(
        skin=Skin(np.arange(len(template)), faces, faces, near_left_eye),
        uvs=np.zeros((len(template), 2)),
        bodies=bodies,
        joints=np.einsum("jv,nvc->njc", regressor, bodies),
        joint_weights=arrays["weights"].astype(np.float64),
        bone_weights=bone_weights,
    )


def test_a_family_without_decimation_comes_back(packaged: OpenBody, family: Family) -> None:
    arrays = packaged.arrays
    template = arrays["v_template"].astype(np.float64)
    reduced = reduce_family(family, template, family.skin.faces, sparse.csr_matrix(sparse.eye(len(template))))
    assert {name: values.dtype for name, values in reduced.items() if name != "landmarks"} == {
        name: values.dtype for name, values in arrays.items() if name != "landmarks"
    }
    for name in ("v_template", "kintree", "f"):
        np.testing.assert_array_equal(reduced[name], arrays[name])
    np.testing.assert_allclose(reduced["weights"], arrays["weights"], atol=2e-3)
    np.testing.assert_allclose(reduced["shapedirs"], arrays["shapedirs"], atol=2e-4)
    rebuilt = OpenBody(reduced, {})
    np.testing.assert_allclose(joints(rebuilt), joints(packaged), atol=2e-4)


def test_shifting_the_template_shifts_the_joints(packaged: OpenBody, family: Family) -> None:
    template = packaged.arrays["v_template"].astype(np.float64)
    identity = sparse.csr_matrix(sparse.eye(len(template)))
    shifted = reduce_family(family, template + np.array([0, 0, 0.001]), family.skin.faces, identity)
    np.testing.assert_allclose(shifted["v_template"], packaged.arrays["v_template"] + [0, 0, 0.001], atol=1e-6)


def test_an_empty_folder_is_refused_before_anything_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "make_family", lambda *_: pytest.fail("began to build"))
    with pytest.raises(ValueError, match=r"base\.obj is missing"):
        build_open_body(tmp_path)
