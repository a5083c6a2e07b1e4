"""Corrections of captured poses: what they change, what pulls at them, when they learn and which frames have them."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel, BodyPose
from human_avatars.body_models.body_pose_optimizer import BodyPoseOptimizer, BodyPoseOptimizerConfig
from human_avatars.body_models.motion import BodyMotion
from human_avatars.transforms import axis_angle_to_matrix, matrix_to_axis_angle

NUM_FRAMES, NUM_JOINTS = 7, 4
TRAIN_FRAMES = (1, 2, 3, 5)
"""2 alone lies between neighbours: 0 and 6 do not train, and 4 is a gap."""


def random_poses(num_frames: int = NUM_FRAMES, num_joints: int = NUM_JOINTS) -> BodyPose:
    generator = torch.Generator().manual_seed(0)
    axis_angle = 0.5 * torch.randn(num_frames, num_joints, 3, generator=generator, dtype=torch.float64)
    return BodyPose.from_axis_angle(axis_angle, torch.randn(num_frames, 3, generator=generator, dtype=torch.float64))


def make(poses: BodyPose | None = None, **options: Any) -> BodyPoseOptimizer:
    fields: dict[str, Any] = {"mode": "all", **options}
    config = BodyPoseOptimizerConfig(**fields)
    return config.setup(poses=poses or random_poses(), train_frame_indices=torch.tensor(TRAIN_FRAMES))


def turn_everything(optimizer: BodyPoseOptimizer, scale: float = 0.1) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in optimizer.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


def losses_of(optimizer: BodyPoseOptimizer, *frames: int) -> dict[str, Tensor]:
    indices = torch.tensor(frames)
    optimizer.apply_to_poses(random_poses()[indices], indices)
    losses: dict[str, Tensor] = {}
    optimizer.get_loss_dict(losses)
    return losses


@pytest.mark.parametrize("mode", ["off", "rotations", "all"])
def test_no_correction_leaves_the_poses(mode: str) -> None:
    poses, frames = random_poses(), torch.tensor([1, 4, 3])
    refined = make(mode=mode).apply_to_poses(poses[frames], frames)
    assert_close(refined.axis_angle, poses.axis_angle[frames])
    assert_close(refined.transl, poses.transl[frames], rtol=0, atol=0)


def test_off_has_nothing_to_learn_store_or_report() -> None:
    optimizer, poses = make(mode="off"), random_poses()
    assert not list(optimizer.parameters())
    assert not list(optimizer.buffers())
    assert optimizer.apply_to_poses(poses, torch.arange(NUM_FRAMES)) is poses
    found: dict[str, Any] = {}
    for add in (optimizer.get_loss_dict, optimizer.get_metrics_dict, optimizer.get_param_groups):
        add(found)
    assert not found
    assert not optimizer.is_learning


def test_only_frames_that_train_have_corrections() -> None:
    optimizer, poses = make(), random_poses()
    assert optimizer.rotation_corrections.shape == (len(TRAIN_FRAMES), NUM_JOINTS, 6)
    assert optimizer.transl_corrections.shape == (len(TRAIN_FRAMES), 3)
    turn_everything(optimizer)
    refined = optimizer.apply_to_poses(poses, torch.arange(NUM_FRAMES))
    others = [0, 4, 6]
    assert refined.axis_angle[others].equal(poses.axis_angle[others])
    assert refined.transl[others].equal(poses.transl[others])
    changes = (refined.axis_angle - poses.axis_angle).abs().amin((1, 2))
    assert (changes[list(TRAIN_FRAMES)] > 1e-4).all()
    refined.axis_angle[others].sum().backward()
    assert optimizer.rotation_corrections.grad is not None
    assert not optimizer.rotation_corrections.grad.any()


def test_rotations_mode_leaves_the_root_in_its_place() -> None:
    optimizer, poses = make(mode="rotations"), random_poses()
    turn_everything(optimizer)
    frames = torch.tensor([2])
    refined = optimizer.apply_to_poses(poses[frames], frames)
    assert refined.transl.equal(poses.transl[frames])
    assert (refined.global_orient - poses.global_orient[frames]).abs().max() > 1e-3


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1.0, math.pi, 3.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_wherever_the_pose_is(angle: float, dtype: torch.dtype) -> None:
    axis_angle = torch.zeros(NUM_FRAMES, NUM_JOINTS, 3, dtype=dtype)
    axis_angle[..., 0] = angle
    poses = BodyPose.from_axis_angle(axis_angle, torch.zeros(NUM_FRAMES, 3, dtype=dtype))
    optimizer = make(poses)
    refined = optimizer.apply_to_poses(poses, torch.arange(NUM_FRAMES))
    (axis_angle_to_matrix(refined.axis_angle)[..., 0, 1].sum() + refined.transl.sum()).backward()
    gradient = optimizer.rotation_corrections.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert (gradient != 0).any()


def test_the_pull_is_the_excess_over_the_tolerance() -> None:
    optimizer = make(mode="rotations")
    with torch.no_grad():
        # Row 0 is frame 1. Within the tolerance of 0.1; beyond it; of the root, which is free.
        optimizer.rotation_corrections[0, 1, 0] = 0.09
        optimizer.rotation_corrections[0, 2, 3] = -0.3
        optimizer.rotation_corrections[0, 0, 2] = 5.0
    (loss,) = losses_of(optimizer, 1).values()
    # 2 x (0.3^2 - 0.1^2), over three joints.
    assert_close(loss, torch.tensor(2 * 0.08 / 3, dtype=torch.float64))
    loss.backward()
    expected = torch.zeros_like(optimizer.rotation_corrections)
    expected[0, 2, 3] = 2 * 2 * -0.3 / 3
    assert_close(optimizer.rotation_corrections.grad, expected)


def test_the_pull_is_the_mean_over_the_frames_of_the_step() -> None:
    optimizer = make(rotation_penalty=1.0, rotation_tolerance=0.0)
    with torch.no_grad():
        optimizer.rotation_corrections[:, 1, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    name = "body_pose_opt_regularizer"
    assert_close(losses_of(optimizer, 1)[name], torch.tensor(1 / 3, dtype=torch.float64))
    assert_close(losses_of(optimizer, 5)[name], torch.tensor(16 / 3, dtype=torch.float64))
    assert_close(losses_of(optimizer, 1, 5)[name], torch.tensor(17 / 6, dtype=torch.float64))
    # Frame 4 does not train.
    assert_close(losses_of(optimizer, 1, 4, 5)[name], torch.tensor(17 / 6, dtype=torch.float64))
    assert not losses_of(optimizer, 0, 4)


def test_even_corrections_cost_no_smoothness() -> None:
    optimizer = make(smoothness_penalty=0.5, smoothness_of="corrections")
    name = "body_pose_opt_smoothness"
    with torch.no_grad():
        for parameter in optimizer.parameters():
            parameter += 0.7
    assert losses_of(optimizer, 2)[name] == 0
    with torch.no_grad():
        optimizer.transl_corrections[:, 0] += torch.tensor([0.0, 1.0, 2.0, 9.0], dtype=torch.float64)
    assert_close(losses_of(optimizer, 2)[name], torch.tensor(0.0, dtype=torch.float64))


def test_smoothness_by_hand() -> None:
    optimizer = make(smoothness_penalty=0.5, smoothness_of="corrections")
    with torch.no_grad():
        optimizer.rotation_corrections[1, 0, 4] = 0.2
        optimizer.transl_corrections[2, 1] = 0.1
    # Second differences -0.4 of one of four joints, and 0.1 of the place.
    expected = torch.tensor(0.5 * (0.16 / 4 + 0.01), dtype=torch.float64)
    losses = losses_of(optimizer, 2)
    assert_close(losses["body_pose_opt_smoothness"], expected)
    losses["body_pose_opt_smoothness"].backward()
    gradient = optimizer.transl_corrections.grad
    assert gradient is not None
    # Its neighbours feel it too: d/dx 0.5 (a - 2 x + b)^2.
    assert_close(gradient[:3, 1], torch.tensor([0.1, -0.2, 0.1], dtype=torch.float64))
    # Of frames beside a gap nothing is asked.
    assert losses_of(optimizer, 1, 3, 5)["body_pose_opt_smoothness"] == 0


def test_smooth_poses_are_those_that_move_evenly() -> None:
    poses = random_poses()
    even = BodyPose(poses.global_orient[:1].expand(NUM_FRAMES, -1), poses.body_pose[:1].expand(NUM_FRAMES, -1, -1),
                    torch.arange(3.0 * NUM_FRAMES, dtype=torch.float64).view(-1, 3))  # fmt: skip
    optimizer = make(even, smoothness_penalty=1.0)
    assert_close(losses_of(optimizer, 2)["body_pose_opt_smoothness"], torch.tensor(0.0, dtype=torch.float64))
    with torch.no_grad():
        optimizer.transl_corrections[1, 0] += 0.5
    assert_close(losses_of(optimizer, 2)["body_pose_opt_smoothness"], torch.tensor(1.0, dtype=torch.float64))
    jittery = make(poses, smoothness_penalty=1.0)
    assert losses_of(jittery, 2)["body_pose_opt_smoothness"] > 0.1


@pytest.mark.parametrize(("step", "learns"), [(0, False), (9, False), (10, True), (19, True), (20, False)])
def test_corrections_learn_between_their_start_and_their_end(step: int, learns: bool) -> None:
    optimizer, frames = make(start_step=10, freeze_step=20), torch.tensor([2])
    adam = torch.optim.Adam(optimizer.parameters(), lr=0.1)
    ground = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def train(step: int) -> BodyPose:
        optimizer.update_to_step(step)
        refined = optimizer.apply_to_poses(random_poses()[frames], frames)
        losses: dict[str, Tensor] = {"pose": ground + refined.axis_angle.square().sum() + refined.transl.sum()}
        optimizer.get_loss_dict(losses)
        assert (len(losses) == 2) == optimizer.is_learning
        adam.zero_grad()
        sum(losses.values(), ground).backward()
        adam.step()
        return refined

    # A step at which they learn comes first: its momentum must not move them later.
    train(10)
    before = [value.detach().clone() for value in optimizer.parameters()]
    refined = train(step)
    assert optimizer.is_learning == learns
    for value, old in zip(optimizer.parameters(), before, strict=True):
        assert value.equal(old) != learns
    # What was learned stays in the poses.
    assert (refined.transl - random_poses().transl[frames]).abs().max() > 1e-3


def test_evaluation_adds_no_loss_and_sees_the_corrections() -> None:
    optimizer = make().eval()
    turn_everything(optimizer)
    assert not losses_of(optimizer, 2)
    frames = torch.tensor([2])
    refined = optimizer.apply_to_poses(random_poses()[frames], frames)
    assert (refined.transl - random_poses().transl[frames]).abs().max() > 1e-3


def test_metrics_are_degrees_and_millimetres() -> None:
    optimizer, poses = make(), random_poses()
    quarter = axis_angle_to_matrix(torch.tensor([0.0, 0.0, math.pi / 2], dtype=torch.float64))
    turned = poses.axis_angle.clone()
    turned[2, 1] = matrix_to_axis_angle(axis_angle_to_matrix(turned[2, 1]) @ quarter)
    transl = poses.transl + torch.tensor([0.0, 0.003, 0.004], dtype=torch.float64)
    optimizer.set_from_motion(BodyMotion.evenly_timed(BodyPose.from_axis_angle(turned, transl)))
    losses_of(optimizer, 2)
    metrics: dict[str, Tensor] = {}
    optimizer.get_metrics_dict(metrics)
    assert_close(metrics["body_pose_opt_rotation_degrees"], torch.tensor(90 / NUM_JOINTS, dtype=torch.float64))
    assert_close(metrics["body_pose_opt_transl_millimetres"], torch.tensor(5.0, dtype=torch.float64))


def test_the_parameter_group_has_the_name_that_optimizers_are_given_by() -> None:
    optimizer = make()
    groups: dict[str, list[torch.nn.Parameter]] = {}
    optimizer.get_param_groups(groups)
    assert {name: len(group) for name, group in groups.items()} == {"body_pose_opt": 2}
    # The capture's own poses stay out of checkpoints.
    assert set(optimizer.state_dict()) == {"rotation_corrections", "transl_corrections"}


def test_a_given_motion_is_reproduced_in_the_frames_that_train() -> None:
    captured = BodyMotion.evenly_timed(random_poses())
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(NUM_FRAMES, NUM_JOINTS, 3, generator=generator, dtype=torch.float64)
    poses = BodyPose.from_axis_angle(captured.poses.axis_angle + 0.2 * noise, captured.poses.transl + noise[:, 0])
    optimizer = make()
    optimizer.set_from_motion(BodyMotion.evenly_timed(poses))
    refined = optimizer.refined_motion(captured)
    train, others = list(TRAIN_FRAMES), [0, 4, 6]
    assert_close(refined.poses.axis_angle[train], poses.axis_angle[train])
    assert_close(refined.poses.transl[train], poses.transl[train])
    assert_close(refined.poses.axis_angle[others], captured.poses.axis_angle[others])
    assert refined.times.equal(captured.times)
    off = make(mode="off")
    assert off.refined_motion(captured) is captured


def test_refined_vectors_stay_on_the_captured_side_of_a_half_turn() -> None:
    axis_angle = random_poses().axis_angle
    axis_angle[:, 0] = torch.tensor([3.3, 0.0, 0.0], dtype=torch.float64)
    captured = BodyMotion.evenly_timed(BodyPose.from_axis_angle(axis_angle, random_poses().transl))
    refined = make(captured.poses).refined_motion(captured)
    assert_close(refined.poses.axis_angle, axis_angle)


def test_motions_that_cannot_be_reproduced_are_refused() -> None:
    poses = random_poses()
    with pytest.raises(ValueError, match=r"off: set body-pose-optimizer\.mode"):
        make(mode="off").set_from_motion(BodyMotion.evenly_timed(poses))
    with pytest.raises(ValueError, match="5 frames of 4 joints, the captured one 7 frames of 4"):
        make().set_from_motion(BodyMotion.evenly_timed(poses[:5]))
    moved = BodyPose(poses.global_orient, poses.body_pose, poses.transl + torch.tensor([0.0, 0.01, 0.0]))
    with pytest.raises(ValueError, match=r"by up to 10\.0 mm, but rotations alone"):
        make(mode="rotations").set_from_motion(BodyMotion.evenly_timed(moved))


def test_noise_of_a_capture_is_undone(open_body: BodyModel) -> None:
    generator = torch.Generator().manual_seed(3)
    truth = BodyPose.zeros((3,), open_body.num_joints)
    truth.body_pose[:, 15, 2] = torch.tensor([0.0, -0.6, -1.2])
    errors = math.radians(4) * torch.randn(3, open_body.num_joints, 3, generator=generator)
    place = 0.02 * torch.randn(3, 3, generator=generator)
    captured = BodyPose.from_axis_angle(truth.axis_angle + errors, truth.transl + place)
    shaped = open_body.with_shape(torch.zeros(open_body.num_betas))
    target = shaped.with_pose(truth).vertices
    frames = torch.arange(3)
    config = BodyPoseOptimizerConfig(mode="all", rotation_penalty=0.0)
    optimizer = config.setup(poses=captured, train_frame_indices=frames)
    adam = torch.optim.Adam(optimizer.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.ExponentialLR(adam, 0.985)
    distances = []
    for _ in range(250):
        vertices = shaped.with_pose(optimizer.apply_to_poses(captured, frames)).vertices
        distances.append((vertices - target).norm(dim=-1).mean())
        adam.zero_grad()
        (vertices - target).square().sum(-1).mean().backward()
        adam.step()
        schedule.step()
    assert distances[0] > 0.02
    assert distances[-1] < 0.05 * distances[0]
