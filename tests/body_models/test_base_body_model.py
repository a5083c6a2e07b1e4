"""Laws of shape and pose on the open body, with pose blend shapes of random numbers."""

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from human_avatars.body_models.base_body_model import BodyModel, BodyPose, map_tensors
from human_avatars.transforms import axis_angle_to_matrix, rigid_from_rotation_translation, transform_points


@pytest.fixture(scope="module")
def body(open_body: BodyModel) -> BodyModel:
    """The open body with pose blend shapes, which it lacks."""
    generator = torch.Generator().manual_seed(0)
    features = 9 * (open_body.num_joints - 1)
    pose_directions = 1e-3 * torch.randn(open_body.num_vertices, 3, features, generator=generator)
    return dataclasses.replace(open_body, pose_directions=pose_directions)


def random_betas(body: BodyModel, *batch: int) -> torch.Tensor:
    return torch.randn(*batch, body.num_betas, generator=torch.Generator().manual_seed(1))


def random_pose(body: BodyModel, *batch: int) -> BodyPose:
    generator = torch.Generator().manual_seed(2)
    axis_angle = 0.3 * torch.randn(*batch, body.num_joints, 3, generator=generator)
    return BodyPose.from_axis_angle(axis_angle, torch.randn(*batch, 3, generator=generator))


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_zero_pose_returns_the_rest_body(body: BodyModel, batch: tuple[int, ...]) -> None:
    shaped = body.with_shape(random_betas(body, *batch))
    posed = shaped.with_pose(BodyPose.zeros(batch, body.num_joints))
    assert_close(posed.vertices, shaped.rest_vertices)
    assert_close(posed.joint_transforms[..., :3, 3], shaped.rest_joints)
    assert_close(posed.bone_transforms, torch.eye(4).expand(*batch, body.num_joints, 4, 4))


def test_zero_betas_return_the_template(body: BodyModel) -> None:
    shaped = body.with_shape(torch.zeros(body.num_betas))
    assert_close(shaped.rest_vertices, body.rest_template)
    assert_close(shaped.rest_joints, body.joint_regressor @ body.rest_template)


def test_shape_moves_vertices_and_joints_linearly(body: BodyModel) -> None:
    betas = torch.zeros(body.num_betas)
    betas[1] = 2.0
    shaped = body.with_shape(betas)
    assert_close(shaped.rest_vertices, body.rest_template + 2.0 * body.shape_directions[..., 1])
    assert_close(shaped.rest_joints, body.joint_regressor @ shaped.rest_vertices)


@pytest.mark.parametrize(
    ("shape_batch", "pose_batch"), [((), ()), ((), (3,)), ((3,), ()), ((3,), (3,)), ((2, 1), (3,)), ((1,), (2, 3))]
)
def test_shape_and_pose_batches_broadcast(
    body: BodyModel, shape_batch: tuple[int, ...], pose_batch: tuple[int, ...]
) -> None:
    shaped = body.with_shape(random_betas(body, *shape_batch))
    pose = random_pose(body, *pose_batch)
    posed = shaped.with_pose(pose)
    batch = torch.broadcast_shapes(shape_batch, pose_batch)
    assert posed.vertices.shape == (*batch, body.num_vertices, 3)
    assert posed.joint_transforms.shape == posed.bone_transforms.shape == (*batch, body.num_joints, 4, 4)

    def last(tensor: torch.Tensor, batch_axes: int) -> torch.Tensor:
        return tensor[(-1,) * batch_axes]

    alone = body.with_shape(last(random_betas(body, *shape_batch), len(shape_batch))).with_pose(
        map_tensors(pose, lambda tensor: last(tensor, len(pose_batch)))
    )
    assert_close(last(posed.vertices, len(batch)), alone.vertices)
    assert_close(last(posed.bone_transforms, len(batch)), alone.bone_transforms)


def test_global_orientation_and_translation_move_the_body_rigidly_about_the_pelvis(body: BodyModel) -> None:
    shaped = body.with_shape(random_betas(body))
    pose = random_pose(body)
    upright = dataclasses.replace(pose, global_orient=torch.zeros(3), transl=torch.zeros(3))
    rotation, pelvis = axis_angle_to_matrix(pose.global_orient), shaped.rest_joints[0]
    expected = (shaped.with_pose(upright).vertices - pelvis) @ rotation.mT + pelvis + pose.transl
    assert_close(shaped.with_pose(pose).vertices, expected, rtol=0, atol=2e-6)


def test_root_bone_is_neural_bodys_rh_and_th(body: BodyModel) -> None:
    # V = R(Rh) LBS + Th about the model's origin, whose smplx translation is Th - J0 + R J0.
    shaped = body.with_shape(random_betas(body))
    generator = torch.Generator().manual_seed(3)
    rh, th = torch.randn(3, generator=generator), torch.randn(3, generator=generator)
    rotation, pelvis = axis_angle_to_matrix(rh), shaped.rest_joints[0]
    upright = dataclasses.replace(random_pose(body), global_orient=torch.zeros(3), transl=torch.zeros(3))
    posed = shaped.with_pose(dataclasses.replace(upright, global_orient=rh, transl=th - pelvis + rotation @ pelvis))
    world_from_model = rigid_from_rotation_translation(rotation, th)
    assert_close(posed.bone_transforms[0], world_from_model)
    expected = transform_points(world_from_model, shaped.with_pose(upright).vertices)
    assert_close(posed.vertices, expected, rtol=0, atol=2e-6)


def test_pose_blend_shapes_add_up_before_skinning(body: BodyModel) -> None:
    # A joint that moves no vertex leaves its blend shapes alone to be seen.
    weights = torch.zeros_like(body.skinning_weights)
    weights[:, 0] = 1.0
    body = dataclasses.replace(body, skinning_weights=weights)
    assert body.pose_directions is not None
    pose = BodyPose.zeros((), body.num_joints)
    pose.body_pose[4] = torch.tensor([0.3, -0.2, 0.5])
    features = axis_angle_to_matrix(pose.body_pose[4]) - torch.eye(3)
    expected = body.rest_template + body.pose_directions[..., 36:45] @ features.flatten()
    assert_close(body.with_shape(torch.zeros(body.num_betas)).with_pose(pose).vertices, expected)


def test_single_precision_follows_double_precision(body: BodyModel) -> None:
    def double(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor

    betas, pose = random_betas(body, 2), random_pose(body, 2)
    posed = body.with_shape(betas).with_pose(pose)
    exact = map_tensors(body, double).with_shape(betas.double()).with_pose(map_tensors(pose, double))
    assert exact.vertices.dtype == torch.float64
    assert_close(posed.vertices.double(), exact.vertices, rtol=0, atol=5e-6)


def test_gradients_reach_shape_and_pose_at_rest(body: BodyModel) -> None:
    betas = torch.zeros(body.num_betas, requires_grad=True)
    pose = map_tensors(BodyPose.zeros((), body.num_joints), lambda tensor: tensor.requires_grad_())
    body.with_shape(betas).with_pose(pose).vertices.square().sum().backward()
    for leaf in (betas, pose.global_orient, pose.body_pose, pose.transl):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert leaf.grad.abs().max() > 0


def test_pose_tables_survive_the_round_trip(body: BodyModel) -> None:
    pose = random_pose(body, 4, 2)
    assert pose.batch_shape == (4, 2)
    again = BodyPose.from_axis_angle(pose.axis_angle, pose.transl)
    assert_close(again.axis_angle, pose.axis_angle)
    assert_close(again.global_orient, pose.axis_angle[..., 0, :])


def test_indexing_a_pose_indexes_its_first_batch_axis(body: BodyModel) -> None:
    pose = random_pose(body, 4, 2)
    assert pose[1].batch_shape == (2,)
    assert pose[torch.tensor([3, 0, 3])].batch_shape == (3, 2)
    assert_close(pose[torch.tensor([3, 0])].axis_angle, pose.axis_angle[[3, 0]])
    assert_close(pose[1:3].transl, pose.transl[1:3])


def test_counts_are_those_of_the_arrays(body: BodyModel) -> None:
    assert body.num_vertices == body.rest_template.shape[0] == body.skinning_weights.shape[0]
    assert body.num_joints == body.joint_regressor.shape[0] == len(body.parents)
    assert body.num_betas == body.shape_directions.shape[-1]


def test_mapping_leaves_the_original_and_reaches_nested_records(body: BodyModel) -> None:
    shaped = body.with_shape(random_betas(body))
    doubled = map_tensors(shaped, lambda tensor: 2 * tensor)
    assert_close(doubled.rest_vertices, 2 * shaped.rest_vertices)
    assert_close(doubled.body_model.rest_template, 2 * body.rest_template)
    assert doubled.body_model.parents == body.parents
    assert shaped.body_model is body
