"""Compiled loops that carry a picture's gradients back to the Gaussians; import inside functions."""

from functools import partial

import numpy as np

from human_avatars.compiled_loops import compile_loop
from human_avatars.rasterization.compositing_kernels import (
    BLOCK,
    HALF,
    LAST,
    LIGHT,
    MAX_EXPONENT,
    MIN_EXPONENT,
    ONE,
    PIXELS,
    WEIGHT,
    ZERO,
    X,
    Y,
    clear,
    exp_minus,
    f32,
    first_tile,
    new_state,
    paste,
)
from human_avatars.rasterization.projection_kernels import (
    CENTRE_X,
    CENTRE_Y,
    HALF_A,
    HALF_C,
    LEAST_EXPONENT,
    TILE_HEIGHT,
    TILE_WIDTH,
    B,
    along_world_axes,
    jacobian,
    times_covariance,
    to_camera,
)

# Sections of the state after WEIGHT; see `compositing_kernels`.
BEHIND, FURTHER, GRADS = (np.uint64(PIXELS * section) for section in range(5, 8))
GRAD_0, GRAD_1, GRAD_2, GRAD_3 = (np.uint64(PIXELS * section) for section in range(7, 11))

FIRST_CHANNEL = 6
"""Columns of gradients before the channels': sums over the pixels of s, s dx, s dy, s dx^2, s dx dy and s dy^2, with
the slope s = dL/dalpha * alpha."""


# The sums over pixels may be taken in any order, which one compiled loop then keeps to.
@partial(compile_loop, freedoms=("contract", "reassoc"))
def composite_backward(part, num_parts, tiles, background, picture, kept, grad_picture, rows):
    """Write one row of gradients for every entry of this part's tiles.

    Args:
        part: Which part.
        num_parts: How many there are.
        tiles: As for `composite`.
        background: As for `composite`.
        picture: What `composite` drew.
        kept: What it kept.
        grad_picture: Gradients of colours, alpha and depth, the last empty where there is none.
        rows: Receives the sums named at FIRST_CHANNEL, then the channels' gradients, in the entries' slots.
    """
    tile_starts, entries, splats, features = tiles
    height, width, _ = picture[0].shape
    num_columns = (width + TILE_WIDTH - 1) // TILE_WIDTH
    state = new_state(GRADS, features)
    for tile in range(first_tile(part, num_parts, tile_starts), first_tile(part + 1, num_parts, tile_starts)):
        start, end = tile_starts[tile], tile_starts[tile + 1]
        if start == end:
            continue
        x0, y0 = tile % num_columns * TILE_WIDTH, tile // num_columns * TILE_HEIGHT
        clear(state, width - x0, height - y0)
        last = read_gradients(state, tile, x0, y0, background, picture, kept, grad_picture)
        for k in range(start + last, start - 1, -1):
            blend_backward(state, entries, k, start, f32(x0) + HALF, f32(y0) + HALF, splats, features, rows)
        for k in range(start + last + 1, end):
            rows[entries[k, 3]] = 0


@paste
def read_gradients(state, tile, x0, y0, background, picture, kept, grad_picture):
    """Fill a tile's state with what its pixels ended with and receive; the last position that any pixel reached.

    BEHIND is the light behind a Gaussian, as it comes to the pixel, times the gradients of its channels.
    """
    (colors, alpha, depth), (lights, lasts), (grad_colors, grad_alpha, grad_depth) = picture, kept, grad_picture
    height, width, num_channels = colors.shape
    last = -1
    for y in range(y0, min(y0 + TILE_HEIGHT, height)):
        for x in range(x0, min(x0 + TILE_WIDTH, width)):
            p = np.uint64((y - y0) * TILE_WIDTH + x - x0)
            light = lights[tile, p]
            state[LIGHT + p], state[LAST + p] = light, lasts[tile, p]
            last = max(last, int(lasts[tile, p]))
            grad_light = -grad_alpha[y, x, 0]
            for c in range(num_channels):
                state[GRADS + np.uint64(c * PIXELS) + p] = grad_colors[y, x, c]
                grad_light += grad_colors[y, x, c] * background[c]
            if grad_depth.shape[0] > 0 and light != ONE:
                grad_sum = grad_depth[y, x, 0] / alpha[y, x, 0]
                state[GRADS + np.uint64(num_channels * PIXELS) + p] = grad_sum
                grad_light += grad_sum * depth[y, x, 0]
            state[BEHIND + p] = light * grad_light
    return last


@paste
def blend_backward(state, entries, k, start, x0, y0, splats, features, rows):
    """Undo one Gaussian's blending and sum its gradients over the pixels into a row; see FIRST_CHANNEL."""
    g, first, end = entries[k, 0], np.uint64(entries[k, 1]), np.uint64(entries[k, 2])
    further_weights(state, first, end, g, features)
    centre_x, centre_y, least = splats[g, CENTRE_X] - x0, splats[g, CENTRE_Y] - y0, splats[g, LEAST_EXPONENT]
    a, b, c = splats[g, HALF_A], splats[g, B], splats[g, HALF_C]
    f0, f1, f2, f3 = features[g, 0], features[g, 1], features[g, 2], features[g, 3]
    position = f32(k - start)
    s = sx = sy = sxx = sxy = syy = g0 = g1 = g2 = g3 = ZERO
    for p in range(first, end):
        dx, dy = state[X + p] - centre_x, state[Y + p] - centre_y
        exponent = (a * dx + b * dy) * dx + (c * dy * dy + least)
        held = MIN_EXPONENT if exponent < MIN_EXPONENT else exponent
        alpha = exp_minus(held)
        alpha = ZERO if exponent > MAX_EXPONENT else alpha
        alpha = ZERO if position > state[LAST + p] else alpha
        v0, v1, v2, v3 = state[GRAD_0 + p], state[GRAD_1 + p], state[GRAD_2 + p], state[GRAD_3 + p]
        passed = ONE / (ONE - alpha)
        light = state[LIGHT + p] * passed
        weight = alpha * light
        grad = weight * (f0 * v0 + f1 * v1 + f2 * v2 + f3 * v3 + state[FURTHER + p])
        behind = state[BEHIND + p]
        slope = grad - alpha * passed * behind
        slope = ZERO if exponent < MIN_EXPONENT else slope
        state[LIGHT + p] = light
        state[BEHIND + p] = behind + grad
        state[WEIGHT + p] = weight
        slope_x, slope_y = slope * dx, slope * dy
        s += slope
        sx += slope_x
        sy += slope_y
        sxx += slope_x * dx
        sxy += slope_x * dy
        syy += slope_y * dy
        g0 += weight * v0
        g1 += weight * v1
        g2 += weight * v2
        g3 += weight * v3
    slot = entries[k, 3]
    rows[slot, 0], rows[slot, 1], rows[slot, 2], rows[slot, 3], rows[slot, 4], rows[slot, 5] = s, sx, sy, sxx, sxy, syy
    rows[slot, 6], rows[slot, 7], rows[slot, 8], rows[slot, 9] = g0, g1, g2, g3
    further_channels(state, first, end, slot, rows)


@paste
def further_weights(state, first, end, g, features):
    """What the channels after the first four contribute to the gradient of a Gaussian's weights."""
    for block in range(1, features.shape[1] // BLOCK):
        c = block * BLOCK
        f0, f1, f2, f3 = features[g, c], features[g, c + 1], features[g, c + 2], features[g, c + 3]
        shift = np.uint64(c * PIXELS)
        for p in range(first, end):
            before = ZERO if block == 1 else state[FURTHER + p]
            here = f0 * state[GRAD_0 + shift + p] + f1 * state[GRAD_1 + shift + p]
            state[FURTHER + p] = before + here + f2 * state[GRAD_2 + shift + p] + f3 * state[GRAD_3 + shift + p]


@paste
def further_channels(state, first, end, slot, rows):
    """Gradients of a Gaussian's channels after the first four."""
    for c in range(FIRST_CHANNEL + BLOCK, rows.shape[1], BLOCK):
        g0 = g1 = g2 = g3 = ZERO
        shift = np.uint64((c - FIRST_CHANNEL) * PIXELS)
        for p in range(first, end):
            weight = state[WEIGHT + p]
            g0 += weight * state[GRAD_0 + shift + p]
            g1 += weight * state[GRAD_1 + shift + p]
            g2 += weight * state[GRAD_2 + shift + p]
            g3 += weight * state[GRAD_3 + shift + p]
        rows[slot, c], rows[slot, c + 1], rows[slot, c + 2], rows[slot, c + 3] = g0, g1, g2, g3


@compile_loop
def gather_gradients(part, num_parts, slot_starts, rows, gaussians, camera, splats, gradients):
    """Add up the rows of every Gaussian and carry them back through `project`.

    Args:
        part: Which part.
        num_parts: How many there are.
        slot_starts: Where each Gaussian's slots begin.
        rows: See `composite_backward`.
        gaussians: Means, covariances and opacities.
        camera: See `project`.
        splats: What `project` made.
        gradients: Receives those of means, covariances, opacities and colours.
    """
    means, covariances, opacities = gaussians
    grad_means, grad_covariances, grad_opacities, grad_colors = gradients
    num_gaussians, num_channels = grad_colors.shape
    sums = np.empty(rows.shape[1], np.float64)
    for g in range(part * num_gaussians // num_parts, (part + 1) * num_gaussians // num_parts):
        if slot_starts[g] == slot_starts[g + 1]:
            grad_means[g], grad_covariances[g], grad_opacities[g], grad_colors[g] = 0, 0, 0, 0
            continue
        add_rows(rows, slot_starts[g], slot_starts[g + 1], sums)
        grad_opacities[g] = sums[0] / opacities[g]
        for channel in range(num_channels):
            grad_colors[g, channel] = sums[FIRST_CHANNEL + channel]
        grad_depth = sums[FIRST_CHANNEL + num_channels]
        project_backward(g, means, covariances, camera, splats, sums, grad_depth, grad_means, grad_covariances)


@paste
def add_rows(rows, start, end, sums):
    """Sum some of the rows, in their order."""
    s0 = s1 = s2 = s3 = s4 = s5 = c0 = c1 = c2 = c3 = 0.0
    for slot in range(start, end):
        s0 += rows[slot, 0]
        s1 += rows[slot, 1]
        s2 += rows[slot, 2]
        s3 += rows[slot, 3]
        s4 += rows[slot, 4]
        s5 += rows[slot, 5]
        c0 += rows[slot, 6]
        c1 += rows[slot, 7]
        c2 += rows[slot, 8]
        c3 += rows[slot, 9]
    sums[0], sums[1], sums[2], sums[3], sums[4], sums[5] = s0, s1, s2, s3, s4, s5
    sums[6], sums[7], sums[8], sums[9] = c0, c1, c2, c3
    for column in range(10, sums.shape[0]):
        total = 0.0
        for slot in range(start, end):
            total += rows[slot, column]
        sums[column] = total


@paste
def project_backward(g, means, covariances, camera, splats, sums, grad_depth, grad_means, grad_covariances):
    """Gradients of a Gaussian's mean and covariance, given its splat's sums; see FIRST_CHANNEL."""
    sx, sy, sxx, sxy, syy = sums[1], sums[2], sums[3], sums[4], sums[5]
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
    grad_covariances[g, 0, 0], grad_covariances[g, 1, 1], grad_covariances[g, 2, 2] = (
        u0 * e0 + v0 * f0,
        u1 * e1 + v1 * f1,
        u2 * e2 + v2 * f2,
    )
    grad_covariances[g, 0, 1] = grad_covariances[g, 1, 0] = u0 * e1 + v0 * f1
    grad_covariances[g, 0, 2] = grad_covariances[g, 2, 0] = u0 * e2 + v0 * f2
    grad_covariances[g, 1, 2] = grad_covariances[g, 2, 1] = u1 * e2 + v1 * f2
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
