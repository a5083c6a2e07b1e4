"""Orbit cameras circle the person, look at them and play the motion."""

import numpy as np
import torch
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel, BodyPose
from human_avatars.body_models.motion import BodyMotion, Subject
from human_avatars.scripts.orbit import look_at, orbit_cameras
from human_avatars.viewer.body_controls import first_view_of


def _subject(open_body: BodyModel, global_orient: list[float], transl: list[float]) -> Subject:
    pose = BodyPose.zeros((3,), open_body.num_joints)
    pose.global_orient[:] = torch.tensor(global_orient)
    pose.transl[:] = torch.tensor(transl)
    motion = BodyMotion.evenly_timed(pose)
    return Subject(
        body_model=open_body, betas=torch.zeros(open_body.num_betas), motion=motion, box_padding=(0.0, 0.0, 0.0)
    )


def test_the_first_view_faces_a_person_who_stands_with_z_up(open_body: BodyModel) -> None:
    # A quarter turn about x takes the body's +y to +z and its forward +z to -y.
    position, target, up = first_view_of(_subject(open_body, [np.pi / 2, 0, 0], [1.0, 2.0, 3.0]))
    np.testing.assert_allclose(up, [0, 0, 1])
    direction = (position - target) / np.linalg.norm(position - target)
    np.testing.assert_allclose(direction, [0, -1, 0], atol=1e-6)


def test_the_first_view_faces_a_person_whose_camera_has_y_down(open_body: BodyModel) -> None:
    position, target, up = first_view_of(_subject(open_body, [np.pi, 0, 0], [0.0, 0.0, 4.0]))
    np.testing.assert_allclose(up, [0, -1, 0])
    direction = (position - target) / np.linalg.norm(position - target)
    np.testing.assert_allclose(direction, [0, 0, -1], atol=1e-6)


def test_a_leaning_person_does_not_tilt_the_horizon(open_body: BodyModel) -> None:
    _, _, up = first_view_of(_subject(open_body, [np.pi / 2 - 0.3, 0, 0], [0.0, 0.0, 0.0]))
    np.testing.assert_allclose(up, [0, 0, 1])


def test_the_cameras_circle_the_person_and_time_runs(open_body: BodyModel) -> None:
    subject = _subject(open_body, [np.pi / 2, 0, 0], [1.0, 2.0, 3.0])
    cameras = orbit_cameras(subject, num_frames=8, size=64, turns=1.0)
    assert cameras.times is not None
    assert_close(cameras.times[:, 0], torch.linspace(0, 1, 8))
    box = subject.world_boxes(torch.tensor([0]))[0]
    middle = box.mean(0)
    centres = cameras.camera_to_worlds[:, :, 3]
    radii = (centres - middle)[:, :2].norm(dim=-1)
    assert_close(radii, radii[:1].expand(8))
    # Opposite cameras stand on opposite sides, and every one looks at the person.
    assert_close((centres[0] + centres[4])[:2] / 2, middle[:2], atol=1e-4, rtol=0)
    looking = -cameras.camera_to_worlds[:, :, 2]
    towards = torch.nn.functional.normalize(middle - centres, dim=-1)
    assert_close(looking, towards, atol=1e-5, rtol=0)
    # The whole person is in the picture: every corner of the box projects inside it.
    corners = torch.cartesian_prod(*box.T)
    local = torch.einsum("nij,nci->ncj", cameras.camera_to_worlds[:, :, :3], corners - centres[:, None])
    pixels = 32 + cameras.fx[:, None] * local[..., :2] / -local[..., 2:]
    assert pixels.min() > 0
    assert pixels.max() < 64


def test_look_at_is_a_right_handed_frame() -> None:
    pose = look_at(np.array([0.0, -3.0, 1.0]), np.zeros(3), np.array([0.0, 0.0, 1.0]))
    rotation = pose[:, :3]
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotation), 1)
    assert rotation[2, 1] > 0.9
