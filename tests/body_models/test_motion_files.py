"""Motions as files: what is in them, that they come back, and that a failed write leaves nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel, BodyPose
from human_avatars.body_models.body_pose_optimizer import BodyPoseOptimizerConfig
from human_avatars.body_models.motion import BodyMotion
from human_avatars.body_models.motion_files import write_motion
from human_avatars.data.dataparsers.gaussian_avatar_fit import read_body_fit

NUM_FRAMES, NUM_JOINTS = 5, 24


@pytest.fixture
def poses() -> BodyPose:
    """Random poses."""
    generator = torch.Generator().manual_seed(0)
    axis_angle = 0.4 * torch.randn(NUM_FRAMES, NUM_JOINTS, 3, generator=generator)
    return BodyPose.from_axis_angle(axis_angle, torch.randn(NUM_FRAMES, 3, generator=generator))


@pytest.mark.parametrize("rate", [None, 25.0])
def test_amass_arrays(tmp_path: Path, poses: BodyPose, rate: float | None) -> None:
    path, betas = tmp_path / "new" / "motion.npz", torch.linspace(-1, 1, 10)
    write_motion(path, poses, betas, rate)
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    assert set(arrays) == {"poses", "trans", "betas"} | ({"mocap_framerate"} if rate else set())
    assert arrays["poses"].shape == (NUM_FRAMES, NUM_JOINTS * 3)
    np.testing.assert_array_equal(arrays["poses"][:, :3], poses.global_orient)
    np.testing.assert_array_equal(arrays["poses"][2, 3:6], poses.body_pose[2, 0])
    np.testing.assert_array_equal(arrays["trans"], poses.transl)
    np.testing.assert_array_equal(arrays["betas"], betas)
    if rate:
        assert float(arrays["mocap_framerate"]) == 25.0


def test_gaussian_avatars_parameters_come_back(tmp_path: Path, poses: BodyPose, open_body: BodyModel) -> None:
    path, betas = tmp_path / "smpl_parms_pred.pth", torch.linspace(-1, 1, open_body.num_betas)
    # A view, as a model's frames may be: the file must hold no more than what is asked for.
    write_motion(path, poses[1:4], betas)
    content = torch.load(path, weights_only=True)
    assert {name: tuple(tensor.shape) for name, tensor in content.items()} == {
        "beta": (1, open_body.num_betas), "body_pose": (3, 72), "trans": (3, 3),
    }  # fmt: skip
    fit = read_body_fit(path, open_body, 3)
    assert_close(fit.betas, betas)
    assert_close(fit.poses.axis_angle, poses.axis_angle[1:4])
    assert_close(fit.poses.transl, poses.transl[1:4])


def test_refined_poses_survive_a_file(tmp_path: Path, poses: BodyPose, open_body: BodyModel) -> None:
    captured = BodyMotion.evenly_timed(BodyPose.from_axis_angle(poses.axis_angle + 0.1, poses.transl - 0.05))
    path = tmp_path / "smpl_parms_pred.pth"
    write_motion(path, poses, torch.zeros(open_body.num_betas))
    optimizer = BodyPoseOptimizerConfig(mode="all").setup(
        poses=captured.poses, train_frame_indices=torch.arange(NUM_FRAMES)
    )
    refined = BodyMotion.evenly_timed(read_body_fit(path, open_body, NUM_FRAMES).poses)
    optimizer.set_from_motion(refined)
    assert_close(optimizer.refined_motion(captured).poses.axis_angle, poses.axis_angle, atol=1e-5, rtol=0)
    assert_close(optimizer.refined_motion(captured).poses.transl, poses.transl)


def test_other_suffixes_are_refused_and_nothing_is_written(tmp_path: Path, poses: BodyPose) -> None:
    with pytest.raises(ValueError, match=r"motion\.bvh ends in neither \.npz nor \.pth"):
        write_motion(tmp_path / "motion.bvh", poses, torch.zeros(10))
    assert not list(tmp_path.iterdir())
