"""Laws of rotations and rigid transforms."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.testing import assert_close

from human_avatars.transforms import (
    axis_angle_to_matrix,
    invert_rigid,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    matrix_to_rotation_6d,
    nearest_axis_angle,
    quaternion_to_matrix,
    rigid_from_rotation_translation,
    rotation_6d_to_matrix,
    transform_points,
)

ANGLES = [0.0, 1e-9, 1e-4, 0.999e-3, 1.001e-3, 1.0, 2.5, math.pi - 1e-3, math.pi - 1e-7, math.pi]


def random_axes(count: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    axes = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    axes = torch.cat([axes, torch.eye(3, dtype=torch.float64), -torch.eye(3, dtype=torch.float64)])
    return torch.nn.functional.normalize(axes, dim=-1).to(dtype)


def random_rigids(*batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    axis_angle = torch.randn(*batch, 3, generator=generator, dtype=torch.float64)
    translation = torch.randn(*batch, 3, generator=generator, dtype=torch.float64)
    return rigid_from_rotation_translation(axis_angle_to_matrix(axis_angle), translation)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_axis_angle_agrees_with_scipy(angle: float, dtype: torch.dtype, tolerance: float) -> None:
    axis_angle = random_axes(20, dtype) * angle
    expected = torch.from_numpy(Rotation.from_rotvec(axis_angle.double().numpy()).as_matrix())
    assert_close(axis_angle_to_matrix(axis_angle).double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_axis_angle_makes_rotations(angle: float, dtype: torch.dtype, tolerance: float) -> None:
    matrices = axis_angle_to_matrix(random_axes(20, dtype) * angle)
    identity = torch.eye(3, dtype=dtype).expand_as(matrices)
    assert_close(matrices @ matrices.mT, identity, rtol=0, atol=tolerance)
    assert_close(torch.linalg.det(matrices), torch.ones_like(matrices[..., 0, 0]), rtol=0, atol=tolerance)


@pytest.mark.parametrize("angle", ANGLES)
def test_axis_angle_survives_the_round_trip(angle: float) -> None:
    axis_angle = random_axes(50) * angle
    returned = matrix_to_axis_angle(axis_angle_to_matrix(axis_angle))
    if angle == math.pi:
        # Both axes of a half turn are right.
        sign = (returned * axis_angle).sum(-1, keepdim=True).sign()
        assert_close(returned * sign, axis_angle, rtol=0, atol=1e-12)
    else:
        assert_close(returned, axis_angle, rtol=0, atol=1e-12)


@pytest.mark.parametrize("angle", ANGLES)
def test_matrix_survives_the_round_trip_in_single_precision(angle: float) -> None:
    matrix = axis_angle_to_matrix(random_axes(50, torch.float32) * angle)
    assert_close(axis_angle_to_matrix(matrix_to_axis_angle(matrix)), matrix, rtol=0, atol=3e-6)


def test_matrices_of_large_angles_come_back_within_a_half_turn() -> None:
    axis_angle = random_axes(20) * 5.0
    returned = matrix_to_axis_angle(axis_angle_to_matrix(axis_angle))
    assert_close(returned, axis_angle / 5.0 * (5.0 - 2 * math.pi), rtol=0, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.999e-3, 1.001e-3, 1.0])
def test_axis_angle_gradient_is_the_numerical_one(angle: float) -> None:
    axis_angle = (random_axes(3) * angle).requires_grad_()
    assert torch.autograd.gradcheck(axis_angle_to_matrix, (axis_angle,), eps=1e-6, atol=1e-7)


def test_gradient_at_the_identity_is_the_cross_product_matrix() -> None:
    jacobian = torch.autograd.functional.jacobian(axis_angle_to_matrix, torch.zeros(3, dtype=torch.float64))
    assert isinstance(jacobian, torch.Tensor)
    # dR/dz at zero turns x into y and y into -x.
    assert_close(jacobian[..., 2], torch.tensor([[0, -1, 0], [1, 0, 0], [0, 0, 0]], dtype=torch.float64))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-3, 1.0, math.pi - 1e-7])
def test_matrix_to_axis_angle_gradient_is_finite(angle: float) -> None:
    matrix = axis_angle_to_matrix(random_axes(10) * angle).requires_grad_()
    matrix_to_axis_angle(matrix).sum().backward()
    assert matrix.grad is not None
    assert matrix.grad.isfinite().all()


def test_zero_gradient_in_single_precision_is_finite() -> None:
    axis_angle = torch.zeros(4, 3, requires_grad=True)
    matrix_to_axis_angle(axis_angle_to_matrix(axis_angle)).sum().backward()
    assert_close(axis_angle.grad, torch.ones(4, 3))


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_quaternions_agree_with_scipy(angle: float, dtype: torch.dtype, tolerance: float) -> None:
    matrix = axis_angle_to_matrix(random_axes(20, dtype) * angle)
    quaternion = matrix_to_quaternion(matrix)
    expected = torch.from_numpy(Rotation.from_matrix(matrix.double().numpy()).as_quat()).roll(1, dims=-1)
    # A quaternion and its negative are the same rotation; of a half turn w is zero, so that either may come.
    sign = (expected * quaternion).sum(-1, keepdim=True).sign()
    assert (quaternion[..., 0] >= 0).all()
    assert_close(quaternion.double(), expected * sign, rtol=0, atol=tolerance)
    assert_close(quaternion_to_matrix(quaternion), matrix, rtol=0, atol=tolerance)


def test_a_quaternions_length_and_sign_do_not_matter() -> None:
    quaternion = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected = Rotation.from_quat(quaternion.roll(-1, dims=-1).reshape(-1, 4).numpy()).as_matrix().reshape(3, 5, 3, 3)
    for scale in (1.0, 7.0, -0.01):
        assert_close(quaternion_to_matrix(scale * quaternion), torch.from_numpy(expected))


def test_quaternion_of_a_quarter_turn() -> None:
    half = math.sqrt(0.5)
    matrix = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    assert_close(matrix_to_quaternion(matrix), torch.tensor([half, 0, 0, half], dtype=torch.float64))


def test_quaternion_gradient_is_the_numerical_one() -> None:
    quaternion = torch.randn(4, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(quaternion_to_matrix, (quaternion,))


@pytest.mark.parametrize("angle", ANGLES)
def test_six_numbers_are_the_first_columns_and_say_the_rotation(angle: float) -> None:
    matrix = axis_angle_to_matrix(random_axes(20) * angle)
    rotation_6d = matrix_to_rotation_6d(matrix)
    assert_close(rotation_6d, torch.cat([matrix[..., 0], matrix[..., 1]], dim=-1))
    assert_close(rotation_6d_to_matrix(rotation_6d), matrix)


def test_any_two_directions_make_a_rotation() -> None:
    rotation_6d = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    matrix = rotation_6d_to_matrix(rotation_6d)
    assert_close(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64).expand_as(matrix))
    assert_close(torch.linalg.det(matrix), torch.ones(2, 5, dtype=torch.float64))
    # The first axis points along the first vector, and the second vector lies in the plane of both axes.
    first, second = rotation_6d[..., :3], rotation_6d[..., 3:]
    assert_close(matrix[..., 0], torch.nn.functional.normalize(first, dim=-1))
    assert_close((matrix[..., 2] * second).sum(-1), torch.zeros(2, 5, dtype=torch.float64))
    assert ((matrix[..., 1] * second).sum(-1) > 0).all()
    assert_close(rotation_6d_to_matrix(3 * rotation_6d), matrix)


def test_six_numbers_gradient_is_the_numerical_one() -> None:
    rotation_6d = torch.randn(3, 6, generator=torch.Generator().manual_seed(6), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(rotation_6d_to_matrix, (rotation_6d,))
    identity = matrix_to_rotation_6d(torch.eye(3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(rotation_6d_to_matrix, (identity,))


def test_full_turns_bring_a_vector_near_its_reference() -> None:
    reference = random_axes(20) * torch.tensor([[0.5], [3.3], [5.0], [8.0], [13.0]], dtype=torch.float64)[:, None]
    wrapped = matrix_to_axis_angle(axis_angle_to_matrix(reference))
    assert_close(nearest_axis_angle(wrapped, reference), reference, rtol=0, atol=1e-10)
    near = reference + 0.1
    assert_close(nearest_axis_angle(reference, near), reference, rtol=0, atol=1e-10)
    assert_close(nearest_axis_angle(torch.zeros(2, 3), torch.ones(2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_inverse_undoes_the_transform(batch: tuple[int, ...]) -> None:
    transform = random_rigids(*batch)
    assert_close(invert_rigid(transform) @ transform, torch.eye(4, dtype=torch.float64).expand(*batch, 4, 4))
    assert_close(invert_rigid(transform), torch.linalg.inv(transform))


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_transforming_points_is_the_homogeneous_product(batch: tuple[int, ...]) -> None:
    transform = random_rigids(*batch)
    points = torch.randn(*batch, 5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    homogeneous = torch.cat([points, torch.ones_like(points[..., :1])], dim=-1)
    expected = (transform[..., None, :, :] @ homogeneous[..., None]).squeeze(-1)
    assert_close(transform_points(transform, points), expected[..., :3])
    assert_close(expected[..., 3], torch.ones_like(expected[..., 3]))


def test_rotation_comes_before_translation() -> None:
    quarter_turn_about_z = axis_angle_to_matrix(torch.tensor([0.0, 0.0, math.pi / 2]))
    transform = rigid_from_rotation_translation(quarter_turn_about_z, torch.tensor([10.0, 0.0, 0.0]))
    assert_close(transform_points(transform, torch.tensor([[1.0, 0.0, 0.0]])), torch.tensor([[10.0, 1.0, 0.0]]))
