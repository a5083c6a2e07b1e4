"""Gaussians under linear blend skinning: where they go, and three answers to how blended bones turn their shape."""

from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import assert_never

from human_avatars.compiled_loops import run_in_parts
from human_avatars.transforms import matrix_to_quaternion, quaternion_to_matrix

POLAR_STEPS = 8
"""Newton steps to the polar factor in PyTorch, where all matrices take as many as the worst."""
LEAST_DETERMINANT = 1e-4
"""Determinants count as at least this: a blend that flattens space has no nearest rotation, but must stay finite."""

BlendedRotation = Literal["linear", "polar", "quaternion"]
"""How a blend of bones turns a Gaussian's shape; see `blended_rotations`."""


def skin_gaussians(
    points: Float[Tensor, "gaussians 3"],
    quats: Float[Tensor, "gaussians 4"],
    scales: Float[Tensor, "gaussians 3"],
    transforms: Float[Tensor, "gaussians 3 4"],
    rotations: Float[Tensor, "gaussians 3 3"],
) -> tuple[Float[Tensor, "gaussians 3"], Float[Tensor, "gaussians 3 3"]]:
    """Carry rest-pose Gaussians into the posed body.

    Float32 tensors on a CPU go through compiled loops, others through PyTorch.

    Args:
        points: Rest-pose centres, in metres.
        quats: Rest-pose orientations (w, x, y, z) of any length but zero.
        scales: Standard deviations along the Gaussians' own axes, in metres.
        transforms: World-from-rest transforms of the centres, as of `blend_transforms`.
        rotations: What turns the shapes, as of `blended_rotations`.

    Returns:
        World-space means T (p, 1), in metres, and covariances M M^T, in metres^2, with
        M = rotation R(quat) diag(scales).
    """
    tensors = (points, quats, scales, transforms, rotations)
    if _are_compiled(*tensors):
        return _CompiledSkinning.apply(*tensors)
    return _torch_skinning(*tensors)


def _torch_skinning(
    points: Tensor, quats: Tensor, scales: Tensor, transforms: Tensor, rotations: Tensor
) -> tuple[Tensor, Tensor]:
    means = (transforms[..., :3] @ points[..., None]).squeeze(-1) + transforms[..., 3]
    spread = rotations @ (quaternion_to_matrix(quats) * scales[..., None, :])
    return means, spread @ spread.transpose(-1, -2)


class _CompiledSkinning(torch.autograd.Function):
    """The compiled loops; backward computes what is wanted from the inputs alone."""

    @staticmethod
    def forward(
        ctx: Any, points: Tensor, quats: Tensor, scales: Tensor, transforms: Tensor, rotations: Tensor
    ) -> tuple[Tensor, Tensor]:
        from human_avatars.field_components.gaussian_skinning_kernels import skin

        ctx.save_for_backward(points, quats, scales, transforms, rotations)
        means, covariances = points.new_empty(len(points), 3), points.new_empty(len(points), 3, 3)
        inputs = (points, quats, scales, transforms, rotations)
        run_in_parts(skin, *(_rows_of(tensor) for tensor in (*inputs, means, covariances)))
        return means, covariances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_means: Tensor, grad_covariances: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        from human_avatars.field_components.gaussian_skinning_kernels import (
            skin_backward_covariances,
            skin_backward_means,
        )

        inputs: tuple[Tensor, ...] = ctx.saved_tensors
        gradients = [
            tensor.new_empty(tensor.shape) if needed else None
            for tensor, needed in zip(inputs, ctx.needs_input_grad, strict=True)
        ]
        points, quats, scales, transforms, rotations = (_rows_of(tensor) for tensor in inputs)
        of_points, of_quats, of_scales, of_transforms, of_rotations = (
            np.empty((0, 0), np.float32) if gradient is None else _rows_of(gradient) for gradient in gradients
        )
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[3]:
            run_in_parts(skin_backward_means, points, transforms, _rows_of(grad_means), of_points, of_transforms)
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2] or ctx.needs_input_grad[4]:
            shapes, of_shapes = (quats, scales, rotations), (of_quats, of_scales, of_rotations)
            run_in_parts(skin_backward_covariances, *shapes, _rows_of(grad_covariances), *of_shapes)
        return tuple(gradients)


def _rows_of(tensor: Tensor) -> np.ndarray:
    """One line of numbers for each Gaussian."""
    return tensor.detach().contiguous().flatten(1).numpy()


def blend_transforms(
    weights: Float[Tensor, "gaussians joints"], bone_transforms: Float[Tensor, "joints 4 4"]
) -> Float[Tensor, "gaussians 3 4"]:
    """Sums of the bones' transforms (SMPL, eq. 7).

    Args:
        weights: Skinning weights; every row sums to one.
        bone_transforms: World-from-rest transform of each joint.

    Returns:
        World-from-rest transforms; rigid where one bone has all the weight, else they also squeeze and shear.
    """
    return (weights @ bone_transforms[:, :3].flatten(1)).unflatten(1, (3, 4))


def blended_rotations(
    transforms: Float[Tensor, "gaussians 3 4"],
    bone_transforms: Float[Tensor, "joints 4 4"],
    weights: Float[Tensor, "gaussians joints"],
    mode: BlendedRotation,
) -> Float[Tensor, "gaussians 3 3"]:
    """What turns a Gaussian's shape where several bones meet.

    - "linear": the matrix of the blended transform itself. The shape follows the skin's own deformation, and so thins
      where blended bones twist against each other; nothing to compute.
    - "polar": the rotation nearest to that matrix. Shapes keep their size. A blend that turns space inside out gives a
      reflection, which leaves covariances as good.
    - "quaternion": the normalised sum of the bones' unit quaternions, each with the sign that brings it nearest to that
      of the bone with the largest weight. Shapes keep their size, and any weights give a rotation.

    The three agree where one bone has all the weight.

    Args:
        transforms: Blended world-from-rest transforms, from `blend_transforms`.
        bone_transforms: World-from-rest transform of each joint, rigid.
        weights: Skinning weights; every row sums to one.
        mode: Which of the three.

    Returns:
        The matrices, differentiable in whatever they are made of.
    """
    if mode == "linear":
        return transforms[..., :3]
    if mode == "polar":
        return _PolarRotation.apply(transforms[..., :3])
    if mode == "quaternion":
        quaternions = matrix_to_quaternion(bone_transforms[:, :3, :3])
        signs = torch.where(quaternions @ quaternions.t() < 0, -1.0, 1.0).to(weights)
        if _are_compiled(weights, quaternions):
            return _CompiledQuaternionAverage.apply(weights, quaternions, signs)
        return quaternion_to_matrix((weights * signs[weights.argmax(dim=1)]) @ quaternions)
    assert_never(mode)


class _CompiledQuaternionAverage(torch.autograd.Function):
    """Rotations of the weighted sums of signed quaternions."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, quaternions: Tensor, signs: Tensor) -> Tensor:
        from human_avatars.field_components.gaussian_skinning_kernels import average_quaternions

        signed_weights, sums = weights.new_empty(weights.shape), weights.new_empty(len(weights), 4)
        rotations = weights.new_empty(len(weights), 3, 3)
        tensors = (weights, signs, quaternions, signed_weights, sums, rotations)
        run_in_parts(average_quaternions, *(_rows_of(tensor) for tensor in tensors))
        ctx.save_for_backward(weights, quaternions, signs, signed_weights, sums)
        return rotations

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_rotations: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        from human_avatars.field_components.gaussian_skinning_kernels import average_quaternions_backward

        weights, quaternions, signs, signed_weights, sums = ctx.saved_tensors
        grad_sums = torch.empty_like(sums)
        tensors = (sums, grad_rotations, grad_sums)
        run_in_parts(average_quaternions_backward, *(_rows_of(tensor) for tensor in tensors))
        grad_weights = grad_quaternions = None
        if ctx.needs_input_grad[0]:
            grad_weights = (grad_sums @ quaternions.t()) * signs[weights.argmax(dim=1)]
        if ctx.needs_input_grad[1]:
            grad_quaternions = signed_weights.t() @ grad_sums
        return grad_weights, grad_quaternions, None


class _PolarRotation(torch.autograd.Function):
    """The orthogonal R of the polar decomposition X = R P, P symmetric, by Newton's iteration (Higham 1986, Sec. 3)."""

    @staticmethod
    def forward(ctx: Any, matrices: Tensor) -> Tensor:
        rotations = torch.empty_like(matrices, memory_format=torch.contiguous_format)
        if _are_compiled(matrices):
            from human_avatars.field_components.gaussian_skinning_kernels import find_nearest_rotations

            least = np.float32(LEAST_DETERMINANT)
            run_in_parts(find_nearest_rotations, least, _rows_of(matrices), _rows_of(rotations))
        else:
            rotations = _newton(matrices)
        ctx.save_for_backward(matrices, rotations)
        return rotations

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_rotations: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        # R P = X with R^T dR = [w] skew gives [w] P + P [w] = [(tr(P) I - P) w] = R^T dX - dX^T R.
        matrices, rotations = ctx.saved_tensors
        if _are_compiled(matrices):
            from human_avatars.field_components.gaussian_skinning_kernels import find_nearest_rotations_backward

            gradient = torch.empty_like(rotations)
            tensors = (matrices, rotations, grad_rotations, gradient)
            least = np.float32(LEAST_DETERMINANT)
            run_in_parts(find_nearest_rotations_backward, least, *(_rows_of(tensor) for tensor in tensors))
            return gradient
        stretch = rotations.transpose(1, 2) @ matrices
        trace = stretch.diagonal(dim1=1, dim2=2).sum(-1)[:, None, None]
        system = trace * torch.eye(3, dtype=matrices.dtype, device=matrices.device) - stretch
        local = rotations.transpose(1, 2) @ grad_rotations
        skew = local - local.transpose(1, 2)
        twist = torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], dim=1)
        axis = _inverse_transposed(system) @ twist[..., None]
        return torch.linalg.cross(rotations, axis.transpose(1, 2), dim=-1)


def _newton(matrices: Tensor) -> Tensor:
    """Orthogonal polar factors, in as many steps for every matrix."""
    for _ in range(POLAR_STEPS):
        inverse = _inverse_transposed(matrices)
        sizes, inverse_sizes = matrices.square().sum((1, 2)), inverse.square().sum((1, 2))
        # Terms of equal size converge faster. Bounded, since a flat matrix has no inverse that counts.
        ratio = (inverse_sizes / sizes.clamp(min=LEAST_DETERMINANT)).pow(0.25).clamp(min=LEAST_DETERMINANT)
        matrices = 0.5 * (ratio[:, None, None] * matrices + inverse / ratio[:, None, None])
    return matrices


def _inverse_transposed(matrices: Tensor) -> Tensor:
    """Cofactors over the determinant."""
    first, second, third = matrices.unbind(1)
    cofactors = torch.stack(
        [torch.linalg.cross(second, third), torch.linalg.cross(third, first), torch.linalg.cross(first, second)], dim=1
    )
    determinant = (first * cofactors[:, 0]).sum(-1)
    safe = torch.where(determinant < 0, -1.0, 1.0) * determinant.abs().clamp(min=LEAST_DETERMINANT)
    return cofactors / safe[:, None, None]


def _are_compiled(*tensors: Tensor) -> bool:
    """Whether compiled loops take these tensors."""
    return all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)
