"""Compiled CPU loops behind the sparse convolution and its trilinear reading: pair lists, row gathers, row scatters.

Every loop is serial, so sums run in one fixed order, and releases the interpreter lock; the parallel work of a step is
in the matrix products between them. Import this module inside functions: numba takes a noticeable part of a second.
"""

import numpy as np

from human_avatars.compiled_loops import compile_loop


@compile_loop
def gather_rows(source, rows, out):
    """out[r] = source[rows[r]]."""
    for r in range(rows.shape[0]):
        row = rows[r]
        for c in range(source.shape[1]):
            out[r, c] = source[row, c]


@compile_loop
def scatter_add_rows(source, rows, out):
    """out[rows[r]] += source[r], in the order of r."""
    for r in range(rows.shape[0]):
        row = rows[r]
        for c in range(source.shape[1]):
            out[row, c] += source[r, c]


@compile_loop
def sum_corners(features, rows, weights, out, first):
    """out[p, first:] = sum over the corners k of weights[p, k] * features[rows[p, k]]; rows past the end are empty."""
    num_rows, num_channels = features.shape
    filled = np.empty(9, np.int64)
    filled_weights = np.empty(9, weights.dtype)
    for p in range(rows.shape[0]):
        num_filled = 0
        for k in range(8):
            if rows[p, k] < num_rows:
                filled[num_filled] = rows[p, k]
                filled_weights[num_filled] = weights[p, k]
                num_filled += 1
        target = out[p, first : first + num_channels]
        for c in range(num_channels):
            target[c] = 0
        # Two corners at a time: half the traffic through `out`. An odd last one is paired with itself at weight 0.
        filled[num_filled] = filled[num_filled - 1]
        filled_weights[num_filled] = 0
        for k in range(0, num_filled, 2):
            row_a, row_b = filled[k], filled[k + 1]
            weight_a, weight_b = filled_weights[k], filled_weights[k + 1]
            for c in range(num_channels):
                target[c] += weight_a * features[row_a, c] + weight_b * features[row_b, c]


@compile_loop
def scatter_corners(gradient, first, rows, weights, out):
    """out[rows[p, k]] += weights[p, k] * gradient[p, first:]: the transpose of `sum_corners`."""
    num_rows, num_channels = out.shape
    for p in range(rows.shape[0]):
        source = gradient[p, first : first + num_channels]
        for k in range(rows.shape[1]):
            row = rows[p, k]
            if row < num_rows:
                weight = weights[p, k]
                for c in range(num_channels):
                    out[row, c] += weight * source[c]


@compile_loop
def find_corners(unit_points, index_grid, shape, rows, weights):
    """Rows and trilinear weights of the eight voxels around each point; see `sparse_sampling.find_corners`."""
    depth, height, width = shape
    row_stride = width + 2
    slice_stride = (height + 2) * row_stride
    for p in range(unit_points.shape[0]):
        x = unit_points[p, 0] * (width - 1)
        y = unit_points[p, 1] * (height - 1)
        z = unit_points[p, 2] * (depth - 1)
        inside = -1 <= x < width and -1 <= y < height and -1 <= z < depth
        if not inside:
            x = y = z = unit_points.dtype.type(-1)
        x0, y0, z0 = np.floor(x), np.floor(y), np.floor(z)
        fx, fy, fz = x - x0, y - y0, z - z0
        # The grid has an empty border one voxel wide, so the corner -1 is stored at 0.
        corner = (int(z0) + 1) * slice_stride + (int(y0) + 1) * row_stride + int(x0) + 1
        for k in range(8):
            dz, dy, dx = k >> 2, (k >> 1) & 1, k & 1
            # A point outside reads the first cell of the border, which is empty.
            cell = corner + dz * slice_stride + dy * row_stride + dx if inside else 0
            rows[p, k] = index_grid[cell]
            weights[p, k] = (fz if dz else 1 - fz) * (fy if dy else 1 - fy) * (fx if dx else 1 - fx)


@compile_loop
def pair_neighbours(keys, key_offsets):
    """Pairs of a submanifold 3x3x3 kernel over voxels with sorted padded keys.

    A neighbour's key is the voxel's own plus a constant, so each of the first 13 offsets is one merge of two sorted
    lists; the last 13 are the same pairs with the roles exchanged and the centre pairs every voxel with itself.
    """
    num_voxels = keys.shape[0]
    half_inputs = np.empty((13, num_voxels), np.int32)
    half_outputs = np.empty((13, num_voxels), np.int32)
    counts = np.zeros(27, np.int64)
    for k in range(13):
        source = 0
        count = 0
        for target in range(num_voxels):
            wanted = keys[target] + key_offsets[k]
            while source < num_voxels and keys[source] < wanted:
                source += 1
            if source < num_voxels and keys[source] == wanted:
                half_inputs[k, count] = source
                half_outputs[k, count] = target
                count += 1
        counts[k] = count
        counts[26 - k] = count
    counts[13] = num_voxels
    inputs = np.empty(counts.sum(), np.int32)
    outputs = np.empty(counts.sum(), np.int32)
    start = 0
    for k in range(27):
        for pair in range(counts[k]):
            if k < 13:
                inputs[start + pair] = half_inputs[k, pair]
                outputs[start + pair] = half_outputs[k, pair]
            elif k == 13:
                inputs[start + pair] = pair
                outputs[start + pair] = pair
            else:
                inputs[start + pair] = half_outputs[26 - k, pair]
                outputs[start + pair] = half_inputs[26 - k, pair]
        start += counts[k]
    return inputs, outputs, counts


@compile_loop
def enumerate_cells(grid):
    """Number the cells marked 0 in ascending order, mark the others with their count, and return the numbered cells."""
    num_voxels = 0
    for cell in range(grid.shape[0]):
        if grid[cell] == 0:
            grid[cell] = num_voxels
            num_voxels += 1
    keys = np.empty(num_voxels, np.int64)
    for cell in range(grid.shape[0]):
        if grid[cell] >= 0:
            keys[grid[cell]] = cell
        else:
            grid[cell] = num_voxels
    return keys


@compile_loop
def sort_pairs(sources, cells, offsets, counts, grid):
    """Pairs in order of their kernel offset; a counting sort, so rows stay ascending within each offset."""
    starts = np.zeros(27, np.int64)
    for k in range(1, 27):
        starts[k] = starts[k - 1] + counts[k - 1]
    num_pairs = counts.sum()
    inputs = np.empty(num_pairs, np.int32)
    outputs = np.empty(num_pairs, np.int32)
    for pair in range(num_pairs):
        slot = starts[offsets[pair]]
        inputs[slot] = sources[pair]
        outputs[slot] = grid[cells[pair]]
        starts[offsets[pair]] += 1
    return inputs, outputs


@compile_loop
def pair_strided(coordinates, shape):
    """Output voxels and pairs of a 3x3x3 kernel with stride 2 and padding 1.

    Output o reads inputs 2 o + k - 1 for k in {0, 1, 2} along each axis, so input i reaches o = (i + 1 - k) / 2 where
    that is whole and inside.

    Returns:
        Sorted padded keys of the outputs, their padded index grid, and the pairs with their count per offset.
    """
    depth, height, width = (shape[0] + 1) // 2, (shape[1] + 1) // 2, (shape[2] + 1) // 2
    row_stride = width + 2
    slice_stride = (height + 2) * row_stride
    grid = np.full((depth + 2) * slice_stride, -1, np.int32)
    # Even coordinates reach one output along an axis and odd ones two: at most 8 for each voxel.
    sources = np.empty(8 * coordinates.shape[0], np.int32)
    cells = np.empty(8 * coordinates.shape[0], np.int64)
    offsets = np.empty(8 * coordinates.shape[0], np.int8)
    counts = np.zeros(27, np.int64)
    num_pairs = 0
    for i in range(coordinates.shape[0]):
        for k in range(27):
            # Twice the output's coordinates.
            z = coordinates[i, 0] + 1 - k // 9
            y = coordinates[i, 1] + 1 - k // 3 % 3
            x = coordinates[i, 2] + 1 - k % 3
            if (z | y | x) & 1 or not (0 <= z < 2 * depth and 0 <= y < 2 * height and 0 <= x < 2 * width):
                continue
            cell = (z // 2 + 1) * slice_stride + (y // 2 + 1) * row_stride + x // 2 + 1
            grid[cell] = 0
            sources[num_pairs], cells[num_pairs], offsets[num_pairs] = i, cell, k
            counts[k] += 1
            num_pairs += 1
    keys = enumerate_cells(grid)
    inputs, outputs = sort_pairs(sources, cells, offsets, counts, grid)
    return keys, grid, inputs, outputs, counts
