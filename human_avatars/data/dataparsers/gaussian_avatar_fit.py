"""The fitted body of GaussianAvatar's layout: `smpl_parms.pth`, checked against the body model it is given to."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from human_avatars.body_models.base_body_model import BodyModel, BodyPose

REQUIRED_TENSORS = ("beta", "body_pose", "trans")


@dataclass(frozen=True)
class BodyFit:
    """Shape and poses of the person in one folder."""

    betas: Float[Tensor, " betas"]
    """Shape coefficients, in standard deviations."""
    poses: BodyPose
    """One pose per image, which the layout has in smplx's convention."""


def read_body_fit(file: Path, body_model: BodyModel, num_frames: int) -> BodyFit:
    """Read the parameters of a body. Nothing in the file is executed: it is read as weights only.

    Args:
        file: A file with the tensors "beta" (1 or frames, betas), "body_pose" (frames, 3 * joints; the root's global
            rotation first, in radians) and "trans" (frames, 3; in metres).
        body_model: The body that was fitted.
        num_frames: Images of the folder.

    Returns:
        The fit in float32, one pose per image. Of several shapes the first counts, as in the original.

    Raises:
        ValueError: The file is missing, unreadable, has other contents than expected, poses another skeleton, or has
            fewer poses than there are images.
    """
    content = _read_tensors(file)
    poses, transl, beta = content["body_pose"], content["trans"], content["beta"]
    _check(file, "body_pose", poses, poses.ndim == 2, "frames x 3 per joint")
    _check(file, "trans", transl, transl.ndim == 2 and transl.shape[1] == 3, "frames x 3")
    _check(file, "beta", beta, beta.ndim == 2 and len(beta) > 0, "1 x shape coefficients")
    if len(poses) != len(transl):
        raise ValueError(
            f"{file} has {len(poses)} poses in 'body_pose', but {len(transl)} places in 'trans': expected one of each "
            "per image. Export the body parameters again."
        )
    joints = body_model.num_joints
    if poses.shape[1] != 3 * joints:
        raise ValueError(
            f"{file}: 'body_pose' has {poses.shape[1]} numbers per frame, but {body_model.name} takes {3 * joints}, "
            f"three for each of its {joints} joints. 72 numbers are SMPL's, 165 SMPL-X's: give the model that was "
            "fitted with --body-model-path."
        )
    count = _used_frames(file, len(poses), num_frames)
    return BodyFit(
        betas=_first_shape(beta, body_model.num_betas),
        poses=BodyPose.from_axis_angle(poses[:count].reshape(count, joints, 3), transl[:count]),
    )


def _read_tensors(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise ValueError(
            f"{file} does not exist: expected the fitted body of the images beside it. Fit a body to the images, or "
            "choose smpl_parms.pth with --poses captured."
        )
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    # What a damaged file raises depends on where the damage is; torch's own message advises to load it without the
    # restriction, which would execute what is in it.
    except Exception as error:
        raise ValueError(
            f"{file} cannot be read as tensors ({type(error).__name__}): it is cut short, of another kind, or holds "
            "more than tensors, such as numpy arrays. Copy it again, or export it with torch.as_tensor of each array."
        ) from error
    found = content if isinstance(content, dict) else {}
    missing = [name for name in REQUIRED_TENSORS if not isinstance(found.get(name), Tensor)]
    if missing:
        raise ValueError(
            f"{file} has no tensor {', '.join(map(repr, missing))} (it holds "
            f"{', '.join(map(repr, found)) or f'a {type(content).__name__}'}), expected 'beta', 'body_pose' and "
            "'trans': export the body parameters again."
        )
    return {name: found[name].detach().float() for name in REQUIRED_TENSORS}


def _check(file: Path, name: str, tensor: Tensor, right: bool, expected: str) -> None:
    if not right:
        raise ValueError(
            f"{file}: '{name}' has shape {tuple(tensor.shape)}, expected {expected}: export the body parameters again."
        )
    broken = (~tensor.isfinite()).any(1).nonzero()[:, 0]
    if len(broken) > 0:
        raise ValueError(
            f"{file}: '{name}' holds NaN or infinity in row {int(broken[0])}: fit this frame again, or leave it out, "
            "its image and mask too."
        )


def _used_frames(file: Path, num_poses: int, num_images: int) -> int:
    if num_poses < num_images:
        raise ValueError(
            f"{file} has {num_poses} poses for {num_images} images in {file.parent / 'images'}: expected one per "
            "image, in the order of their names. Remove the images without a pose, or fit the rest."
        )
    if num_poses > num_images:
        warnings.warn(
            f"{file} has {num_poses} poses for {num_images} images: the first {num_images} are taken, as in the "
            "original. If images were removed in between, remove their poses too.",
            UserWarning,
            stacklevel=3,
        )
    return num_images


def _first_shape(beta: Float[Tensor, "rows coefficients"], num_betas: int) -> Float[Tensor, " betas"]:
    """Leading coefficients where the model has fewer, zeros where it has more."""
    betas = beta.new_zeros(num_betas)
    shared = min(num_betas, beta.shape[1])
    betas[:shared] = beta[0, :shared]
    return betas
