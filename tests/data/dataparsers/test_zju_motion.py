"""Fitted bodies on disk become a Subject that stands where the dataset says."""

import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from human_avatars.body_models.base_body_model import BodyModel
from human_avatars.body_models.motion import Subject
from human_avatars.data.dataparsers import zju_motion
from human_avatars.data.dataparsers.zju_motion import choose_fit, read_zju_subject
from human_avatars.transforms import axis_angle_to_matrix

WriteZju = Callable[..., Any]
PADDING = (0.0, 0.0, 0.05)


def _read(folder: Path, numbers: range | list[int] = range(6), fit: str = "params") -> Subject:
    return read_zju_subject(folder, fit, numbers, None, PADDING)


def _change_params(folder: Path, number: int, **changes: Any) -> None:
    file = folder / "params" / f"{number}.npy"
    params = np.load(file, allow_pickle=True).item()
    params.update(changes)
    np.save(file, {key: value for key, value in params.items() if value is not None})  # type: ignore[arg-type]


@pytest.mark.parametrize("pose_numbers", [72, 69])
def test_the_subject_is_neural_bodys_formula(write_zju: WriteZju, pose_numbers: int) -> None:
    folder = write_zju(num_cameras=1, pose_numbers=pose_numbers)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        subject = _read(folder.path)
    assert subject.vertices_match_model
    assert subject.box_padding == PADDING
    posed = subject.posed_body(torch.arange(6))
    torch.testing.assert_close(posed.vertices, torch.from_numpy(folder.vertices).float(), atol=1e-5, rtol=0)
    root = torch.from_numpy(folder.root).float()
    torch.testing.assert_close(posed.bone_transforms[:, 0, :3, :3], axis_angle_to_matrix(root[:, 0]))
    torch.testing.assert_close(posed.bone_transforms[:, 0, :3, 3], root[:, 1], atol=1e-6, rtol=1e-5)


def test_times_are_spread_over_the_frames_that_are_used(write_zju: WriteZju) -> None:
    subject = _read(write_zju(num_cameras=1).path, [1, 3, 4])
    assert subject.motion.times.tolist() == [0.0, 0.5, 1.0]


def test_other_meshes_are_kept_and_posing_anew_is_refused(write_zju: WriteZju) -> None:
    folder = write_zju(num_cameras=1, vertex_offset=0.002)
    with pytest.warns(UserWarning, match=r"--body-model-path") as caught:
        subject = _read(folder.path)
    assert len(caught) == 1
    assert not subject.vertices_match_model
    assert not subject.betas.any()
    torch.testing.assert_close(
        subject.posed_body(torch.tensor([5])).vertices[0], torch.from_numpy(folder.vertices[5]).float()
    )
    with pytest.raises(ValueError, match="--body-model-path"):
        subject.with_motion(replace(subject.motion, vertices=None))


def test_meshes_of_another_topology_are_kept(write_zju: WriteZju) -> None:
    folder = write_zju(num_cameras=1, num_frames=2).path
    for number in range(2):
        np.save(folder / "vertices" / f"{number}.npy", np.random.default_rng(0).normal(size=(50, 3)))
    with pytest.warns(UserWarning, match="packaged open body"):
        assert _read(folder, range(2)).num_vertices == 50


def test_without_meshes_the_body_stands_in(write_zju: WriteZju) -> None:
    folder = write_zju(num_cameras=1).path
    shutil.rmtree(folder / "vertices")
    with pytest.warns(UserWarning, match="no vertices folder"):
        subject = _read(folder)
    assert subject.vertices_match_model


def _with_pose_blend_shapes(body: BodyModel) -> BodyModel:
    directions = 1e-2 * torch.ones(body.num_vertices, 3, 9 * (body.num_joints - 1))
    return replace(body, pose_directions=directions)


def test_the_older_fit_matches_without_pose_blend_shapes(
    write_zju: WriteZju, open_body: BodyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zju_motion, "load_body_model", lambda path: _with_pose_blend_shapes(open_body))
    subject = read_zju_subject(write_zju(num_cameras=1).path, "params", range(6), Path("smpl.pkl"), PADDING)
    assert subject.vertices_match_model
    assert subject.body_model.pose_directions is None


def test_a_model_that_does_not_fit_is_told(
    write_zju: WriteZju, open_body: BodyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(open_body, rest_template=open_body.rest_template * 1.1)
    monkeypatch.setattr(zju_motion, "load_body_model", lambda path: other)
    with pytest.warns(UserWarning, match=r"smpl\.pkl.*is not the mesh of .*0\.npy"):
        subject = read_zju_subject(write_zju(num_cameras=1).path, "params", range(6), Path("smpl.pkl"), PADDING)
    assert not subject.vertices_match_model
    assert subject.betas.any()


def test_a_body_with_more_joints_takes_the_shared_ones(
    write_zju: WriteZju, open_body: BodyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = 3
    larger = replace(
        open_body,
        skinning_weights=torch.cat([open_body.skinning_weights, torch.zeros(open_body.num_vertices, extra)], 1),
        joint_regressor=torch.cat([open_body.joint_regressor, open_body.joint_regressor[-extra:]]),
        parents=(*open_body.parents, 20, 20, 21),
    )
    folder = write_zju(num_cameras=1).path
    smaller_subject = _read(folder)
    monkeypatch.setattr(zju_motion, "load_body_model", lambda path: larger)
    with pytest.warns(UserWarning, match="not the mesh"):
        subject = read_zju_subject(folder, "params", range(6), Path("smplx.npz"), PADDING)
    poses, expected = subject.motion.poses.body_pose, smaller_subject.motion.poses.body_pose
    torch.testing.assert_close(poses[:, :21], expected[:, :21])
    assert not poses[:, 21:].any()


def test_a_root_rotation_in_the_pose_comes_before_the_global_one(write_zju: WriteZju, open_body: BodyModel) -> None:
    folder = write_zju(num_cameras=1, num_frames=1)
    params = np.load(folder.path / "params/0.npy", allow_pickle=True).item()
    extra = np.array([0.2, -0.3, 0.4])
    params["poses"][0, :3] = extra
    _change_params(folder.path, 0, poses=params["poses"])
    with pytest.warns(UserWarning, match="not the packaged"):
        subject = _read(folder.path, range(1))
    pelvis = (open_body.joint_regressor @ open_body.rest_template)[0]
    rh, th = torch.from_numpy(folder.root[0]).float()
    inner = axis_angle_to_matrix(torch.from_numpy(extra).float())
    expected = axis_angle_to_matrix(rh) @ pelvis + th
    posed = subject.posed_body(torch.tensor([0])).joint_transforms[0, 0]
    torch.testing.assert_close(posed[:3, 3], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(posed[:3, :3], axis_angle_to_matrix(rh) @ inner, atol=1e-5, rtol=0)


def test_the_older_fit_comes_first(write_zju: WriteZju) -> None:
    folder = write_zju(num_cameras=1, num_frames=1).path
    assert choose_fit(folder, "auto") == "params"
    (folder / "params").rename(folder / "new_params")
    assert choose_fit(folder, "auto") == "new_params"
    with pytest.raises(ValueError, match=r"has no params folder.*--params"):
        choose_fit(folder, "params")
    shutil.rmtree(folder / "new_params")
    with pytest.raises(ValueError, match="has no params or new_params folder"):
        choose_fit(folder, "auto")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"poses": np.full((1, 72), np.nan)}, "'poses' holds NaN"),
        ({"Th": np.array([[0.0, np.inf, 0.0]])}, "'Th' holds NaN or infinity"),
        ({"poses": np.zeros((1, 66))}, "'poses' has 66 numbers, expected 72, or 69"),
        ({"Rh": np.zeros((3, 3))}, r"'Rh' has shape \(3, 3\).*expected 3 numbers"),
        ({"Rh": None}, r"'Rh' has shape \(0,\)"),
        ({"poses": np.array(["x"] * 72)}, "'poses' has shape"),
    ],
)
def test_broken_parameters_name_their_file(write_zju: WriteZju, changes: dict[str, Any], message: str) -> None:
    folder = write_zju(num_cameras=1).path
    _change_params(folder, 3, **changes)
    with pytest.raises(ValueError, match=rf"params.3\.npy.*{message}"):
        _read(folder)


def test_a_missing_frame_names_its_file(write_zju: WriteZju) -> None:
    folder = write_zju(num_cameras=1).path
    (folder / "params/4.npy").unlink()
    with pytest.raises(ValueError, match=r"params.4\.npy does not exist"):
        _read(folder)


def test_parameters_that_are_no_dictionary_are_told(write_zju: WriteZju) -> None:
    folder = write_zju(num_cameras=1).path
    np.save(folder / "params/0.npy", np.zeros(72))
    with pytest.raises(ValueError, match=r"0\.npy holds a ndarray, expected a dictionary"):
        _read(folder)


@pytest.mark.parametrize(
    ("vertices", "message"),
    [
        (np.zeros((10, 2)), r"holds \(10, 2\), expected"),
        (np.full((10, 3), np.nan), "holds NaN"),
        (np.zeros((10, 3)), "has 10 vertices, but"),
    ],
)
def test_broken_meshes_name_their_file(write_zju: WriteZju, vertices: np.ndarray, message: str) -> None:
    folder = write_zju(num_cameras=1, vertex_offset=0.01).path
    np.save(folder / "vertices/2.npy", vertices)
    with pytest.warns(UserWarning, match="not the packaged"), pytest.raises(ValueError, match=rf"2\.npy.*{message}"):
        _read(folder)
