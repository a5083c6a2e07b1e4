"""The user's own model files: the same body as smplx makes of them, and errors that name what is wrong."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.sparse
import torch
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel, BodyPose, map_tensors
from human_avatars.body_models.smpl import DEFAULT_NUM_BETAS, load_body_model

smplx = pytest.importorskip("smplx")

NUM_VERTICES = 60
HAND_JOINTS = 15


class Kind(NamedTuple):
    """A member of the SMPL family, as its files present it."""

    class_name: str
    num_joints: int
    num_shape_directions: int
    pose_parts: dict[str, int]
    """smplx's pose arguments after the root, each with its joints, in the order of the skeleton."""


HANDS = {"left_hand_pose": HAND_JOINTS, "right_hand_pose": HAND_JOINTS}
SMPL = Kind("SMPL", 24, 10, {"body_pose": 23})
SMPLH = Kind("SMPLH", 52, 16, {"body_pose": 21, **HANDS})
SMPLX = Kind("SMPLX", 55, 400, {"body_pose": 21, "jaw_pose": 1, "leye_pose": 1, "reye_pose": 1, **HANDS})


def random_arrays(kind: Kind) -> dict[str, Any]:
    """A body model file's arrays, of random numbers."""
    generator = np.random.default_rng(0)
    joints = kind.num_joints
    parents = np.array([2**32 - 1, *(int(generator.integers(0, joint)) for joint in range(1, joints))])
    return {
        "v_template": generator.normal(size=(NUM_VERTICES, 3)),
        "f": generator.integers(0, NUM_VERTICES, size=(80, 3)).astype(np.uint32),
        "weights": generator.dirichlet(np.ones(joints), size=NUM_VERTICES),
        "J_regressor": generator.dirichlet(np.ones(NUM_VERTICES), size=joints),
        "shapedirs": 0.1 * generator.normal(size=(NUM_VERTICES, 3, kind.num_shape_directions)),
        "posedirs": 0.01 * generator.normal(size=(NUM_VERTICES, 3, 9 * (joints - 1))),
        "kintree_table": np.stack([parents, np.arange(joints)]).astype(np.uint32),
        # What smplx wants besides, and what only lies in the files.
        "hands_componentsl": np.eye(3 * HAND_JOINTS),
        "hands_componentsr": np.eye(3 * HAND_JOINTS),
        "hands_meanl": np.zeros(3 * HAND_JOINTS),
        "hands_meanr": np.zeros(3 * HAND_JOINTS),
        "lmk_faces_idx": np.zeros(51, dtype=np.int64),
        "lmk_bary_coords": np.full((51, 3), 1 / 3),
        "joint2num": np.array({"Pelvis": 0}, dtype=object),
    }


def arrays_of(body: BodyModel) -> dict[str, Any]:
    """The open body as a SMPL file has it, with pose blend shapes of random numbers."""
    generator = np.random.default_rng(0)
    return {
        "v_template": body.rest_template.numpy(),
        "f": body.faces.numpy().astype(np.uint32),
        "weights": body.skinning_weights.numpy(),
        "J_regressor": scipy.sparse.csc_matrix(body.joint_regressor.numpy()),
        "shapedirs": body.shape_directions.numpy(),
        "posedirs": 1e-3 * generator.standard_normal((body.num_vertices, 3, 9 * (body.num_joints - 1)), np.float32),
        "kintree_table": np.stack([body.parents, range(body.num_joints)]).astype(np.uint32),
    }


def write_model(path: Path, arrays: dict[str, Any]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        path.write_bytes(pickle.dumps(arrays, 2))
    return path


def compare_with_smplx(path: Path, kind: Kind, dtype: torch.dtype, tolerance: float) -> None:
    """Vertices and joints of random bodies agree with those that smplx makes of the same file."""

    def to_dtype(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    batch, generator = 3, torch.Generator().manual_seed(0)
    oracle = getattr(smplx, kind.class_name)(
        str(path), batch_size=batch, dtype=dtype, use_pca=False, flat_hand_mean=True, ext=path.suffix[1:]
    )
    betas = torch.randn(batch, DEFAULT_NUM_BETAS, generator=generator, dtype=dtype)
    axis_angle = 0.6 * torch.randn(batch, kind.num_joints, 3, generator=generator, dtype=dtype)
    transl = torch.randn(batch, 3, generator=generator, dtype=dtype)
    parts = dict(zip(kind.pose_parts, axis_angle[:, 1:].split(list(kind.pose_parts.values()), dim=1), strict=True))
    expected = oracle(
        betas=betas,
        global_orient=axis_angle[:, 0],
        transl=transl,
        **{name: part.flatten(1) for name, part in parts.items()},
    )

    body = map_tensors(load_body_model(path), to_dtype)
    posed = body.with_shape(betas).with_pose(BodyPose.from_axis_angle(axis_angle, transl))
    assert posed.vertices.dtype == dtype
    assert_close(posed.vertices, expected.vertices, rtol=0, atol=tolerance)
    joints = expected.joints[:, : kind.num_joints]
    assert_close(posed.joint_transforms[..., :3, 3], joints, rtol=0, atol=tolerance)
    assert body.faces.tolist() == np.asarray(oracle.faces).tolist()


# smplx keeps the arrays in single precision and adds 1e-8 to every rotation.
PRECISIONS = [(torch.float32, 1e-5), (torch.float64, 2e-6)]


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_the_open_body_poses_as_in_smplx(
    open_body: BodyModel, tmp_path: Path, dtype: torch.dtype, tolerance: float
) -> None:
    compare_with_smplx(write_model(tmp_path / "SMPL_NEUTRAL.pkl", arrays_of(open_body)), SMPL, dtype, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize(
    ("kind", "suffix"), [(SMPL, ".pkl"), (SMPLH, ".pkl"), (SMPLH, ".npz"), (SMPLX, ".pkl"), (SMPLX, ".npz")]
)
def test_every_kind_of_file_poses_as_in_smplx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, suffix: str, dtype: torch.dtype, tolerance: float
) -> None:
    # smplx also reads out face and finger vertices, by numbers beyond this small body.
    for family, names in smplx.body_models.VERTEX_IDS.items():
        monkeypatch.setitem(smplx.body_models.VERTEX_IDS, family, dict.fromkeys(names, 0))
    path = write_model(tmp_path / f"model{suffix}", random_arrays(kind))
    compare_with_smplx(path, kind, dtype, tolerance)


@pytest.mark.parametrize("kind", [SMPL, SMPLH, SMPLX])
def test_pickle_and_archive_hold_the_same_body(tmp_path: Path, kind: Kind) -> None:
    arrays = random_arrays(kind)
    pickled = load_body_model(write_model(tmp_path / "model.pkl", arrays))
    archived = load_body_model(write_model(tmp_path / "model.npz", arrays))
    assert pickled.parents == archived.parents
    assert pickled.parents[0] == -1
    assert pickled.num_joints == kind.num_joints
    assert (pickled.name, archived.name) == ("model.pkl", "model.npz")
    for name in ("rest_template", "faces", "skinning_weights", "joint_regressor", "shape_directions"):
        assert_close(getattr(pickled, name), getattr(archived, name), rtol=0, atol=0)
    assert pickled.rest_template.dtype == torch.float32
    assert pickled.faces.dtype == torch.int64


def test_leading_shape_coefficients_are_kept(tmp_path: Path) -> None:
    arrays = random_arrays(SMPLX)
    path = write_model(tmp_path / "SMPLX_NEUTRAL.npz", arrays)
    assert load_body_model(path).num_betas == DEFAULT_NUM_BETAS
    wide = load_body_model(path, num_betas=30)
    assert_close(wide.shape_directions, torch.from_numpy(arrays["shapedirs"][..., :30]).float())


def test_no_path_means_the_open_body(open_body: BodyModel) -> None:
    assert load_body_model(None).name == open_body.name


def test_released_files_with_chumpy_and_sparse_arrays_are_read(
    tmp_path: Path, pickle_with_chumpy: Callable[..., bytes]
) -> None:
    arrays = random_arrays(SMPL)
    chumpy = {
        name: {"x": np.asfortranarray(arrays.pop(name)), "_dirty_vars": {"x"}}
        for name in ("shapedirs", "posedirs", "v_template", "weights")
    }
    regressor = scipy.sparse.csc_matrix(arrays.pop("J_regressor"))
    path = tmp_path / "basicModel_neutral.pkl"
    # Protocol 0, as Python 2 wrote by default, goes through copy_reg._reconstructor.
    path.write_bytes(pickle_with_chumpy(chumpy, {**arrays, "J_regressor": regressor, "bs_type": "lrotmin"}, 0))
    read, plain = load_body_model(path), load_body_model(write_model(tmp_path / "plain.pkl", random_arrays(SMPL)))
    for name in ("rest_template", "skinning_weights", "joint_regressor", "shape_directions", "pose_directions"):
        assert_close(getattr(read, name), getattr(plain, name), rtol=0, atol=0)


def wrong_files() -> list[tuple[str, dict[str, Any], str]]:
    """File name, changes to the arrays (None: left out), and what the error says."""
    return [
        ("a.npz", {"posedirs": None, "f": None}, r"has no f, posedirs, so it is not a SMPL"),
        ("a.pkl", {"weights": None}, r"has no weights, .*it holds J_regressor, f, .*: give the model file itself"),
        ("a.pkl", {"weights": np.ones((NUM_VERTICES, 23))}, r"weights has shape \(60, 23\), expected \(60, 24\)"),
        ("a.npz", {"v_template": np.ones((61, 3))}, r"weights has shape \(60, 24\), expected \(61, 24\)"),
        ("a.npz", {"v_template": np.array(1.0)}, r"v_template has shape \(\), expected \(0, 3\)"),
        ("a.npz", {"kintree_table": np.array(1)}, r"kintree_table has shape \(\), expected"),
        ("a.npz", {"shapedirs": np.ones((NUM_VERTICES, 3))}, r"shapedirs has shape \(60, 3\), expected \(60, 3, 3\)"),
        ("a.pkl", {"posedirs": np.ones((NUM_VERTICES, 3, 93))}, r"posedirs has shape .* expected \(60, 3, 207\)"),
        ("a.pkl", {"f": np.ones((7, 4))}, r"f has shape \(7, 4\), expected"),
        ("a.pkl", {"v_template": "mean.obj"}, r"v_template holds <U8, not numbers"),
        ("a.pkl", {"J_regressor": {"a": 1}}, r"J_regressor holds object, not numbers"),
        ("a.npz", {"weights": np.array({"a": 1})}, r"is not a whole \.npz of plain arrays"),
        (
            "a.npz",
            {"kintree_table": np.tile(np.arange(24), (2, 1))},
            r"kintree_table names the parents \(-1, 1, 2.*before the joint",
        ),
        ("a.npy", {}, r"is neither \.pkl nor \.npz"),
        ("SMPL_NEUTRAL", {}, r"is neither \.pkl nor \.npz"),
    ]


@pytest.mark.parametrize(("name", "changes", "message"), wrong_files())
def test_wrong_arrays_are_named(tmp_path: Path, name: str, changes: dict[str, Any], message: str) -> None:
    arrays = {key: value for key, value in (random_arrays(SMPL) | changes).items() if value is not None}
    path = write_model(tmp_path / name, arrays)
    with pytest.raises(ValueError, match=rf"{name}:? {message}"):
        load_body_model(path)


@pytest.mark.parametrize("content", [{}, {1: {"pose": np.zeros(72)}}])
def test_dictionaries_of_other_things_are_named(tmp_path: Path, content: dict[Any, Any]) -> None:
    path = write_model(tmp_path / "poses.pkl", content)
    with pytest.raises(ValueError, match=r"poses\.pkl has no v_template, .* \(it holds (1|nothing)\)"):
        load_body_model(path)


@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
def test_missing_and_broken_files_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    with pytest.raises(ValueError, match=rf"model\{suffix} does not exist"):
        load_body_model(path)
    whole = write_model(path, random_arrays(SMPL)).read_bytes()
    damaged = [b"", b"text", whole[:100], whole[: len(whole) // 2], whole[:-30], whole[:2000] + whole[2100:]]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"model\{suffix}"):
            load_body_model(path)
    with path.open("wb") as file:
        np.save(file, np.eye(3))
    with pytest.raises(ValueError, match=rf"model\{suffix}"):
        load_body_model(path)


def test_a_list_is_no_body_model(tmp_path: Path) -> None:
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match=r"list\.pkl holds a list, not the dictionary of a body model"):
        load_body_model(tmp_path / "list.pkl")


def test_nothing_in_a_model_file_runs(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "executed"),)

    path = write_model(tmp_path / "evil.pkl", {**random_arrays(SMPL), "bs_style": Evil()})
    with pytest.raises(ValueError, match=rf"evil\.pkl is a pickle that asks for {os.name}\.mkdir"):
        load_body_model(path)
    assert not (tmp_path / "executed").exists()
