"""Compiled loops that project 3D Gaussians into the image; import inside functions.

Arithmetic is in double precision: it costs little here, and the determinant of a long thin Gaussian needs it.
"""

import math

from human_avatars.compiled_loops import compile_loop

MIN_ALPHA = 1 / 255
TILE_WIDTH, TILE_HEIGHT = 8, 16
"""Pixels of a tile; its width is a vector register's, so that a whole row is handled at once."""

CENTRE_X, CENTRE_Y, HALF_A, B, HALF_C, LEAST_EXPONENT, HALF_WIDTH, HALF_HEIGHT = range(8)
"""Columns of `splats`. The centre is in pixels. The alpha is exp(-e), e = HALF_A dx^2 + B dx dy + HALF_C dy^2 +
LEAST_EXPONENT. Of the ellipse where it reaches MIN_ALPHA: half the width, and half the height above its centre."""


@compile_loop
def project(part, num_parts, gaussians, camera, size, dilation, near, splats, features, columns):
    """Project this part's Gaussians; those that no pixel sees get no columns.

    Args:
        part: Which part.
        num_parts: How many there are.
        gaussians: Means, covariances, opacities and colours.
        camera: The first three rows of world_to_camera; fx, fy, cx, cy; least and largest x / z, then y / z.
        size: Width and height of the picture.
        dilation: Variance added to the projected covariances.
        near: Least depth.
        splats: Receives the columns named above.
        features: Receives the colours, then the depth.
        columns: Receives the half-open range of tile columns that each Gaussian touches.
    """
    means, covariances, opacities, colors = gaussians
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
