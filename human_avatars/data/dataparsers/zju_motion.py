"""The fitted body of ZJU-MoCap: `params/` and `vertices/` files become a Subject."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from human_avatars.body_models.base_body_model import BodyModel, BodyPose, ShapedBody
from human_avatars.body_models.motion import BodyMotion, Subject
from human_avatars.body_models.smpl import load_body_model
from human_avatars.files.restricted_pickle import load_npy_object
from human_avatars.transforms import axis_angle_to_matrix, matrix_to_axis_angle

FIT_FOLDERS: dict[str, tuple[str, str]] = {
    "params": ("params", "vertices"),
    "new_params": ("new_params", "new_vertices"),
}
"""Folders of the parameters and meshes of each fit. The released checkpoints were trained on the older one."""

SMPL_NUM_JOINTS = 24
"""Joints of the fits on disk."""

SHARED_NUM_JOINTS = 22
"""Leading joints that SMPL, SMPL-H and SMPL-X share; their hands differ."""

MATCH_TOLERANCE = 1e-3
"""Largest distance, in metres, at which a posed model still counts as the mesh on disk."""


def choose_fit(folder: Path, params: Literal["auto", "params", "new_params"]) -> str:
    """The fit to read.

    Args:
        folder: The dataset folder.
        params: The fit by name; "auto" takes `params`, which the released checkpoints use, else `new_params`.

    Returns:
        A key of `FIT_FOLDERS`.

    Raises:
        ValueError: The folder has no such fit.
    """
    candidates = tuple(FIT_FOLDERS) if params == "auto" else (params,)
    for name in candidates:
        if (folder / FIT_FOLDERS[name][0]).is_dir():
            return name
    raise ValueError(
        f"{folder} has no {' or '.join(candidates)} folder: expected one .npy file of body parameters per frame. "
        "Fit a body to the capture, or choose another fit with --params."
    )


def read_zju_subject(
    folder: Path,
    fit: str,
    file_numbers: Sequence[int],
    body_model_path: Path | None,
    box_padding: tuple[float, float, float],
) -> Subject:
    """Read the person and the motion.

    Where the model in the given pose is the mesh on disk, the model alone is kept. Otherwise the meshes are kept, and
    the poses drive the skeleton only.

    Args:
        folder: The dataset folder.
        fit: A key of `FIT_FOLDERS`.
        file_numbers: Numbers of the files of the motion's frames, in order of time.
        body_model_path: The body model that was fitted; None for the packaged open body.
        box_padding: Growth of the box around the body along each world axis, in metres.

    Returns:
        The subject, in float32.

    Raises:
        ValueError: A file is missing, broken, of another shape, or holds NaN.
    """
    params_folder, vertices_folder = (folder / name for name in FIT_FOLDERS[fit])
    files = [params_folder / f"{number}.npy" for number in file_numbers]
    params = [_read_params(file) for file in files]
    body_model = load_body_model(body_model_path)
    fitted = _FittedBody(
        poses=torch.stack([_full_pose(file, entry, body_model) for file, entry in zip(files, params, strict=True)]),
        root=torch.from_numpy(np.stack([np.stack([entry["Rh"], entry["Th"]]) for entry in params])),
        betas=_mean_betas(params, body_model.num_betas),
        box_padding=box_padding,
    )
    if not vertices_folder.is_dir():
        if body_model_path is not None:
            return fitted.subject(body_model)
        _warn(
            f"{folder} has no {vertices_folder.name} folder, and no body model was given: the packaged open body "
            "stands in with its mean shape. Give the fitted SMPL file with --body-model-path."
        )
        return fitted.with_mean_shape().subject(body_model)
    meshes = [vertices_folder / f"{number}.npy" for number in file_numbers]
    return _matched_to_meshes(fitted, body_model, body_model_path, meshes)


@dataclass(frozen=True)
class _FittedBody:
    """The parameters on disk."""

    poses: Float[Tensor, "frames joints 3"]
    root: Float[Tensor, "frames 2 3"]
    betas: Float[Tensor, " betas"]
    box_padding: tuple[float, float, float]

    def with_mean_shape(self) -> "_FittedBody":
        return replace(self, betas=torch.zeros_like(self.betas))

    def subject(self, body_model: BodyModel, vertices: Float[Tensor, "frames vertices 3"] | None = None) -> Subject:
        poses = _smplx_poses(self.poses, self.root, body_model.with_shape(self.betas))
        return Subject(body_model, self.betas, BodyMotion.evenly_timed(poses, vertices), self.box_padding)


def _matched_to_meshes(
    fitted: _FittedBody, body_model: BodyModel, body_model_path: Path | None, meshes: Sequence[Path]
) -> Subject:
    """The model alone where it makes the meshes, else the meshes too, with one warning that says what is lost."""
    first = _read_vertices(meshes[0])
    # The older fit was made without pose blend shapes, so SMPL without them is tried too.
    for model in (body_model, replace(body_model, pose_directions=None)):
        if _is_the_mesh(fitted.subject(model), first):
            return fitted.subject(model)
    if body_model_path is None:
        _warn(
            f"the meshes in {meshes[0].parent} are not the packaged open body's, and no body model was given: they are "
            "used as they are, and new poses are not possible. Give the fitted SMPL file with --body-model-path."
        )
        fitted = fitted.with_mean_shape()
    else:
        _warn(
            f"{body_model_path} in the capture's poses is not the mesh of {meshes[0]}: the captured meshes are used, "
            "and new poses are not possible. Give the model that was fitted (gender, version)."
        )
    return fitted.subject(body_model, _read_all_vertices(meshes, first))


def _read_params(file: Path) -> dict[str, np.ndarray]:
    """The checked parameters of one frame, flat and in float64."""
    content = load_npy_object(file)
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{file} holds a {type(content).__name__}, expected a dictionary with poses, Rh, Th and shapes: "
            "export the body parameters again."
        )
    required: dict[str, tuple[int, ...] | None] = {"poses": None, "Rh": (3,), "Th": (3,)}
    arrays = {name: _numbers(file, content, name, sizes) for name, sizes in required.items()}
    if "shapes" in content:
        arrays["shapes"] = _numbers(file, content, "shapes", None)
    return arrays


def _numbers(file: Path, content: Mapping[str, Any], name: str, sizes: tuple[int, ...] | None) -> np.ndarray:
    array = np.asarray(content.get(name, ()))
    if array.dtype.kind not in "fiu" or array.size == 0 or (sizes is not None and array.size not in sizes):
        expected = " or ".join(str(size) for size in sizes) if sizes else "some"
        raise ValueError(
            f"{file}: '{name}' has shape {array.shape} and type {array.dtype}, expected {expected} numbers: "
            "export the body parameters again."
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{file}: '{name}' holds NaN or infinity: fit this frame again, or leave it out.")
    return array.astype(np.float64).reshape(-1)


def _full_pose(file: Path, params: Mapping[str, np.ndarray], body_model: BodyModel) -> Float[Tensor, "joints 3"]:
    """Joint rotations of one frame for the model's skeleton, the root included."""
    poses, num_joints = params["poses"], body_model.num_joints
    # EasyMocap writes the joints without the root, whose place Rh has taken.
    if poses.size in (3 * (SMPL_NUM_JOINTS - 1), 3 * (num_joints - 1)):
        poses = np.concatenate([np.zeros(3), poses])
    if poses.size not in (3 * SMPL_NUM_JOINTS, 3 * num_joints):
        raise ValueError(
            f"{file}: 'poses' has {poses.size} numbers, expected {3 * SMPL_NUM_JOINTS}, or "
            f"{3 * SMPL_NUM_JOINTS - 3} without the root: export the body parameters again."
        )
    joints = torch.from_numpy(poses.reshape(-1, 3))
    if len(joints) == num_joints:
        return joints
    if num_joints < SHARED_NUM_JOINTS:
        raise ValueError(
            f"{file} poses {len(joints)} joints, but {body_model.name} has {num_joints}: give a body model of the "
            "SMPL family with --body-model-path."
        )
    full = joints.new_zeros(num_joints, 3)
    full[:SHARED_NUM_JOINTS] = joints[:SHARED_NUM_JOINTS]
    return full


def _mean_betas(params: Sequence[Mapping[str, np.ndarray]], num_betas: int) -> Float[Tensor, " betas"]:
    """One shape for the person; leading coefficients where the model has fewer, zeros where it has more."""
    shapes = [entry["shapes"][:num_betas] for entry in params if "shapes" in entry]
    betas = torch.zeros(num_betas)
    if shapes:
        mean = np.mean([np.pad(shape, (0, num_betas - len(shape))) for shape in shapes], axis=0)
        betas = torch.from_numpy(mean.astype(np.float32))
    return betas


def _smplx_poses(
    poses: Float[Tensor, "frames joints 3"], root: Float[Tensor, "frames 2 3"], shaped_body: ShapedBody
) -> BodyPose:
    """From v = R(Rh) LBS(poses) + Th, about the model's origin, to smplx's convention, about the pelvis J0.

    With the root's own rotation R0 in `poses`: R(Rh) (R0 (v - J0) + J0) + Th = R (v - J0) + J0 + transl gives
    R = R(Rh) R0 and transl = Th - J0 + R(Rh) J0.
    """
    pelvis = shaped_body.rest_joints[0].to(poses)
    rotation = axis_angle_to_matrix(root[:, 0])
    transl = root[:, 1] - pelvis + rotation @ pelvis
    global_orient = root[:, 0]
    if poses[:, 0].any():
        global_orient = matrix_to_axis_angle(rotation @ axis_angle_to_matrix(poses[:, 0]))
    return BodyPose(global_orient=global_orient.float(), body_pose=poses[:, 1:].float(), transl=transl.float())


def _read_vertices(file: Path) -> Float[np.ndarray, "vertices 3"]:
    vertices = load_npy_object(file)
    if not isinstance(vertices, np.ndarray) or vertices.dtype.kind != "f" or vertices.shape[1:] != (3,):
        found = vertices.shape if isinstance(vertices, np.ndarray) else type(vertices).__name__
        raise ValueError(f"{file} holds {found}, expected an array of vertices x 3: export the meshes again.")
    if not np.isfinite(vertices).all():
        raise ValueError(f"{file} holds NaN or infinity: fit this frame again, or leave it out.")
    return vertices.astype(np.float32)


def _is_the_mesh(subject: Subject, vertices: Float[np.ndarray, "vertices 3"]) -> bool:
    if subject.num_vertices != len(vertices):
        return False
    posed = subject.posed_body(torch.tensor([0])).vertices[0]
    return bool((posed - torch.from_numpy(vertices)).norm(dim=-1).max() <= MATCH_TOLERANCE)


def _read_all_vertices(files: Sequence[Path], first: np.ndarray) -> Float[Tensor, "frames vertices 3"]:
    table = np.empty((len(files), *first.shape), dtype=np.float32)
    table[0] = first
    for frame, file in enumerate(files[1:], start=1):
        vertices = _read_vertices(file)
        if vertices.shape != first.shape:
            raise ValueError(
                f"{file} has {len(vertices)} vertices, but {files[0]} has {len(first)}: all frames need the same mesh."
            )
        table[frame] = vertices
    return torch.from_numpy(table)


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=4)
