"""Poses by time, and the subject that moves by them."""

import copy
import dataclasses

import pytest
import torch
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel, BodyPose
from human_avatars.body_models.bounds import padded_box
from human_avatars.body_models.motion import BodyMotion, Subject

PADDING = (0.0, 0.1, 0.05)
NUM_FRAMES = 5


def random_motion(body: BodyModel, num_frames: int = NUM_FRAMES, with_vertices: bool = False) -> BodyMotion:
    generator = torch.Generator().manual_seed(num_frames)
    axis_angle = 0.3 * torch.randn(num_frames, body.num_joints, 3, generator=generator)
    poses = BodyPose.from_axis_angle(axis_angle, torch.randn(num_frames, 3, generator=generator))
    vertices = torch.randn(num_frames, 7, 3, generator=generator) if with_vertices else None
    return BodyMotion.evenly_timed(poses, vertices)


@pytest.fixture
def subject(open_body: BodyModel) -> Subject:
    """The open body in a random motion."""
    betas = torch.linspace(-1, 1, open_body.num_betas)
    return Subject(body_model=open_body, betas=betas, motion=random_motion(open_body), box_padding=PADDING)


@pytest.fixture
def captured(subject: Subject) -> Subject:
    """The same person with meshes of a body model that is not at hand."""
    return dataclasses.replace(subject, motion=random_motion(subject.body_model, with_vertices=True))


def test_frames_are_spread_evenly(open_body: BodyModel) -> None:
    assert random_motion(open_body).times.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert random_motion(open_body).num_frames == NUM_FRAMES
    assert random_motion(open_body, num_frames=1).times.tolist() == [0.0]


def test_a_time_goes_to_its_nearest_frame(open_body: BodyModel) -> None:
    motion = random_motion(open_body)
    assert_close(motion.frame_indices(motion.times), torch.arange(NUM_FRAMES))
    times = torch.tensor([[0.12, 0.13, 0.6], [0.63, 0.87, 0.88]])
    assert motion.frame_indices(times).tolist() == [[0, 1, 2], [3, 3, 4]]
    assert motion.frame_indices(torch.tensor(0.49)).tolist() == 2
    generator = torch.Generator().manual_seed(0)
    uneven = dataclasses.replace(motion, times=torch.tensor([0.0, 0.1, 0.2, 0.9, 1.0]))
    times = torch.rand(100, 1, generator=generator)
    assert_close(uneven.frame_indices(times)[:, 0], (times - uneven.times).abs().argmin(-1))


def test_times_beyond_the_motion_go_to_its_ends(open_body: BodyModel) -> None:
    times = torch.tensor([-1.0, -1e-6, 1.0 + 1e-6, 7.0])
    assert random_motion(open_body).frame_indices(times).tolist() == [0, 0, NUM_FRAMES - 1, NUM_FRAMES - 1]
    assert random_motion(open_body, num_frames=1).frame_indices(times).tolist() == [0, 0, 0, 0]


def test_other_precisions_and_layouts_of_times_are_taken(open_body: BodyModel) -> None:
    motion = random_motion(open_body)
    assert motion.frame_indices(motion.times.double()).tolist() == [0, 1, 2, 3, 4]
    table = torch.tensor([[0.0, 0.5], [0.25, 1.0]])
    assert motion.frame_indices(table.mT).tolist() == [[0, 1], [2, 4]]


def test_the_posed_body_is_the_shaped_body_in_the_frames_pose(subject: Subject) -> None:
    frames = torch.tensor([3, 0, 3])
    posed = subject.posed_body(frames)
    expected = subject.body_model.with_shape(subject.betas).with_pose(subject.motion.poses[3])
    assert_close(posed.vertices[0], expected.vertices)
    assert_close(posed.bone_transforms[2], expected.bone_transforms)
    assert subject.vertices_match_model
    assert subject.num_vertices == subject.body_model.num_vertices


def test_captured_vertices_take_the_place_of_the_models(captured: Subject) -> None:
    frames = torch.tensor([4, 1])
    posed = captured.posed_body(frames)
    assert captured.motion.vertices is not None
    assert_close(posed.vertices, captured.motion.vertices[frames])
    expected = captured.shaped_body.with_pose(captured.motion.poses[frames])
    assert_close(posed.bone_transforms, expected.bone_transforms)
    assert not captured.vertices_match_model
    assert captured.num_vertices == 7


@pytest.mark.parametrize("with_vertices", [False, True])
def test_boxes_hold_the_vertices_and_the_padding(subject: Subject, captured: Subject, with_vertices: bool) -> None:
    subject = captured if with_vertices else subject
    frames = torch.tensor([1, 2])
    boxes = subject.world_boxes(frames)
    vertices = subject.posed_body(frames).vertices
    assert_close(boxes, padded_box(vertices, PADDING))
    assert_close(boxes[:, 1] - boxes[:, 0], vertices.amax(1) - vertices.amin(1) + 2 * torch.tensor(PADDING))


def test_another_motion_moves_the_same_person(subject: Subject) -> None:
    motion = random_motion(subject.body_model, num_frames=2)
    moved = subject.with_motion(motion)
    assert moved.motion is motion
    assert moved.shaped_body.rest_vertices.equal(subject.shaped_body.rest_vertices)
    assert_close(
        moved.posed_body(torch.tensor([1])).vertices[0], subject.shaped_body.with_pose(motion.poses[1]).vertices
    )
    assert subject.motion.num_frames == NUM_FRAMES


def test_a_capture_of_foreign_meshes_cannot_be_posed_anew(captured: Subject) -> None:
    with pytest.raises(ValueError, match=r"do not come from the packaged open body.*--body-model-path"):
        captured.with_motion(random_motion(captured.body_model))
    assert captured.with_motion(captured.motion).motion is captured.motion


def test_a_motion_of_another_skeleton_is_refused(subject: Subject) -> None:
    poses = BodyPose.zeros((3,), subject.body_model.num_joints + 28)
    with pytest.raises(ValueError, match=r"moves 52 joints, the packaged open body has 24"):
        subject.with_motion(BodyMotion.evenly_timed(poses))


def test_copies_are_independent(captured: Subject) -> None:
    original = captured.posed_body(torch.tensor([0]))
    duplicate = copy.deepcopy(captured)
    duplicate.betas.zero_()
    duplicate.motion.poses.transl.zero_()
    assert_close(captured.betas, torch.linspace(-1, 1, captured.body_model.num_betas))
    assert_close(captured.posed_body(torch.tensor([0])).bone_transforms, original.bone_transforms)


def test_moving_to_a_device_moves_every_tensor(captured: Subject) -> None:
    captured.posed_body(torch.tensor([0]))
    elsewhere = captured.to("meta")
    posed = elsewhere.posed_body(torch.tensor([0], device="meta"))
    assert posed.vertices.device.type == posed.bone_transforms.device.type == "meta"
    assert elsewhere.motion.times.device.type == elsewhere.motion.poses.body_pose.device.type == "meta"
    assert elsewhere.body_model.faces.device.type == "meta"
    assert captured.betas.device.type == "cpu"
    # To where it is already: the same values, shared.
    assert_close(
        captured.to("cpu").posed_body(torch.tensor([0])).vertices, captured.posed_body(torch.tensor([0])).vertices
    )
