"""The stage follows the options: motions, places, cameras and their errors."""

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from human_avatars.capture.capture_config import CaptureConfig, NoiseConfig
from human_avatars.capture.footage import Stage
from human_avatars.capture.motions import motion_poses
from human_avatars.capture.staging import WORLD_FROM_MODEL, stage_capture


def test_the_last_third_is_another_motion(tiny_stage: Stage) -> None:
    joints = tiny_stage.filmed.poses.shape[1]
    walk = motion_poses("walk", np.arange(4) / 4, joints)
    box = motion_poses("twist_box", np.arange(2) / 2, joints)
    np.testing.assert_allclose(tiny_stage.filmed.poses[:4, 1:], walk[:, 1:], atol=1e-6)
    np.testing.assert_allclose(tiny_stage.filmed.poses[4:, 1:], box[:, 1:], atol=1e-6)
    np.testing.assert_array_equal(tiny_stage.filmed.poses[:, 0], 0)


def test_the_root_rotation_stands_the_body_up_in_the_world(tiny_stage: Stage) -> None:
    heading = motion_poses("walk", np.arange(4) / 4, 24)[1, 0]
    expected = WORLD_FROM_MODEL @ Rotation.from_rotvec(heading).as_matrix()
    np.testing.assert_allclose(tiny_stage.filmed.rotation(1), expected, atol=1e-6)


def test_without_noise_the_fit_is_the_truth(tiny_stage: Stage) -> None:
    np.testing.assert_array_equal(tiny_stage.written.poses, tiny_stage.filmed.poses)
    np.testing.assert_array_equal(tiny_stage.written.bone_transforms, tiny_stage.filmed.bone_transforms)
    np.testing.assert_array_equal(tiny_stage.place_errors, 0)
    assert tiny_stage.written_cameras == tiny_stage.cameras


def test_with_noise_what_is_filmed_stays_the_same(tiny_options: CaptureConfig, tiny_stage: Stage) -> None:
    noise = NoiseConfig(pose_noise_degrees=1.0, calibration_noise_millimetres=3.0)
    noisy = stage_capture(replace(tiny_options, noise=noise))
    np.testing.assert_array_equal(noisy.filmed.poses, tiny_stage.filmed.poses)
    assert (noisy.written.poses[:, 1:] != noisy.filmed.poses[:, 1:]).any()
    np.testing.assert_array_equal(noisy.written.poses[:, 0], 0)
    for filming, written in zip(noisy.cameras, noisy.written_cameras, strict=True):
        assert 0 < np.linalg.norm(filming.position - written.position) < 0.02


def test_cameras_stand_in_ascending_order(tiny_stage: Stage) -> None:
    assert [camera.name for camera in tiny_stage.cameras] == ["Camera_B1", "Camera_B4", "Camera_B7"]
