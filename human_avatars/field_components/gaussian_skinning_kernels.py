"""Compiled CPU loops that carry Gaussians into the posed body and turn their shapes, and their gradients.

Matrices lie flat, row by row: transforms are (n, 12), rotations and covariances (n, 9). Parts share the Gaussians,
which do not depend on one another. A gradient that nobody wants comes as an array without rows. Import this module
inside functions: numba takes a noticeable part of a second.
"""

import numpy as np

from human_avatars.compiled_loops import compile_loop

LEAST_LENGTH = np.float32(1e-12)
"""A quaternion counts as at least this long, as in `torch.nn.functional.normalize`."""

MOST_NEWTON_STEPS = 30
"""Steps towards a polar factor at most. Singular values far above one are halved by each, which takes most of them."""


@compile_loop
def skin(part, num_parts, points, quats, scales, transforms, rotations, means, covariances):
    """Fill means, T p + t, and covariances, M M^T with M = rotation R(quat) diag(scales)."""
    axes, spread = np.empty(9, np.float32), np.empty(9, np.float32)
    unit = np.empty(4, np.float32)
    num_points = points.shape[0]
    for n in range(num_points * part // num_parts, num_points * (part + 1) // num_parts):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        for i in range(3):
            a, b, c, d = (
                transforms[n, 4 * i],
                transforms[n, 4 * i + 1],
                transforms[n, 4 * i + 2],
                transforms[n, 4 * i + 3],
            )
            means[n, i] = a * x + b * y + c * z + d
        find_spread(n, quats, scales, rotations, unit, axes, spread)
        for i in range(3):
            for j in range(3):
                covariances[n, 3 * i + j] = (
                    spread[3 * i] * spread[3 * j]
                    + spread[3 * i + 1] * spread[3 * j + 1]
                    + spread[3 * i + 2] * spread[3 * j + 2]
                )


@compile_loop
def find_spread(n, quats, scales, rotations, unit, axes, spread):
    """Fill the unit quaternion, axes = R(quat) and spread = rotation axes diag(scales); return the quat's length."""
    length = turn(quats[n], unit, axes)
    for i in range(3):
        a, b, c = rotations[n, 3 * i], rotations[n, 3 * i + 1], rotations[n, 3 * i + 2]
        for k in range(3):
            spread[3 * i + k] = (a * axes[k] + b * axes[3 + k] + c * axes[6 + k]) * scales[n, k]
    return length


@compile_loop
def turn(quat, unit, matrix):
    """Fill the unit quaternion and the rotation matrix of a quaternion; return its length."""
    one, two = np.float32(1), np.float32(2)
    w, x, y, z = quat[0], quat[1], quat[2], quat[3]
    length = max(np.sqrt(w * w + x * x + y * y + z * z), LEAST_LENGTH)
    w, x, y, z = w / length, x / length, y / length, z / length
    unit[0], unit[1], unit[2], unit[3] = w, x, y, z
    matrix[0], matrix[1], matrix[2] = one - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y)
    matrix[3], matrix[4], matrix[5] = two * (x * y + w * z), one - two * (x * x + z * z), two * (y * z - w * x)
    matrix[6], matrix[7], matrix[8] = two * (x * z - w * y), two * (y * z + w * x), one - two * (x * x + y * y)
    return length


@compile_loop
def skin_backward_means(part, num_parts, points, transforms, grad_means, grad_points, grad_transforms):
    """Gradients of points and transforms from those of the means."""
    num_points = points.shape[0]
    first, end = num_points * part // num_parts, num_points * (part + 1) // num_parts
    if grad_points.shape[0] > 0:
        for n in range(first, end):
            x, y, z = grad_means[n, 0], grad_means[n, 1], grad_means[n, 2]
            for j in range(3):
                grad_points[n, j] = transforms[n, j] * x + transforms[n, 4 + j] * y + transforms[n, 8 + j] * z
    if grad_transforms.shape[0] > 0:
        for n in range(first, end):
            for i in range(3):
                for j in range(3):
                    grad_transforms[n, 4 * i + j] = grad_means[n, i] * points[n, j]
                grad_transforms[n, 4 * i + 3] = grad_means[n, i]


@compile_loop
def skin_backward_covariances(
    part, num_parts, quats, scales, rotations, grad_covariances, grad_quats, grad_scales, grad_rotations
):
    """Gradients of quats, scales and rotations from those of the covariances."""
    unit, axes, spread = np.empty(4, np.float32), np.empty(9, np.float32), np.empty(9, np.float32)
    grad_spread, grad_axes = np.empty(9, np.float32), np.empty(9, np.float32)
    num_points = quats.shape[0]
    for n in range(num_points * part // num_parts, num_points * (part + 1) // num_parts):
        length = find_spread(n, quats, scales, rotations, unit, axes, spread)
        for i in range(3):
            # d(M M^T) pulls back to (G + G^T) M.
            a = grad_covariances[n, 3 * i] + grad_covariances[n, i]
            b = grad_covariances[n, 3 * i + 1] + grad_covariances[n, 3 + i]
            c = grad_covariances[n, 3 * i + 2] + grad_covariances[n, 6 + i]
            for k in range(3):
                grad_spread[3 * i + k] = a * spread[k] + b * spread[3 + k] + c * spread[6 + k]
        if grad_rotations.shape[0] > 0:
            for i in range(3):
                for j in range(3):
                    grad_rotations[n, 3 * i + j] = (
                        grad_spread[3 * i] * axes[3 * j] * scales[n, 0]
                        + grad_spread[3 * i + 1] * axes[3 * j + 1] * scales[n, 1]
                        + grad_spread[3 * i + 2] * axes[3 * j + 2] * scales[n, 2]
                    )
        for j in range(3):
            a, b, c = rotations[n, j], rotations[n, 3 + j], rotations[n, 6 + j]
            for k in range(3):
                # Of the axes times their scales.
                grad_axes[3 * j + k] = a * grad_spread[k] + b * grad_spread[3 + k] + c * grad_spread[6 + k]
        if grad_scales.shape[0] > 0:
            for k in range(3):
                grad_scales[n, k] = (
                    grad_axes[k] * axes[k] + grad_axes[3 + k] * axes[3 + k] + grad_axes[6 + k] * axes[6 + k]
                )
        if grad_quats.shape[0] > 0:
            for j in range(3):
                for k in range(3):
                    grad_axes[3 * j + k] *= scales[n, k]
            quat_gradient(unit, length, grad_axes, grad_quats[n])


@compile_loop
def quat_gradient(unit, length, grad_axes, gradient):
    """Gradient of a quaternion from that of the matrix of its unit quaternion."""
    two = np.float32(2)
    w, x, y, z = unit[0], unit[1], unit[2], unit[3]
    m01, m02, m12 = grad_axes[1] + grad_axes[3], grad_axes[2] + grad_axes[6], grad_axes[5] + grad_axes[7]
    d10, d02, d21 = grad_axes[3] - grad_axes[1], grad_axes[2] - grad_axes[6], grad_axes[7] - grad_axes[5]
    m00, m11, m22 = grad_axes[0], grad_axes[4], grad_axes[8]
    grad_w = two * (x * d21 + y * d02 + z * d10)
    grad_x = two * (w * d21 + y * m01 + z * m02 - two * x * (m11 + m22))
    grad_y = two * (w * d02 + x * m01 + z * m12 - two * y * (m00 + m22))
    grad_z = two * (w * d10 + x * m02 + y * m12 - two * z * (m00 + m11))
    # Normalising has no slope along the quaternion.
    along = grad_w * w + grad_x * x + grad_y * y + grad_z * z
    gradient[0], gradient[1] = (grad_w - along * w) / length, (grad_x - along * x) / length
    gradient[2], gradient[3] = (grad_y - along * y) / length, (grad_z - along * z) / length


@compile_loop
def average_quaternions(part, num_parts, weights, signs, quaternions, signed_weights, sums, rotations):
    """Fill the weights with signs aligned to the bone of the largest weight, the sums and their rotation matrices."""
    num_points, num_bones = weights.shape
    unit = np.empty(4, np.float32)
    for n in range(num_points * part // num_parts, num_points * (part + 1) // num_parts):
        largest = 0
        for bone in range(1, num_bones):
            if weights[n, bone] > weights[n, largest]:
                largest = bone
        w = x = y = z = np.float32(0)
        for bone in range(num_bones):
            weight = weights[n, bone] * signs[largest, bone]
            signed_weights[n, bone] = weight
            w += weight * quaternions[bone, 0]
            x += weight * quaternions[bone, 1]
            y += weight * quaternions[bone, 2]
            z += weight * quaternions[bone, 3]
        sums[n, 0], sums[n, 1], sums[n, 2], sums[n, 3] = w, x, y, z
        turn(sums[n], unit, rotations[n])


@compile_loop
def average_quaternions_backward(part, num_parts, sums, grad_rotations, grad_sums):
    """Gradients of the sums of quaternions from those of their rotation matrices."""
    num_points = sums.shape[0]
    unit, matrix = np.empty(4, np.float32), np.empty(9, np.float32)
    for n in range(num_points * part // num_parts, num_points * (part + 1) // num_parts):
        length = turn(sums[n], unit, matrix)
        quat_gradient(unit, length, grad_rotations[n], grad_sums[n])


@compile_loop
def invert_transposed(matrix, least_determinant, inverse):
    """Fill the transposed inverse of a matrix: cofactors over the determinant."""
    a, b, c, d, e, f = matrix[0], matrix[1], matrix[2], matrix[3], matrix[4], matrix[5]
    g, h, k = matrix[6], matrix[7], matrix[8]
    first, second, third = e * k - f * h, f * g - d * k, d * h - e * g
    determinant = a * first + b * second + c * third
    if abs(determinant) < least_determinant:
        determinant = -least_determinant if determinant < 0 else least_determinant
    scale = np.float32(1) / determinant
    inverse[0], inverse[1], inverse[2] = first * scale, second * scale, third * scale
    inverse[3], inverse[4], inverse[5] = (c * h - b * k) * scale, (a * k - c * g) * scale, (b * g - a * h) * scale
    inverse[6], inverse[7], inverse[8] = (b * f - c * e) * scale, (c * d - a * f) * scale, (a * e - b * d) * scale


@compile_loop
def find_nearest_rotations(part, num_parts, least_determinant, matrices, rotations):
    """Fill the orthogonal polar factors: Newton's iteration until a step is so small that the next is rounding."""
    half, smallest_step = np.float32(0.5), np.float32(1e-8)
    num_points = matrices.shape[0]
    inverse = np.empty(9, np.float32)
    for n in range(num_points * part // num_parts, num_points * (part + 1) // num_parts):
        nearest = rotations[n]
        nearest[:] = matrices[n]
        for _ in range(MOST_NEWTON_STEPS):
            invert_transposed(nearest, least_determinant, inverse)
            step = np.float32(0)
            for i in range(9):
                change = half * (inverse[i] - nearest[i])
                nearest[i] += change
                step += change * change
            if step < smallest_step:
                break


@compile_loop
def find_nearest_rotations_backward(part, num_parts, least_determinant, matrices, rotations, grad_rotations, gradient):
    """Gradients of matrices from those of their polar factors; see `_PolarRotation.backward`."""
    num_points = matrices.shape[0]
    system, inverse = np.empty(9, np.float32), np.empty(9, np.float32)
    for n in range(num_points * part // num_parts, num_points * (part + 1) // num_parts):
        rotation, upstream = rotations[n], grad_rotations[n]
        for i in range(3):
            a, b, c = rotation[i], rotation[3 + i], rotation[6 + i]
            for j in range(3):
                system[3 * i + j] = -(a * matrices[n, j] + b * matrices[n, 3 + j] + c * matrices[n, 6 + j])
        trace = system[0] + system[4] + system[8]
        for i in range(3):
            system[4 * i] -= trace
        invert_transposed(system, least_determinant, inverse)
        x = y = z = np.float32(0)
        for i in range(0, 9, 3):
            x += rotation[i + 2] * upstream[i + 1] - rotation[i + 1] * upstream[i + 2]
            y += rotation[i] * upstream[i + 2] - rotation[i + 2] * upstream[i]
            z += rotation[i + 1] * upstream[i] - rotation[i] * upstream[i + 1]
        axis_x = inverse[0] * x + inverse[1] * y + inverse[2] * z
        axis_y = inverse[3] * x + inverse[4] * y + inverse[5] * z
        axis_z = inverse[6] * x + inverse[7] * y + inverse[8] * z
        for i in range(0, 9, 3):
            gradient[n, i] = rotation[i + 1] * axis_z - rotation[i + 2] * axis_y
            gradient[n, i + 1] = rotation[i + 2] * axis_x - rotation[i] * axis_z
            gradient[n, i + 2] = rotation[i] * axis_y - rotation[i + 1] * axis_x
