"""Compiled loops that project 3D Gaussians into the image and carry gradients back; import inside functions.

Arithmetic is in double precision: it costs little here, and the determinant of a long thin Gaussian needs it.
"""

import math

from human_avatars.compiled_loops import compile_loop

MIN_ALPHA = 1 / 255
TILE_WIDTH, TILE_HEIGHT = 8, 32
"""Pixels of a tile; its width is a vector register's, so that a whole row is handled at once."""

CENTRE_X, CENTRE_Y, HALF_A, B, HALF_C, LEAST_EXPONENT, HALF_WIDTH, HALF_HEIGHT = range(8)
"""Columns of `splats`. The centre is in pixels. The alpha is exp(-e), e = HALF_A dx^2 + B dx dy + HALF_C dy^2 +
LEAST_EXPONENT. Of the ellipse where it reaches MIN_ALPHA: half the width, and half the height above its centre."""
FIRST_CHANNEL = 6
"""Columns of gradients before the channels': sums over the pixels of s, s dx, s dy, s dx^2, s dx dy and s dy^2, with
the slope s = dL/dalpha * alpha."""


@compile_loop
def project(
    part, num_parts, means, covariances, opacities, colors, camera, size, dilation, near, splats, features, columns
):
    """Write `splats`, `features` (the colours, then the depth) and the half-open range of tile columns each one touches.

    `camera` holds world_to_camera's first three rows, fx, fy, cx, cy, and the least and largest x / z, then y / z.
    """
    num_gaussians, num_channels = colors.shape
    for g in range(part * num_gaussians // num_parts, (part + 1) * num_gaussians // num_parts):
        columns[g, 0] = columns[g, 1] = 0
        x, y, z = to_camera(means, g, camera)
        if z < near or opacities[g] < MIN_ALPHA:
            continue
        j00, j02, j11, j12, _, _ = jacobian(x, y, 1 / z, camera)
        u0, u1, u2, v0, v1, v2 = along_world_axes(j00, j02, j11, j12, camera)
        s0, s1, s2 = times_covariance(covariances, g, u0, u1, u2)
        t0, t1, t2 = times_covariance(covariances, g, v0, v1, v2)
        a = s0 * u0 + s1 * u1 + s2 * u2 + dilation
        b = s0 * v0 + s1 * v1 + s2 * v2
        c = t0 * v0 + t1 * v1 + t2 * v2 + dilation
        det = a * c - b * b
        if det <= 0 or a <= 0:
            continue
        centre_x, centre_y = j00 * x + camera[14], j11 * y + camera[15]
        least = -math.log(opacities[g])
        # A little beyond MIN_ALPHA, so that rounding decides nothing here: compositing tests every alpha itself.
        reach = 2 * (math.log(1 / MIN_ALPHA) - least) + 1e-3
        half_width = math.sqrt(reach * a)
        splats[g, CENTRE_X], splats[g, CENTRE_Y] = centre_x, centre_y
        splats[g, HALF_A], splats[g, B], splats[g, HALF_C] = 0.5 * c / det, -b / det, 0.5 * a / det
        splats[g, LEAST_EXPONENT] = least
        splats[g, HALF_WIDTH], splats[g, HALF_HEIGHT] = half_width, math.sqrt(reach * det / a)
        for channel in range(num_channels):
            features[g, channel] = colors[g, channel]
        features[g, num_channels] = z
        if math.isfinite(centre_x + centre_y + det + reach):
            first, end = pixels_between(centre_x - half_width, centre_x + half_width, size[0])
        else:
            # A NaN must reach the picture: NaN everywhere and, as its depth says, in front of everything.
            splats[g, CENTRE_X] = splats[g, CENTRE_Y] = features[g, num_channels] = math.nan
            first, end = 0, size[0]
        if first < end:
            columns[g, 0], columns[g, 1] = first // TILE_WIDTH, (end - 1) // TILE_WIDTH + 1


@compile_loop
def pixels_between(low, high, size):
    """The half-open range of pixels with their centres between two coordinates; NaN means the picture's borders."""
    first, last = low - 0.5, high - 0.5
    first = first if first > 0 else 0.0
    first = first if first < size else float(size)
    last = last if last < size - 1 else size - 1.0
    last = last if last > -1 else -1.0
    return math.ceil(first), math.floor(last) + 1


@compile_loop
def to_camera(means, g, camera):
    """A Gaussian's centre in the camera's axes."""
    x, y, z = means[g, 0], means[g, 1], means[g, 2]
    return (
        camera[0] * x + camera[1] * y + camera[2] * z + camera[3],
        camera[4] * x + camera[5] * y + camera[6] * z + camera[7],
        camera[8] * x + camera[9] * y + camera[10] * z + camera[11],
    )


@compile_loop
def jacobian(x, y, inverse_z, camera):
    """The projection's derivative [[j00, 0, j02], [0, j11, j12]], and whether x and y lie within its margins."""
    slope_x, slope_y = x * inverse_z, y * inverse_z
    held_x = min(max(slope_x, camera[16]), camera[17])
    held_y = min(max(slope_y, camera[18]), camera[19])
    j00, j11 = camera[12] * inverse_z, camera[13] * inverse_z
    return j00, -j00 * held_x, j11, -j11 * held_y, held_x == slope_x, held_y == slope_y


@compile_loop
def along_world_axes(j00, j02, j11, j12, camera):
    """Both rows of the projection's derivative with respect to world coordinates."""
    return (
        j00 * camera[0] + j02 * camera[8],
        j00 * camera[1] + j02 * camera[9],
        j00 * camera[2] + j02 * camera[10],
        j11 * camera[4] + j12 * camera[8],
        j11 * camera[5] + j12 * camera[9],
        j11 * camera[6] + j12 * camera[10],
    )


@compile_loop
def times_covariance(covariances, g, x, y, z):
    """The symmetric part of a Gaussian's covariance times a vector."""
    xy = 0.5 * (covariances[g, 0, 1] + covariances[g, 1, 0])
    xz = 0.5 * (covariances[g, 0, 2] + covariances[g, 2, 0])
    yz = 0.5 * (covariances[g, 1, 2] + covariances[g, 2, 1])
    return (
        covariances[g, 0, 0] * x + xy * y + xz * z,
        xy * x + covariances[g, 1, 1] * y + yz * z,
        xz * x + yz * y + covariances[g, 2, 2] * z,
    )


@compile_loop
def gather_gradients(
    part,
    num_parts,
    order,
    slot_starts,
    slots,
    rows,
    means,
    covariances,
    opacities,
    camera,
    splats,
    grad_means,
    grad_covariances,
    grad_opacities,
    grad_colors,
):
    """Add up the gradients that every drawn Gaussian received in its tiles and carry them back through `project`."""
    num_drawn, num_channels = order.shape[0], grad_colors.shape[1]
    depth_column = FIRST_CHANNEL + num_channels
    for i in range(part * num_drawn // num_parts, (part + 1) * num_drawn // num_parts):
        g = order[i]
        s = sx = sy = sxx = sxy = syy = grad_depth = 0.0
        for m in range(slot_starts[i], slot_starts[i + 1]):
            row = rows[slots[m]]
            s += row[0]
            sx += row[1]
            sy += row[2]
            sxx += row[3]
            sxy += row[4]
            syy += row[5]
            grad_depth += row[depth_column]
            for channel in range(num_channels):
                grad_colors[g, channel] += row[FIRST_CHANNEL + channel]
        grad_opacities[g] = s / opacities[g]
        moments = sx, sy, sxx, sxy, syy
        project_backward(g, means, covariances, camera, splats, moments, grad_depth, grad_means, grad_covariances)


@compile_loop
def project_backward(g, means, covariances, camera, splats, moments, grad_depth, grad_means, grad_covariances):
    """Gradients of a Gaussian's mean and covariance, given its splat's: see FIRST_CHANNEL for the moments."""
    sx, sy, sxx, sxy, syy = moments
    conic_a, conic_b, conic_c = 2.0 * splats[g, HALF_A], 1.0 * splats[g, B], 2.0 * splats[g, HALF_C]
    grad_x, grad_y = conic_a * sx + conic_b * sy, conic_b * sx + conic_c * sy
    # The exponent -1/2 d^T Q d has the derivative -1/2 d d^T in Q, and dQ = -Q dS Q in the covariance S = Q^-1.
    p0, p1 = conic_a * sxx + conic_b * sxy, conic_a * sxy + conic_b * syy
    q0, q1 = conic_b * sxx + conic_c * sxy, conic_b * sxy + conic_c * syy
    grad_a = 0.5 * (p0 * conic_a + p1 * conic_b)
    grad_b = 0.5 * (p0 * conic_b + p1 * conic_c)
    grad_c = 0.5 * (q0 * conic_b + q1 * conic_c)
    x, y, z = to_camera(means, g, camera)
    inverse_z = 1 / z
    j00, j02, j11, j12, follows_x, follows_y = jacobian(x, y, inverse_z, camera)
    u0, u1, u2, v0, v1, v2 = along_world_axes(j00, j02, j11, j12, camera)
    # S = M C M^T with the rows u and v of M: dL/dC = M^T G M and dL/dM = 2 G M C.
    e0, e1, e2 = grad_a * u0 + grad_b * v0, grad_a * u1 + grad_b * v1, grad_a * u2 + grad_b * v2
    f0, f1, f2 = grad_b * u0 + grad_c * v0, grad_b * u1 + grad_c * v1, grad_b * u2 + grad_c * v2
    out = grad_covariances[g]
    out[0, 0], out[1, 1], out[2, 2] = u0 * e0 + v0 * f0, u1 * e1 + v1 * f1, u2 * e2 + v2 * f2
    out[0, 1] = out[1, 0] = u0 * e1 + v0 * f1
    out[0, 2] = out[2, 0] = u0 * e2 + v0 * f2
    out[1, 2] = out[2, 1] = u1 * e2 + v1 * f2
    s0, s1, s2 = times_covariance(covariances, g, e0, e1, e2)
    t0, t1, t2 = times_covariance(covariances, g, f0, f1, f2)
    grad_j00 = 2 * (s0 * camera[0] + s1 * camera[1] + s2 * camera[2])
    grad_j02 = 2 * (s0 * camera[8] + s1 * camera[9] + s2 * camera[10])
    grad_j11 = 2 * (t0 * camera[4] + t1 * camera[5] + t2 * camera[6])
    grad_j12 = 2 * (t0 * camera[8] + t1 * camera[9] + t2 * camera[10])
    # j00 = fx / z, and j02 = -fx x / z^2, or inversely proportional to z where x / z is held; and so in y.
    camera_x, camera_y = j00 * grad_x, j11 * grad_y
    camera_z = -(x * camera_x + y * camera_y + j00 * grad_j00 + j11 * grad_j11 + j02 * grad_j02 + j12 * grad_j12)
    if follows_x:
        camera_x -= j00 * inverse_z * grad_j02
        camera_z -= j02 * grad_j02
    if follows_y:
        camera_y -= j11 * inverse_z * grad_j12
        camera_z -= j12 * grad_j12
    camera_z = camera_z * inverse_z + grad_depth
    for axis in range(3):
        grad_means[g, axis] = camera[axis] * camera_x + camera[4 + axis] * camera_y + camera[8 + axis] * camera_z
