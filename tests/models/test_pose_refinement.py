"""Corrections of captured poses as part of an avatar: what they move, what learns them, and where they stop."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.engine.callbacks import TrainingCallbackAttributes
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel, BodyPose
from human_avatars.body_models.body_pose_optimizer import BodyPoseOptimizerConfig
from human_avatars.body_models.bounds import padded_box
from human_avatars.body_models.motion import BodyMotion, Subject
from human_avatars.models.neural_body import NeuralBodyModel, NeuralBodyModelConfig

TRAIN_FRAMES, FRAME, TIME = (0, 1, 2), 1, 1 / 3
NUM_RAYS = 256


def _subject(body: BodyModel, vertices: Tensor | None = None) -> Subject:
    poses = BodyPose.zeros((4,), body.num_joints)
    poses.body_pose[:, 15, 2] = torch.tensor([0.0, -0.4, -0.8, -1.2])
    motion = BodyMotion.evenly_timed(poses, vertices)
    return Subject(body_model=body, betas=torch.zeros(body.num_betas), motion=motion, box_padding=(0.05, 0.05, 0.05))


def _model(subject: Subject, **options: Any) -> NeuralBodyModel:
    torch.manual_seed(0)
    refinement: dict[str, Any] = {"mode": "all", **options}
    config = NeuralBodyModelConfig(
        voxel_size=0.05, num_samples=16, density_scale=20.0, last_interval=0.02,
        body_pose_optimizer=BodyPoseOptimizerConfig(**refinement),
    )  # fmt: skip
    metadata = {"subject": subject, "train_frame_indices": torch.tensor(TRAIN_FRAMES)}
    box = SceneBox(aabb=torch.tensor([[-2.0, -2.0, -2.0], [2.0, 2.0, 2.0]]))
    model = config.setup(scene_box=box, num_train_data=4, metadata=metadata)
    with torch.no_grad():
        model.field.heads.density.bias += 0.2
        # Differences between places, which poses are read from, must stand out.
        model.field.heads.density.weight *= 5
        model.field.heads.color.weight *= 5
    return model


def _rays(subject: Subject) -> RayBundle:
    generator = torch.Generator().manual_seed(1)
    box = subject.world_boxes(torch.tensor([FRAME]))[0]
    targets = box[0] + (box[1] - box[0]) * torch.rand(NUM_RAYS, 3, generator=generator)
    origins = torch.tensor([0.1, 0.0, 3.0]).expand(NUM_RAYS, 3).contiguous()
    directions = torch.nn.functional.normalize(targets - origins, dim=-1)
    times = torch.full((NUM_RAYS, 1), TIME)
    return RayBundle(origins=origins, directions=directions, pixel_area=torch.ones(NUM_RAYS, 1), times=times)


def _image_loss(model: NeuralBodyModel) -> Tensor:
    torch.manual_seed(5)
    colours = torch.rand(NUM_RAYS, 3, generator=torch.Generator().manual_seed(2))
    batch = {"image": torch.cat([colours, torch.ones(NUM_RAYS, 1)], dim=-1)}
    return model.get_loss_dict(model(_rays(model.subject)), batch)["rgb_loss"]


@pytest.fixture
def subject(open_body: BodyModel) -> Subject:
    """The open body in four frames, of which three train."""
    return _subject(open_body)


def test_off_leaves_the_method_as_it_is(subject: Subject) -> None:
    model = _model(subject, mode="off")
    assert set(model.get_param_groups()) == {"fields"}
    rays = _rays(subject)
    outputs = model(rays)
    batch = {"image": torch.zeros(NUM_RAYS, 4)}
    assert set(model.get_loss_dict(outputs, batch)) == {"rgb_loss"}
    assert set(model.get_metrics_dict(outputs, batch)) == {"psnr"}
    assert not any("body_pose" in name for name in model.state_dict())
    assert model.refined_motion() is subject.motion
    assert model.get_training_callbacks(TrainingCallbackAttributes(None, None, None, None)) == []
    assert not model.posed_bodies(rays.times, NUM_RAYS).bodies.vertices.requires_grad


def test_on_adds_a_group_a_pull_and_the_size_of_the_corrections(subject: Subject) -> None:
    model = _model(subject)
    assert set(model.get_param_groups()) == {"fields", "body_pose_opt"}
    outputs, batch = model(_rays(subject)), {"image": torch.zeros(NUM_RAYS, 4)}
    assert set(model.get_loss_dict(outputs, batch)) == {"rgb_loss", "body_pose_opt_regularizer"}
    metrics = model.get_metrics_dict(outputs, batch)
    assert set(metrics) == {"psnr", "body_pose_opt_rotation_degrees", "body_pose_opt_transl_millimetres"}
    assert {name for name in model.state_dict() if "body_pose" in name} == {
        "body_pose_optimizer.rotation_corrections",
        "body_pose_optimizer.transl_corrections",
    }


def test_the_trainer_tells_which_step_it_is(subject: Subject) -> None:
    model = _model(subject, start_step=3)
    (callback,) = model.get_training_callbacks(TrainingCallbackAttributes(None, None, None, None))
    for step, learns in ((2, False), (3, True)):
        callback.run_callback(step)
        assert model.body_pose_optimizer.is_learning == learns


def test_corrections_move_the_captured_motion_alone(subject: Subject) -> None:
    model = _model(subject).eval()
    with torch.no_grad():
        model.body_pose_optimizer.transl_corrections[FRAME] = torch.tensor([0.1, 0.2, 0.3])
    rays = _rays(subject)

    def shift() -> Tensor:
        bodies = model.posed_bodies(rays.times, NUM_RAYS)
        captured = subject.posed_body(torch.tensor([FRAME]))
        # Rays are bounded by the body that is rendered.
        assert_close(bodies.boxes, padded_box(bodies.bodies.vertices, subject.box_padding))
        return (bodies.bodies.vertices - captured.vertices).mean((0, 1))

    assert_close(shift(), torch.tensor([0.1, 0.2, 0.3]), atol=1e-5, rtol=0)
    refined = model.refined_motion()
    assert_close(refined.poses.transl[FRAME], torch.tensor([0.1, 0.2, 0.3]))
    model.set_motion(subject.motion)
    assert_close(shift(), torch.zeros(3), atol=1e-5, rtol=0)
    assert_close(model.refined_motion().poses.transl, refined.poses.transl)


def test_a_moved_model_moves_its_corrections(subject: Subject) -> None:
    model = _model(subject).to(torch.float64)
    poses = model.poses_in(torch.tensor([FRAME]))
    assert poses.axis_angle.dtype == torch.float64


def test_meshes_of_another_body_cannot_be_refined(open_body: BodyModel) -> None:
    captured = _subject(open_body, vertices=torch.zeros(4, 7, 3))
    with pytest.raises(ValueError, match=r"cannot be refined.*--body-model-path.*mode off"):
        _model(captured)


def test_the_images_gradient_reaches_the_poses(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    # The box moves the samples along their rays; held still, the poses alone change the image.
    still = padded_box(subject.posed_body(torch.tensor([FRAME])).vertices, (0.1, 0.1, 0.1))
    monkeypatch.setattr("human_avatars.models.base_avatar_model.padded_box", lambda points, padding: still)
    model = _model(subject)
    _image_loss(model).backward()
    rotations, transl = model.body_pose_optimizer.rotation_corrections, model.body_pose_optimizer.transl_corrections
    assert rotations.grad is not None
    assert transl.grad is not None

    def numerical(parameter: Tensor, index: tuple[int, ...], step: float = 2e-3) -> Tensor:
        slopes = []
        for entry in range(parameter.shape[-1]):
            losses = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter[(*index, entry)] += sign * step
                    losses.append(float(_image_loss(model)))
                    parameter[(*index, entry)] -= sign * step
            slopes.append((losses[0] - losses[1]) / (2 * step))
        return torch.tensor(slopes)

    # Voxels are anchored to the root, so that its place and rotation change the image smoothly.
    of_place, of_root = numerical(transl, (FRAME,)), numerical(rotations, (FRAME, 0))
    assert (transl.grad[FRAME] - of_place).norm() < 0.1 * of_place.norm()
    assert cosine_similarity(rotations.grad[FRAME, 0], of_root, dim=0) > 0.9
    # Other joints move vertices from voxel to voxel: no numerical gradient, but the surface tells.
    assert (rotations.grad[FRAME, 1:].abs().amax(-1) > 0).sum() > 10
    # No other frame was looked at.
    assert not rotations.grad[[0, 2]].any()
    assert not transl.grad[[0, 2]].any()


def test_a_capture_without_its_poses_is_the_motion_itself(subject: Subject) -> None:
    frames = torch.tensor([2, 0])
    model = _model(subject, mode="off")
    assert_close(model.poses_in(frames).axis_angle, subject.motion.poses.axis_angle[frames])
    other = replace(subject.motion, poses=BodyPose.zeros((4,), subject.body_model.num_joints))
    model.set_motion(other)
    assert_close(model.poses_in(frames).axis_angle, other.poses.axis_angle[frames])
