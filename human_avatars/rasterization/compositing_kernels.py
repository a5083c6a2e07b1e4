"""Compiled loops that composite the Gaussians of every tile, forward and backward; import inside functions.

A tile's state lies in one scratch array, a section of PIXELS numbers for each quantity: with constant distances between
sections the compiler sees that they do not overlap, and handles a whole row of pixels at once.
"""

import math
from functools import partial

import numpy as np

from human_avatars.compiled_loops import compile_loop
from human_avatars.rasterization.projection_kernels import (
    CENTRE_X,
    CENTRE_Y,
    HALF_A,
    HALF_C,
    LEAST_EXPONENT,
    TILE_HEIGHT,
    TILE_WIDTH,
    B,
)

paste = partial(compile_loop, inline=True)
f32 = np.float32
PIXELS = TILE_WIDTH * TILE_HEIGHT
MIN_EXPONENT, MAX_EXPONENT = f32(-math.log(0.999)), f32(math.log(255))
"""Exponents at which the alpha is held at 0.999 and at which a Gaussian is skipped."""
MIN_LIGHT = f32(1e-4)
ZERO, ONE = f32(0), f32(1)
CHECK_EVERY = 16

# Indices are unsigned: numba's test for negative ones would keep a loop from handling many pixels at once.
LIGHT, LAST, X, Y, WEIGHT, SUMS = (np.uint64(PIXELS * section) for section in range(6))
BEHIND, SLOPE, FURTHER, GRADIENTS = (np.uint64(PIXELS * section) for section in range(5, 9))
SUM_0, SUM_1, SUM_2, SUM_3 = (np.uint64(PIXELS * section) for section in range(5, 9))
GRAD_0, GRAD_1, GRAD_2, GRAD_3 = (np.uint64(PIXELS * section) for section in range(8, 12))
BLOCK = 4
"""Channels handled at a time; `features` has a multiple of it."""

# The polynomial of degree 5 that comes relatively closest to exp(-x / 8) on [0, log(255)].
EXP_0, EXP_1, EXP_2 = f32(9.99999925e-01), f32(-1.24999114e-01), f32(7.81073826e-03)
EXP_3, EXP_4, EXP_5 = f32(-3.24207441e-04), f32(9.71882547e-06), f32(-1.79101119e-07)


@compile_loop
def composite(
    part, num_parts, tile_starts, entries, splats, features, background, colors, alpha, depth, lights, lasts
):  # fmt: skip
    """Draw this part's tiles; `lights` and `lasts` keep what the way back needs of every pixel."""
    height, width, num_channels = colors.shape
    num_columns = (width + TILE_WIDTH - 1) // TILE_WIDTH
    state = np.empty(PIXELS * (5 + features.shape[1]), np.float32)
    for tile in range(part, tile_starts.shape[0] - 1, num_parts):
        x0, y0 = tile % num_columns * TILE_WIDTH, tile // num_columns * TILE_HEIGHT
        clear(state, x0, y0, width, height)
        for k in range(tile_starts[tile], tile_starts[tile + 1]):
            blend(state, entries, k, f32(k - tile_starts[tile]), splats, features)
            if k % CHECK_EVERY == 0 and is_dark(state):
                break
        for p in range(PIXELS):
            lights[tile, p], lasts[tile, p] = abs(state[p]), state[PIXELS + p]
        for y in range(y0, min(y0 + TILE_HEIGHT, height)):
            for x in range(x0, min(x0 + TILE_WIDTH, width)):
                p = (y - y0) * TILE_WIDTH + x - x0
                light = lights[tile, p]
                alpha[y, x, 0] = ONE - light
                for c in range(num_channels):
                    colors[y, x, c] = state[(5 + c) * PIXELS + p] + light * background[c]
                depth[y, x, 0] = state[(5 + num_channels) * PIXELS + p] / (ONE - light) if light != ONE else ZERO


@paste
def clear(state, x0, y0, width, height):
    """All light and nothing drawn, but where the tile leaves the picture: there pixels are finished."""
    state[:] = 0
    for p in range(PIXELS):
        x, y = x0 + p % TILE_WIDTH, y0 + p // TILE_WIDTH
        state[p], state[PIXELS + p] = (ONE if x < width and y < height else -ONE), -ONE
        state[2 * PIXELS + p], state[3 * PIXELS + p] = f32(x) + f32(0.5), f32(y) + f32(0.5)


@paste
def is_dark(state):
    """Whether every pixel is finished."""
    dark = True
    for p in range(PIXELS):
        dark &= state[p] < 0
    return dark


@paste
def blend(state, entries, k, position, splats, features):
    """Composite one Gaussian behind those before it, in its rows of the tile; a finished pixel's light is negative."""
    g, first, end = entries[k, 0], np.uint64(entries[k, 1]), np.uint64(entries[k, 2])
    centre_x, centre_y, least = splats[g, CENTRE_X], splats[g, CENTRE_Y], splats[g, LEAST_EXPONENT]
    a, b, c = splats[g, HALF_A], splats[g, B], splats[g, HALF_C]
    f0, f1, f2, f3 = features[g, 0], features[g, 1], features[g, 2], features[g, 3]
    for p in range(first, end):
        dx, dy = state[p + X] - centre_x, state[p + Y] - centre_y
        exponent = (a * dx + b * dy) * dx + (c * dy * dy + least)
        held = MIN_EXPONENT if exponent < MIN_EXPONENT else exponent
        alpha = exp_minus(held)
        alpha = ZERO if exponent > MAX_EXPONENT else alpha
        light = state[p]
        weight = alpha * light
        after = light - weight
        finished = after <= MIN_LIGHT
        weight = ZERO if finished else weight
        state[p] = -abs(light) if finished else after
        state[p + LAST] = state[p + LAST] if finished else position
        state[p + WEIGHT] = weight
        state[p + SUM_0] += weight * f0
        state[p + SUM_1] += weight * f1
        state[p + SUM_2] += weight * f2
        state[p + SUM_3] += weight * f3
    for block in range(1, features.shape[1] // BLOCK):
        add_block(state, first, end, features[g], block)


@paste
def add_block(state, first, end, feature, block):
    """Add a Gaussian's next four channels to the pixels, by the weights found before."""
    f0, f1, f2, f3 = (
        feature[BLOCK * block],
        feature[BLOCK * block + 1],
        feature[BLOCK * block + 2],
        feature[BLOCK * block + 3],
    )
    shift = np.uint64(block * BLOCK * PIXELS)
    for p in range(first, end):
        weight = state[p + WEIGHT]
        state[p + shift + SUM_0] += weight * f0
        state[p + shift + SUM_1] += weight * f1
        state[p + shift + SUM_2] += weight * f2
        state[p + shift + SUM_3] += weight * f3


@paste
def exp_minus(x):
    """exp(-x) for x in [0, log(255)], to 2e-6 of its value."""
    root = EXP_0 + x * (EXP_1 + x * (EXP_2 + x * (EXP_3 + x * (EXP_4 + x * EXP_5))))
    root = root * root
    root = root * root
    return root * root


@compile_loop
def composite_backward(
    part, num_parts, tile_starts, entries, splats, features, background, alpha, depth, lights, lasts, grad_colors,
    grad_alpha, grad_depth, rows,
):  # fmt: skip
    """Write, for every entry of this part's tiles, the gradients that `gather_gradients` adds up."""
    height, width, num_channels = grad_colors.shape
    num_columns = (width + TILE_WIDTH - 1) // TILE_WIDTH
    state = np.empty(PIXELS * (8 + features.shape[1]), np.float32)
    for tile in range(part, tile_starts.shape[0] - 1, num_parts):
        start, end = tile_starts[tile], tile_starts[tile + 1]
        if start == end:
            continue
        x0, y0 = tile % num_columns * TILE_WIDTH, tile // num_columns * TILE_HEIGHT
        clear(state, x0, y0, width, height)
        last = -1
        for p in range(PIXELS):
            x, y = x0 + p % TILE_WIDTH, y0 + p // TILE_WIDTH
            if x >= width or y >= height:
                continue
            state[p], state[PIXELS + p] = lights[tile, p], lasts[tile, p]
            last = max(last, int(lasts[tile, p]))
            grad_light = -grad_alpha[y, x, 0]
            for c in range(num_channels):
                state[(8 + c) * PIXELS + p] = grad_colors[y, x, c]
                grad_light += grad_colors[y, x, c] * background[c]
            if grad_depth.shape[0] > 0 and lights[tile, p] != ONE:
                grad_sum = grad_depth[y, x, 0] / alpha[y, x, 0]
                state[(8 + num_channels) * PIXELS + p] = grad_sum
                grad_light += grad_sum * depth[y, x, 0]
            state[5 * PIXELS + p] = lights[tile, p] * grad_light
        for k in range(start + last, start - 1, -1):
            blend_backward(state, entries, k, f32(k - start), splats, features)
            add_up(state, entries, k, splats, rows)
        rows[start + last + 1 : end] = 0


@paste
def blend_backward(state, entries, k, position, splats, features):
    """Undo one Gaussian's blending: its WEIGHT, and its SLOPE, the derivative in its exponent, negated."""
    g, first, end = entries[k, 0], np.uint64(entries[k, 1]), np.uint64(entries[k, 2])
    centre_x, centre_y, least = splats[g, CENTRE_X], splats[g, CENTRE_Y], splats[g, LEAST_EXPONENT]
    a, b, c = splats[g, HALF_A], splats[g, B], splats[g, HALF_C]
    f0, f1, f2, f3 = features[g, 0], features[g, 1], features[g, 2], features[g, 3]
    for block in range(1, features.shape[1] // BLOCK):
        further_block(state, first, end, features[g], block)
    for p in range(first, end):
        dx, dy = state[p + X] - centre_x, state[p + Y] - centre_y
        exponent = (a * dx + b * dy) * dx + (c * dy * dy + least)
        held = MIN_EXPONENT if exponent < MIN_EXPONENT else exponent
        alpha = exp_minus(held)
        alpha = ZERO if exponent > MAX_EXPONENT else alpha
        alpha = ZERO if position > state[p + LAST] else alpha
        passed = ONE / (ONE - alpha)
        light = state[p] * passed
        weight = alpha * light
        behind = state[p + BEHIND]
        grad_weight = (
            f0 * state[p + GRAD_0]
            + f1 * state[p + GRAD_1]
            + f2 * state[p + GRAD_2]
            + f3 * state[p + GRAD_3]
            + state[p + FURTHER]
        )
        slope = weight * grad_weight - alpha * passed * behind
        state[p + SLOPE] = ZERO if exponent < MIN_EXPONENT else slope
        state[p + BEHIND] = behind + weight * grad_weight
        state[p + WEIGHT] = weight
        state[p] = light


@paste
def further_block(state, first, end, feature, block):
    """Add what a Gaussian's next four channels contribute to the gradient of its weight."""
    f0, f1, f2, f3 = (
        feature[BLOCK * block],
        feature[BLOCK * block + 1],
        feature[BLOCK * block + 2],
        feature[BLOCK * block + 3],
    )
    shift = np.uint64(block * BLOCK * PIXELS)
    for p in range(first, end):
        before = ZERO if block == 1 else state[p + FURTHER]
        state[p + FURTHER] = (
            before
            + f0 * state[p + shift + GRAD_0]
            + f1 * state[p + shift + GRAD_1]
            + f2 * state[p + shift + GRAD_2]
            + f3 * state[p + shift + GRAD_3]
        )


def add_up(state, entries, k, splats, rows):
    """Sum over the pixels: slope times 1, dx, dy, dx^2, dx dy, dy^2, and weight times each channel's gradient."""
    g, first, end = entries[k, 0], np.uint64(entries[k, 1]), np.uint64(entries[k, 2])
    centre_x, centre_y = splats[g, CENTRE_X], splats[g, CENTRE_Y]
    s = sx = sy = sxx = sxy = syy = ZERO
    for p in range(first, end):
        dx, dy, slope = state[p + X] - centre_x, state[p + Y] - centre_y, state[p + SLOPE]
        slope_x, slope_y = slope * dx, slope * dy
        s += slope
        sx += slope_x
        sy += slope_y
        sxx += slope_x * dx
        sxy += slope_x * dy
        syy += slope_y * dy
    rows[k, 0], rows[k, 1], rows[k, 2], rows[k, 3], rows[k, 4], rows[k, 5] = s, sx, sy, sxx, sxy, syy
    for block in range((rows.shape[1] - 6) // BLOCK):
        g0 = g1 = g2 = g3 = ZERO
        shift = np.uint64(block * BLOCK * PIXELS)
        for p in range(first, end):
            weight = state[p + WEIGHT]
            g0 += weight * state[p + shift + GRAD_0]
            g1 += weight * state[p + shift + GRAD_1]
            g2 += weight * state[p + shift + GRAD_2]
            g3 += weight * state[p + shift + GRAD_3]
        column = 6 + BLOCK * block
        rows[k, column], rows[k, column + 1], rows[k, column + 2], rows[k, column + 3] = g0, g1, g2, g3


add_up = compile_loop(add_up, freedoms=("contract", "reassoc"))
