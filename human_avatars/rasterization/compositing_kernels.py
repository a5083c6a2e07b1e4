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
"""Exponents below which the alpha is held at 0.999 and above which a Gaussian is skipped."""
MIN_LIGHT = f32(1e-4)
ZERO, HALF, ONE = f32(0), f32(0.5), f32(1)
CHECK_EVERY = 16
"""Gaussians between two looks at whether a tile is finished."""
EMPTY_TILE = 8
"""What an empty tile costs, in entries."""
BLOCK = 4
"""Channels handled at a time; `features` has a multiple of it."""

# Sections of the state. Unsigned, since numba's test for negative indices would keep loops from being vectorised.
X, Y, LIGHT, LAST, WEIGHT, SUMS = (np.uint64(PIXELS * section) for section in range(6))
SUM_0, SUM_1, SUM_2, SUM_3 = (np.uint64(PIXELS * section) for section in range(5, 9))

# The polynomial of degree 5 that comes relatively closest to exp(-x / 8) on [0, log(255)].
EXP_0, EXP_1, EXP_2 = f32(9.99999925e-01), f32(-1.24999114e-01), f32(7.81073826e-03)
EXP_3, EXP_4, EXP_5 = f32(-3.24207441e-04), f32(9.71882547e-06), f32(-1.79101119e-07)


@compile_loop
def composite(part, num_parts, tiles, background, picture, kept):
    """Draw this part's tiles.

    Args:
        part: Which part.
        num_parts: How many there are.
        tiles: Where each tile's entries begin, the entries (see `fill_lists`), the splats and their features.
        background: What shines through.
        picture: Receives colours, alpha and depth.
        kept: Receives, for every pixel of every tile that is not empty, what the way back needs: the light that is
            left, and the position in the tile's list of the last Gaussian before the pixel was finished.
    """
    tile_starts, entries, splats, features = tiles
    lights, lasts = kept
    height, width, num_channels = picture[0].shape
    num_columns = (width + TILE_WIDTH - 1) // TILE_WIDTH
    state, blank = new_state(SUMS, features), new_state(SUMS, features)
    unused = np.empty(PIXELS, np.float32)
    clear(blank, width, height)
    finish(blank, num_channels, background, unused, unused)
    for tile in range(first_tile(part, num_parts, tile_starts), first_tile(part + 1, num_parts, tile_starts)):
        x0, y0 = tile % num_columns * TILE_WIDTH, tile // num_columns * TILE_HEIGHT
        start, end = tile_starts[tile], tile_starts[tile + 1]
        if start == end:
            write(blank, x0, y0, picture)
            continue
        clear(state, width - x0, height - y0)
        for k in range(start, end):
            blend(state, entries, k, start, f32(x0) + HALF, f32(y0) + HALF, splats, features)
            if k % CHECK_EVERY == 0 and is_dark(state):
                break
        finish(state, num_channels, background, lights[tile], lasts[tile])
        write(state, x0, y0, picture)


@compile_loop
def write(state, x0, y0, picture):
    """Copy a finished tile into the picture."""
    colors, alpha, depth = picture
    height, width, num_channels = colors.shape
    for y in range(y0, min(y0 + TILE_HEIGHT, height)):
        first = np.uint64((y - y0) * TILE_WIDTH)
        for c in range(num_channels):
            section = SUMS + np.uint64(c * PIXELS) + first
            for x in range(x0, min(x0 + TILE_WIDTH, width)):
                colors[y, x, c] = state[section + np.uint64(x - x0)]
        section = SUMS + np.uint64(num_channels * PIXELS) + first
        for x in range(x0, min(x0 + TILE_WIDTH, width)):
            p = np.uint64(x - x0)
            alpha[y, x, 0], depth[y, x, 0] = state[WEIGHT + first + p], state[section + p]


@paste
def finish(state, num_channels, background, lights, lasts):
    """Put the background behind the channels, the alpha in WEIGHT and the expected depth in the depth's sum."""
    depth = SUMS + np.uint64(num_channels * PIXELS)
    for p in range(np.uint64(PIXELS)):
        light = abs(state[LIGHT + p])
        state[LIGHT + p], state[WEIGHT + p] = light, ONE - light
        state[depth + p] = state[depth + p] / (ONE if light == ONE else ONE - light)
        lights[p], lasts[p] = light, state[LAST + p]
    for c in range(num_channels):
        for p in range(np.uint64(PIXELS)):
            state[SUMS + np.uint64(c * PIXELS) + p] += state[LIGHT + p] * background[c]


@compile_loop
def first_tile(part, num_parts, tile_starts):
    """Where a part's tiles begin: parts are runs of tiles, because neighbours share Gaussians, of about equal work."""
    num_tiles = tile_starts.shape[0] - 1
    total = tile_starts[num_tiles] + EMPTY_TILE * num_tiles
    tile = 0
    while tile < num_tiles and (tile_starts[tile] + EMPTY_TILE * tile) * num_parts < total * part:
        tile += 1
    return tile


@paste
def new_state(first, features):
    """A tile's scratch array whose channels begin at `first`."""
    state = np.empty(first + np.uint64(PIXELS * features.shape[1]), np.float32)
    for p in range(np.uint64(PIXELS)):
        state[X + p], state[Y + p] = f32(p % TILE_WIDTH), f32(p // TILE_WIDTH)
    return state


@paste
def clear(state, width, height):
    """All light and nothing drawn, but beyond the picture's width and height, where pixels are finished."""
    state[LIGHT:] = 0
    for p in range(np.uint64(PIXELS)):
        state[LIGHT + p] = ONE if state[X + p] < width and state[Y + p] < height else -ONE
        state[LAST + p] = -ONE


@paste
def is_dark(state):
    """Whether every pixel is finished."""
    dark = True
    for p in range(np.uint64(PIXELS)):
        dark &= state[LIGHT + p] < 0
    return dark


@paste
def blend(state, entries, k, start, x0, y0, splats, features):
    """Composite one Gaussian behind those before it, in its rows of the tile; a finished pixel's light is negative."""
    g, first, end = entries[k, 0], np.uint64(entries[k, 1]), np.uint64(entries[k, 2])
    centre_x, centre_y, least = splats[g, CENTRE_X] - x0, splats[g, CENTRE_Y] - y0, splats[g, LEAST_EXPONENT]
    a, b, c = splats[g, HALF_A], splats[g, B], splats[g, HALF_C]
    f0, f1, f2, f3 = features[g, 0], features[g, 1], features[g, 2], features[g, 3]
    position = f32(k - start)
    for p in range(first, end):
        dx, dy = state[X + p] - centre_x, state[Y + p] - centre_y
        exponent = (a * dx + b * dy) * dx + (c * dy * dy + least)
        held = MIN_EXPONENT if exponent < MIN_EXPONENT else exponent
        alpha = exp_minus(held)
        alpha = ZERO if exponent > MAX_EXPONENT else alpha
        light = state[LIGHT + p]
        weight = alpha * light
        after = light - weight
        finished = after <= MIN_LIGHT
        weight = ZERO if finished else weight
        state[LIGHT + p] = -abs(light) if finished else after
        state[LAST + p] = state[LAST + p] if finished else position
        state[WEIGHT + p] = weight
        state[SUM_0 + p] += weight * f0
        state[SUM_1 + p] += weight * f1
        state[SUM_2 + p] += weight * f2
        state[SUM_3 + p] += weight * f3
    for block in range(1, features.shape[1] // BLOCK):
        c = block * BLOCK
        f0, f1, f2, f3 = features[g, c], features[g, c + 1], features[g, c + 2], features[g, c + 3]
        shift = np.uint64(c * PIXELS)
        for p in range(first, end):
            weight = state[WEIGHT + p]
            state[SUM_0 + shift + p] += weight * f0
            state[SUM_1 + shift + p] += weight * f1
            state[SUM_2 + shift + p] += weight * f2
            state[SUM_3 + shift + p] += weight * f3


@paste
def exp_minus(x):
    """exp(-x) for x in [0, log(255)], to 2e-6 of its value."""
    root = EXP_0 + x * (EXP_1 + x * (EXP_2 + x * (EXP_3 + x * (EXP_4 + x * EXP_5))))
    root = root * root
    root = root * root
    return root * root
