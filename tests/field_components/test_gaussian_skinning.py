"""Gaussians under skinning: laws of rigid motion, values worked by hand, the compiled loops against float64."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from human_avatars.field_components.gaussian_skinning import (
    BlendedRotation,
    blend_transforms,
    blended_rotations,
    skin_gaussians,
)
from human_avatars.transforms import (
    axis_angle_to_matrix,
    matrix_to_quaternion,
    quaternion_to_matrix,
    rigid_from_rotation_translation,
)

MODES: tuple[BlendedRotation, ...] = ("linear", "polar", "quaternion")
NAMES = ("points", "quats", "scales", "transforms", "rotations")


@pytest.fixture
def threads() -> Iterator[None]:
    """Restores the number of threads that a test sets."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def make_gaussians(count: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Points, quaternions that are not of unit length, scales of centimetres."""
    generator = torch.Generator().manual_seed(count)
    points, quats = torch.randn(count, 3, generator=generator), torch.randn(count, 4, generator=generator)
    scales = 0.005 + 0.02 * torch.rand(count, 3, generator=generator)
    return points.to(dtype), quats.to(dtype), scales.to(dtype)


def make_bones(joints: int, spread: float = 0.7, dtype: torch.dtype = torch.float64) -> Tensor:
    """Rigid transforms turned by about `spread` radians."""
    generator = torch.Generator().manual_seed(joints)
    rotations = axis_angle_to_matrix(spread * torch.randn(joints, 3, generator=generator, dtype=torch.float64))
    translations = torch.randn(joints, 3, generator=generator, dtype=torch.float64)
    return rigid_from_rotation_translation(rotations, translations).to(dtype)


def make_weights(count: int, joints: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(count + joints)
    return (2 * torch.randn(count, joints, generator=generator, dtype=torch.float64)).softmax(dim=1).to(dtype)


def make_inputs(count: int, dtype: torch.dtype) -> list[Tensor]:
    """All that `skin_gaussians` takes, with gradients wanted."""
    bones, weights = make_bones(24), make_weights(count, 24)
    transforms = blend_transforms(weights, bones)
    rotations = blended_rotations(transforms, bones, weights, "linear")
    tensors = (*make_gaussians(count), transforms, rotations)
    return [tensor.to(dtype).clone().requires_grad_() for tensor in tensors]


def test_a_quarter_turn_by_hand() -> None:
    # The Gaussian is long along its own x, which its quaternion turns to y and the bone on to -x.
    quats = torch.tensor([[math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)]])
    turn = axis_angle_to_matrix(torch.tensor([[0.0, 0.0, math.pi / 2]]))
    transforms = torch.cat([turn, torch.tensor([[[1.0], [2.0], [3.0]]])], dim=2)
    points, scales = torch.tensor([[1.0, 0.0, 0.5]]), torch.tensor([[3.0, 2.0, 1.0]])
    means, covariances = skin_gaussians(points, quats, scales, transforms, turn)
    assert_close(means, torch.tensor([[1.0, 3.0, 3.5]]))
    assert_close(covariances, torch.diag(torch.tensor([9.0, 4.0, 1.0]))[None])


def test_shear_by_hand() -> None:
    shear = torch.eye(3)
    shear[0, 1] = 0.5
    transforms = torch.cat([torch.eye(3), torch.zeros(3, 1)], dim=1)[None]
    _, covariances = skin_gaussians(
        torch.zeros(1, 3),
        torch.tensor([[2.0, 0.0, 0.0, 0.0]]),
        torch.tensor([[1.0, 2.0, 3.0]]),
        transforms,
        shear[None],
    )
    assert_close(covariances, torch.tensor([[[2.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 9.0]]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", MODES)
def test_bones_at_rest_return_the_input(mode: BlendedRotation, dtype: torch.dtype) -> None:
    points, quats, scales = make_gaussians(50, dtype)
    bones, weights = torch.eye(4, dtype=dtype).expand(5, 4, 4), make_weights(50, 5, dtype)
    transforms = blend_transforms(weights, bones)
    means, covariances = skin_gaussians(
        points, quats, scales, transforms, blended_rotations(transforms, bones, weights, mode)
    )
    axes = quaternion_to_matrix(quats)
    assert_close(means, points)
    assert_close(covariances, axes @ torch.diag_embed(scales**2) @ axes.transpose(1, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", MODES)
def test_one_bone_moves_gaussians_rigidly(mode: BlendedRotation, dtype: torch.dtype) -> None:
    points, quats, scales = make_gaussians(50, dtype)
    bones, weights = make_bones(7, spread=2.0, dtype=dtype), torch.eye(7, dtype=dtype)[torch.arange(50) % 7]
    transforms = blend_transforms(weights, bones)
    rotations = blended_rotations(transforms, bones, weights, mode)
    means, covariances = skin_gaussians(points, quats, scales, transforms, rotations)
    turn, axes = bones[torch.arange(50) % 7, :3, :3], quaternion_to_matrix(quats)
    at_rest = axes @ torch.diag_embed(scales**2) @ axes.transpose(1, 2)
    assert_close(rotations, turn)
    assert_close(means, (turn @ points[..., None]).squeeze(-1) + bones[torch.arange(50) % 7, :3, 3])
    assert_close(covariances, turn @ at_rest @ turn.transpose(1, 2))


def test_the_blend_is_that_of_every_bones_own_points() -> None:
    points, _, _ = make_gaussians(30)
    bones, weights = make_bones(6), make_weights(30, 6)
    transforms = blend_transforms(weights, bones)
    each = torch.einsum("jrc,pc->pjr", bones[:, :3, :3], points) + bones[:, :3, 3]
    means = (transforms[..., :3] @ points[..., None]).squeeze(-1) + transforms[..., 3]
    assert_close(means, (weights[..., None] * each).sum(dim=1))


@pytest.mark.parametrize("mode", ["polar", "quaternion"])
def test_halfway_between_two_bones_by_hand(mode: BlendedRotation) -> None:
    # Bones turned by 0 and 100 degrees about one axis: halfway is 50 degrees, and linear blending shrinks by cos 50.
    angle = math.radians(100)
    bones = rigid_from_rotation_translation(
        axis_angle_to_matrix(torch.tensor([[0.0, 0.0, 0.0], [0.0, angle, 0.0]])), torch.zeros(2, 3)
    )
    weights = torch.tensor([[0.5, 0.5]])
    transforms = blend_transforms(weights, bones)
    expected = axis_angle_to_matrix(torch.tensor([[0.0, angle / 2, 0.0]]))
    assert_close(blended_rotations(transforms, bones, weights, mode), expected)
    linear = blended_rotations(transforms, bones, weights, "linear")
    assert_close(linear[0, 0, 0], torch.tensor(math.cos(angle / 2) ** 2))
    assert_close(torch.linalg.det(linear), torch.tensor([math.cos(angle / 2) ** 2]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_polar_is_the_nearest_rotation(dtype: torch.dtype) -> None:
    bones, weights = make_bones(24, spread=1.5), make_weights(2000, 24)
    transforms = blend_transforms(weights, bones)
    left, _, right = torch.linalg.svd(transforms[..., :3])
    rotations = blended_rotations(transforms.to(dtype), bones.to(dtype), weights.to(dtype), "polar")
    # The few blends that are nearly flat magnify the rounding of their entries.
    assert_close(rotations.double(), left @ right, rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-9)


def test_polar_of_a_rotation_is_itself() -> None:
    bones = make_bones(40, spread=3.0)
    assert_close(blended_rotations(bones[:, :3], bones, torch.eye(40, dtype=torch.float64), "polar"), bones[:, :3, :3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", ["polar", "quaternion"])
@pytest.mark.parametrize("weights", [[0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.1, 0.3, 0.3, 0.3]])
def test_bones_that_cancel_leave_numbers(weights: list[float], mode: BlendedRotation, dtype: torch.dtype) -> None:
    # Half turns apart, a blend is flat, nothing at all, or inside out. No rotation is nearest; training must go on.
    turns = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]], dtype=dtype)
    bones = rigid_from_rotation_translation(torch.diag_embed(turns), turns).requires_grad_()
    one_point = torch.tensor([weights], dtype=dtype)
    rotations = blended_rotations(blend_transforms(one_point, bones), bones, one_point, mode)
    (gradient,) = torch.autograd.grad(rotations.square().sum() + rotations.sum(), bones)
    assert rotations.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_signs_of_bones_quaternions_do_not_matter(dtype: torch.dtype) -> None:
    # Turns of 170 and 190 degrees have quaternions on opposite sides of the sphere; between them lies 180.
    angles = torch.tensor([170.0, 190.0], dtype=dtype).deg2rad()
    bones = rigid_from_rotation_translation(
        axis_angle_to_matrix(angles[:, None] * torch.eye(3, dtype=dtype)[0]), torch.zeros(2, 3, dtype=dtype)
    )
    quaternions = matrix_to_quaternion(bones[:, :3, :3])
    assert (quaternions[0] @ quaternions[1]) < 0
    weights = torch.tensor([[0.5, 0.5], [0.6, 0.4]], dtype=dtype)
    rotations = blended_rotations(blend_transforms(weights, bones), bones, weights, "quaternion")
    assert_close(rotations[0], torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=dtype)))
    assert torch.linalg.det(rotations).sub(1).abs().max() < 1e-5


def test_quaternions_turn_with_the_body() -> None:
    bones, weights = make_bones(24, spread=0.8), make_weights(60, 24)
    world = make_bones(1, spread=2.0)
    before = blended_rotations(blend_transforms(weights, bones), bones, weights, "quaternion")
    after = blended_rotations(blend_transforms(weights, world @ bones), world @ bones, weights, "quaternion")
    assert_close(after, world[:, :3, :3] @ before)


@pytest.mark.parametrize("mode", ["polar", "quaternion"])
def test_gradients_of_the_rotations_are_those_of_finite_differences(mode: BlendedRotation) -> None:
    # Through axis-angle vectors, so that the bones stay rigid.
    vectors = torch.randn(4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    weights = make_weights(6, 4).requires_grad_()

    def turn(vectors: Tensor, weights: Tensor) -> Tensor:
        bones = rigid_from_rotation_translation(axis_angle_to_matrix(vectors), vectors)
        return blended_rotations(blend_transforms(weights, bones), bones, weights, mode)

    assert torch.autograd.gradcheck(turn, (vectors, weights))


@pytest.mark.parametrize("mode", MODES)
def test_compiled_rotations_equal_float64(mode: BlendedRotation) -> None:
    upstream = torch.randn(300, 3, 3, generator=torch.Generator().manual_seed(3))
    results = []
    for dtype in (torch.float32, torch.float64):
        bones, weights = make_bones(24, dtype=dtype), make_weights(300, 24, dtype)
        bones.requires_grad_()
        weights.requires_grad_()
        rotations = blended_rotations(blend_transforms(weights, bones), bones, weights, mode)
        gradients = torch.autograd.grad(rotations, (bones, weights), upstream.to(dtype))
        results.append([tensor.double() for tensor in (rotations, *gradients)])
    for compiled, exact in zip(*results, strict=True):
        assert_close(compiled, exact, rtol=1e-4, atol=1e-5 * exact.abs().max().item())


def test_gradients_of_skinning_are_those_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(skin_gaussians, make_inputs(4, torch.float64))


@pytest.mark.parametrize("count", [1, 100])
def test_the_compiled_loops_equal_float64(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    upstream = torch.randn(count, 3, generator=generator), torch.randn(count, 3, 3, generator=generator)
    results = []
    for dtype in (torch.float32, torch.float64):
        inputs = make_inputs(count, dtype)
        outputs = skin_gaussians(*inputs)
        gradients = torch.autograd.grad(outputs, inputs, tuple(tensor.to(dtype) for tensor in upstream))
        results.append([tensor.double() for tensor in (*outputs, *gradients)])
    for compiled, exact in zip(*results, strict=True):
        assert_close(compiled, exact, rtol=1e-5, atol=1e-5 * exact.abs().max().item())


@pytest.mark.parametrize("wanted", range(5), ids=NAMES)
def test_a_gradient_does_not_depend_on_which_others_are_wanted(wanted: int) -> None:
    inputs = make_inputs(20, torch.float32)
    means, covariances = skin_gaussians(*inputs)
    all_gradients = torch.autograd.grad(means.sum() + covariances.square().sum(), inputs)
    alone = [tensor if i == wanted else tensor.detach() for i, tensor in enumerate(inputs)]
    means, covariances = skin_gaussians(*alone)
    (gradient,) = torch.autograd.grad(means.sum() + covariances.square().sum(), alone[wanted])
    assert torch.equal(gradient, all_gradients[wanted])


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("count", [0, 1, 2, 57])
def test_any_number_of_threads_gives_the_same_bits(count: int) -> None:
    results = []
    for num_threads in (1, 2, 5):
        torch.set_num_threads(num_threads)
        inputs = make_inputs(count, torch.float32)
        bones, weights = make_bones(6, dtype=torch.float32).requires_grad_(), make_weights(count, 6, torch.float32)
        turns = [blended_rotations(inputs[3], bones, weights, mode) for mode in MODES]
        outputs = [*skin_gaussians(*inputs), *turns]
        wanted = (*inputs, bones)
        results.append((*outputs, *torch.autograd.grad(torch.stack([o.sum() for o in outputs]).sum(), wanted)))
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


def test_tensors_may_lie_in_memory_in_any_way() -> None:
    inputs = make_inputs(9, torch.float32)
    turned = [tensor.detach().movedim(0, -1).contiguous().movedim(-1, 0).requires_grad_() for tensor in inputs]
    assert not any(tensor.is_contiguous() for tensor in turned)
    plain, other = skin_gaussians(*inputs), skin_gaussians(*turned)
    assert all(torch.equal(a, b) for a, b in zip(plain, other, strict=True))
    # The gradient of a sum is one number, spread over memory without being written out.
    gradients = [
        torch.autograd.grad(means.sum() + covariances.sum(), tensors)
        for (means, covariances), tensors in ((plain, inputs), (other, turned))
    ]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_quaternion_of_length_zero_leaves_numbers(dtype: torch.dtype) -> None:
    inputs = make_inputs(3, dtype)
    inputs[1] = torch.zeros(3, 4, dtype=dtype, requires_grad=True)
    means, covariances = skin_gaussians(*inputs)
    gradients = torch.autograd.grad(means.sum() + covariances.sum(), inputs)
    assert all(tensor.isfinite().all() for tensor in (means, covariances, *gradients))
