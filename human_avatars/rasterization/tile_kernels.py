"""Compiled loops that sort Gaussians by depth and list those of every tile; import inside functions."""

import math

import numpy as np

from human_avatars.compiled_loops import compile_loop
from human_avatars.rasterization.projection_kernels import (
    CENTRE_X,
    CENTRE_Y,
    HALF_C,
    HALF_HEIGHT,
    HALF_WIDTH,
    TILE_HEIGHT,
    TILE_WIDTH,
    B,
    pixels_between,
)

DIGIT_BITS = 11
NUM_DIGITS = 3


@compile_loop
def sort_by_depth(features, depth, columns):
    """Gaussians that touch a tile column, nearest first and equal ones in their own order, and where their spans start.

    `depth` is the column of `features` to sort by.
    """
    num_gaussians = features.shape[0]
    order = np.empty(num_gaussians, np.int32)
    depths = np.empty(num_gaussians, np.float32)
    count = 0
    for g in range(num_gaussians):
        if columns[g, 0] < columns[g, 1]:
            order[count] = g
            # NaN in front of everything.
            depths[count] = features[g, depth] if features[g, depth] > 0 else 0
            count += 1
    # Positive floats are ordered as their bits are.
    keys = depths.view(np.uint32)[:count]
    order = order[:count]
    other_keys, other_order = np.empty_like(keys), np.empty_like(order)
    for digit in range(NUM_DIGITS):
        shift = np.uint32(digit * DIGIT_BITS)
        starts = np.zeros((1 << DIGIT_BITS) + 1, np.int64)
        for i in range(count):
            starts[((keys[i] >> shift) & np.uint32((1 << DIGIT_BITS) - 1)) + 1] += 1
        for value in range(1 << DIGIT_BITS):
            starts[value + 1] += starts[value]
        for i in range(count):
            value = (keys[i] >> shift) & np.uint32((1 << DIGIT_BITS) - 1)
            other_keys[starts[value]], other_order[starts[value]] = keys[i], order[i]
            starts[value] += 1
        keys, other_keys, order, other_order = other_keys, keys, other_order, order
    span_starts = np.zeros(count + 1, np.int64)
    for i in range(count):
        span_starts[i + 1] = span_starts[i] + columns[order[i], 1] - columns[order[i], 0]
    return order, span_starts


@compile_loop
def find_spans(part, num_parts, order, span_starts, splats, columns, size, spans, slot_starts, counts):
    """The rows of pixels where each Gaussian's ellipse crosses each tile column, and how many tiles that makes.

    The part of an ellipse within a strip is convex, so it touches every row between its lowest and highest point, and
    no other. Tiles are counted by Gaussian, and by chunk of Gaussians and tile.
    """
    num_chunks, num_columns = counts.shape[0], (size[0] + TILE_WIDTH - 1) // TILE_WIDTH
    for chunk in range(part, num_chunks, num_parts):
        for i in range(chunk * order.shape[0] // num_chunks, (chunk + 1) * order.shape[0] // num_chunks):
            g = order[i]
            x, y = splats[g, CENTRE_X], splats[g, CENTRE_Y]
            half_width, half_height = splats[g, HALF_WIDTH], splats[g, HALF_HEIGHT]
            # The middle of the ellipse at x lies at shear * x, and its half height there falls off as a circle's.
            shear = -splats[g, B] / (2 * splats[g, HALF_C])
            sheared = shear * half_width
            top = half_width * sheared / math.sqrt(half_height * half_height + sheared * sheared)
            inverse = 1 / half_width
            touched = 0
            for m in range(span_starts[i], span_starts[i + 1]):
                column = columns[g, 0] + m - span_starts[i]
                left = max(column * TILE_WIDTH + 0.5 - x, -half_width)
                right = min(column * TILE_WIDTH + TILE_WIDTH - 0.5 - x, half_width)
                low_x, high_x = min(max(-top, left), right), min(max(top, left), right)
                low = shear * low_x - half_height * math.sqrt(max(0.0, 1 - (low_x * inverse) ** 2))
                high = shear * high_x + half_height * math.sqrt(max(0.0, 1 - (high_x * inverse) ** 2))
                first, end = pixels_between(y + low, y + high, size[1])
                spans[m, 0], spans[m, 1] = first, end
                if first < end:
                    touched += (end - 1) // TILE_HEIGHT - first // TILE_HEIGHT + 1
                    for row in range(first // TILE_HEIGHT, (end - 1) // TILE_HEIGHT + 1):
                        counts[chunk, row * num_columns + column] += 1
            slot_starts[g + 1] = touched


@compile_loop
def find_starts(counts, slot_starts):
    """Turn counts into starts: of every Gaussian's slots, and of every chunk's entries in every tile's list."""
    for i in range(1, slot_starts.shape[0]):
        slot_starts[i] += slot_starts[i - 1]
    num_chunks, num_tiles = counts.shape
    tile_starts = np.empty(num_tiles + 1, np.int64)
    start = 0
    for tile in range(num_tiles):
        tile_starts[tile] = start
        for chunk in range(num_chunks):
            count = counts[chunk, tile]
            counts[chunk, tile] = start
            start += count
    tile_starts[num_tiles] = start
    return tile_starts


@compile_loop
def fill_lists(part, num_parts, order, span_starts, columns, spans, slot_starts, starts, num_columns, entries):
    """List every tile's Gaussians, nearest first: (Gaussian, first pixel, end pixel, slot), pixels being whole rows.

    The slots number all entries Gaussian by Gaussian.
    """
    num_chunks = starts.shape[0]
    for chunk in range(part, num_chunks, num_parts):
        for i in range(chunk * order.shape[0] // num_chunks, (chunk + 1) * order.shape[0] // num_chunks):
            g = order[i]
            slot = slot_starts[g]
            for m in range(span_starts[i], span_starts[i + 1]):
                column = columns[g, 0] + m - span_starts[i]
                first, end = spans[m, 0], spans[m, 1]
                if first < end:
                    for row in range(first // TILE_HEIGHT, (end - 1) // TILE_HEIGHT + 1):
                        place = starts[chunk, row * num_columns + column]
                        starts[chunk, row * num_columns + column] += 1
                        entries[place, 0] = g
                        entries[place, 1] = max(first - row * TILE_HEIGHT, 0) * TILE_WIDTH
                        entries[place, 2] = min(end - row * TILE_HEIGHT, TILE_HEIGHT) * TILE_WIDTH
                        entries[place, 3] = slot
                        slot += 1
