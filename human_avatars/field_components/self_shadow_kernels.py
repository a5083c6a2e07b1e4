"""Compiled CPU loop behind the self-shadows; import this module inside functions."""

import numpy as np

from human_avatars.compiled_loops import compile_loop


@compile_loop
def cast_shadows(part, num_parts, points, occluders, axes, visibility, size, bias):
    """Fill the rows of visibility (directions, points) of one part's directions."""
    middle = np.float32(size / 2)
    one, half = np.float32(1), np.float32(0.5)
    heights = np.empty((size, size), np.float32)
    for d in range(part, axes.shape[0], num_parts):
        a = axes[d]
        heights[:] = -np.inf
        for i in range(occluders.shape[0]):
            x, y, z = occluders[i, 0], occluders[i, 1], occluders[i, 2]
            column = min(max(int(x * a[0, 0] + y * a[1, 0] + z * a[2, 0] + middle), 0), size - 1)
            row = min(max(int(x * a[0, 1] + y * a[1, 1] + z * a[2, 1] + middle), 0), size - 1)
            height = x * a[0, 2] + y * a[1, 2] + z * a[2, 2] + middle
            heights[row, column] = max(heights[row, column], height)
        for i in range(points.shape[0]):
            x, y, z = points[i, 0], points[i, 1], points[i, 2]
            across = x * a[0, 0] + y * a[1, 0] + z * a[2, 0] + middle - half
            along = x * a[0, 1] + y * a[1, 1] + z * a[2, 1] + middle - half
            height = x * a[0, 2] + y * a[1, 2] + z * a[2, 2] + middle + np.float32(bias)
            column = min(max(int(np.floor(across)), 0), size - 2)
            row = min(max(int(np.floor(along)), 0), size - 2)
            right = min(max(across - np.float32(column), np.float32(0)), one)
            up = min(max(along - np.float32(row), np.float32(0)), one)
            lit = np.float32(0)
            if heights[row, column] < height:
                lit += (one - right) * (one - up)
            if heights[row, column + 1] < height:
                lit += right * (one - up)
            if heights[row + 1, column] < height:
                lit += (one - right) * up
            if heights[row + 1, column + 1] < height:
                lit += right * up
            visibility[d, i] = lit
