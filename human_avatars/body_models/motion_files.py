"""Motions as files that other programs read: AMASS's arrays, and the body parameters of GaussianAvatar's layout."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import assert_never

from human_avatars.body_models.base_body_model import BodyPose
from human_avatars.files.safe_writes import atomic_path

MotionLayout = Literal["amass", "gaussian-avatar"]
"""Whose files to write."""


def motion_layout(path: Path) -> MotionLayout:
    """The layout that a file's suffix names.

    Args:
        path: An `.npz` file for AMASS's arrays, or a `.pth` file for GaussianAvatar's body parameters.

    Returns:
        The layout.

    Raises:
        ValueError: The path ends in neither.
    """
    if path.suffix == ".npz":
        return "amass"
    if path.suffix == ".pth":
        return "gaussian-avatar"
    raise ValueError(
        f"{path} ends in neither .npz nor .pth: name an .npz file for AMASS's arrays, or a .pth file for "
        "GaussianAvatar's body parameters."
    )


def write_motion(
    path: Path,
    poses: BodyPose,
    betas: Float[Tensor, " betas"],
    frames_per_second: float | None = None,
) -> None:
    """Write poses in the layout that the file's suffix names; the file appears when it is whole.

    Rotations are axis-angle in radians, the root's first; places are in metres and in smplx's convention, as in both
    layouts.

    Args:
        path: An `.npz` file as AMASS has them (Mahmood et al. 2019): `poses` (frames, 3 * joints), `trans` (frames, 3),
            `betas`, and `mocap_framerate` where it is known. Or a `.pth` file as GaussianAvatar's `smpl_parms.pth`:
            `body_pose` (frames, 3 * joints), `trans` (frames, 3), `beta` (1, betas). An older file is replaced.
        poses: One pose per frame.
        betas: Shape coefficients, in standard deviations.
        frames_per_second: Frames in a second of the motion; a `.pth` file has no place for it.

    Raises:
        ValueError: The path ends in neither.
    """
    layout = motion_layout(path)
    rotations = poses.axis_angle.detach().flatten(-2).cpu().contiguous()
    transl, betas = poses.transl.detach().cpu().contiguous(), betas.detach().cpu()
    with atomic_path(path) as temporary:
        if layout == "amass":
            arrays = {"poses": rotations.numpy(), "trans": transl.numpy(), "betas": betas.numpy()}
            if frames_per_second is not None:
                arrays["mocap_framerate"] = np.array(float(frames_per_second))
            np.savez(temporary, **arrays)
        elif layout == "gaussian-avatar":
            torch.save({"beta": betas[None].clone(), "body_pose": rotations, "trans": transl.clone()}, temporary)
        else:
            assert_never(layout)
