"""Compiled CPU loops of the photometric loss: one sweep down the rows gives the loss and its gradient image.

A row of an image is `columns = 3 * width` numbers, and a pixel's neighbour lies three numbers further. Windows are
summed down the columns first and along the row second, so that every loop runs over adjacent numbers. Only the eleven
rows under a window are kept, in rings that stay in the cache. Import this module inside functions: numba takes a
noticeable part of a second.
"""

from functools import partial

import numpy as np

from human_avatars.compiled_loops import compile_loop

C1 = np.float32(0.01**2)
"""Wang et al. (2004), Eq. 13, for data range 1."""
C2 = np.float32(0.03**2)
"""As `C1`."""
TAPS = 11
"""Pixels along one side of the window."""
REACH = TAPS // 2
"""Pixels from a window's centre to its edge."""
CHANNELS = 3
"""Numbers of one pixel."""
MARGIN = CHANNELS * REACH
"""Zeros on each side of a padded row: as far as a window reaches."""
CHUNK = 96
"""Numbers of a row that lie side by side in a ring. Being known when compiled, it makes the eleven rows one array at
fixed distances, and loops over them vector instructions without tests for overlap."""
PLANE = TAPS * CHUNK
"""Numbers of one plane of a ring, beside one another for the same reason."""
LEAST_ROWS = 20
"""Rows of a part at least: every part also works on up to ten rows of the next part on either side."""


@compile_loop
def sweep_rows(part, num_parts, rgb, target, valid, window, weights, with_gradient, sums, gradient):
    """Row sums of |rgb - target| and of the similarity, and the gradient image; arrays are (height, columns).

    Args:
        part: Which band of rows to work on.
        num_parts: Into how many bands the rows are cut, at most.
        rgb: The rendered image.
        target: The photograph.
        valid: Pixels that count, (height, width); of height 0 if all do.
        window: The eleven weights.
        weights: Of sum |rgb - target| and of the summed similarity in the loss.
        with_gradient: Whether to fill `gradient`.
        sums: (height, 2), filled.
        gradient: Of the loss with respect to `rgb`, filled.
    """
    height, columns = rgb.shape
    num_parts = min(num_parts, (height + LEAST_ROWS - 1) // LEAST_ROWS)
    if part >= num_parts:
        return
    first, end = height * part // num_parts, height * (part + 1) // num_parts
    num_chunks = (columns + CHUNK - 1) // CHUNK
    images = np.zeros((num_chunks, 4 * PLANE), np.float32)
    slopes = np.zeros((num_chunks, 4 * PLANE), np.float32)
    padded = np.zeros((4, num_chunks * CHUNK + 2 * MARGIN), np.float32)
    reach = REACH if with_gradient else 0
    for row in range(first - reach - REACH, end + reach + REACH):
        enter_row(rgb, target, valid, row, images)
        middle = row - REACH
        if first - reach <= middle:
            if 0 <= middle < height:
                for plane in range(4):
                    blur_down(images, window, middle, plane, padded[plane])
                compare(padded, window, middle, columns, slopes)
            else:
                clear_row(slopes, middle)
            if first <= middle < end:
                sums[middle, 0] = absolute_difference(images, middle, columns)
                sums[middle, 1] = similarity_sum(slopes, middle, columns)
        last = middle - REACH
        if with_gradient and first <= last < end:
            for plane in range(3):
                blur_down(slopes, window, last, plane, padded[plane])
            collect(padded, window, images, last, weights, gradient[last])
            if valid.shape[0] > 0:
                for pixel in range(valid.shape[1]):
                    if not valid[last, pixel]:
                        gradient[last, CHANNELS * pixel : CHANNELS * pixel + CHANNELS] = 0


@compile_loop
def enter_row(rgb, target, valid, row, ring):
    """Put a row's rgb x and target y, x^2 + y^2 and x y into the ring; zeros outside the image."""
    if row < 0 or row >= rgb.shape[0]:
        clear_row(ring, row)
        return
    first = row % TAPS * CHUNK
    for chunk in range(ring.shape[0]):
        start = chunk * CHUNK
        size = min(CHUNK, rgb.shape[1] - start)
        planes = ring[chunk, first:]
        for i in range(size):
            planes[i] = rgb[row, start + i]
            planes[i + PLANE] = target[row, start + i]
        if valid.shape[0] > 0:
            pixels = valid[row, start // CHANNELS :]
            for pixel in range(size // CHANNELS):
                if not pixels[pixel]:
                    for i in range(CHANNELS * pixel, CHANNELS * pixel + CHANNELS):
                        planes[i] = planes[i + PLANE]
        for i in range(CHUNK):
            x, y = planes[i], planes[i + PLANE]
            planes[i + 2 * PLANE] = x * x + y * y
            planes[i + 3 * PLANE] = x * y


@compile_loop
def clear_row(ring, row):
    """Zero a row outside the image."""
    first = row % TAPS * CHUNK
    for chunk in range(ring.shape[0]):
        for plane in range(4):
            ring[chunk, plane * PLANE + first : plane * PLANE + first + CHUNK] = 0


@compile_loop
def blur_down(ring, window, centre, plane, padded):
    """Window sums of one plane of a ring down the columns, around the row `centre`."""
    # The slot s of the ring holds the row in reach that is s modulo 11: the weights turn, the rows stay.
    turn = REACH - centre
    t0, t1, t2 = window[turn % TAPS], window[(turn + 1) % TAPS], window[(turn + 2) % TAPS]
    t3, t4, t5 = window[(turn + 3) % TAPS], window[(turn + 4) % TAPS], window[(turn + 5) % TAPS]
    t6, t7, t8 = window[(turn + 6) % TAPS], window[(turn + 7) % TAPS], window[(turn + 8) % TAPS]
    t9, t10 = window[(turn + 9) % TAPS], window[(turn + 10) % TAPS]
    for chunk in range(ring.shape[0]):
        source = ring[chunk, plane * PLANE :]
        target = padded[MARGIN + chunk * CHUNK : MARGIN + (chunk + 1) * CHUNK]
        for i in range(CHUNK):
            target[i] = (
                t0 * source[i]
                + t1 * source[i + CHUNK]
                + t2 * source[i + 2 * CHUNK]
                + t3 * source[i + 3 * CHUNK]
                + t4 * source[i + 4 * CHUNK]
                + t5 * source[i + 5 * CHUNK]
                + t6 * source[i + 6 * CHUNK]
                + t7 * source[i + 7 * CHUNK]
                + t8 * source[i + 8 * CHUNK]
                + t9 * source[i + 9 * CHUNK]
                + t10 * source[i + 10 * CHUNK]
            )


@compile_loop
def blur_along(source, i, t0, t1, t2, t3, t4, t5):
    """Window sum along a padded row whose window begins at `i`; the window is symmetric."""
    total = t0 * (source[i] + source[i + 30]) + t1 * (source[i + 3] + source[i + 27])
    total += t2 * (source[i + 6] + source[i + 24]) + t3 * (source[i + 9] + source[i + 21])
    return total + (t4 * (source[i + 12] + source[i + 18]) + t5 * source[i + 15])


@compile_loop
def compare(padded, window, row, columns, slopes):
    """Slopes of a row's similarities by the window's mean of x, of x^2 and of x y, and the similarities themselves."""
    one, two = np.float32(1), np.float32(2)
    t0, t1, t2, t3, t4, t5 = window[0], window[1], window[2], window[3], window[4], window[5]
    first = row % TAPS * CHUNK
    for chunk in range(slopes.shape[0]):
        planes = slopes[chunk, first:]
        start = chunk * CHUNK
        size = min(CHUNK, columns - start)
        row_x, row_y = padded[0, start:], padded[1, start:]
        row_squares, row_products = padded[2, start:], padded[3, start:]
        for i in range(size):
            mean_x = blur_along(row_x, i, t0, t1, t2, t3, t4, t5)
            mean_y = blur_along(row_y, i, t0, t1, t2, t3, t4, t5)
            squares = blur_along(row_squares, i, t0, t1, t2, t3, t4, t5)
            products = blur_along(row_products, i, t0, t1, t2, t3, t4, t5)
            luminance_top = two * mean_x * mean_y + C1
            contrast_top = two * (products - mean_x * mean_y) + C2
            mean_squares = mean_x * mean_x + mean_y * mean_y
            luminance_bottom = mean_squares + C1
            contrast_bottom = squares - mean_squares + C2
            inverse = one / (luminance_bottom * contrast_bottom)
            value = luminance_top * contrast_top * inverse
            rise = mean_y * (contrast_top - luminance_top) + mean_x * value * (luminance_bottom - contrast_bottom)
            planes[i] = two * inverse * rise
            planes[i + PLANE] = -value * luminance_bottom * inverse
            planes[i + 2 * PLANE] = two * luminance_top * inverse
            planes[i + 3 * PLANE] = value


@compile_loop
def collect(padded, window, images, row, weights, gradient):
    """Gradient of the loss by a row of rgb, from the slopes of every window that it lies in."""
    step, similarity_weight, two = weights[0], weights[1], np.float32(2)
    t0, t1, t2, t3, t4, t5 = window[0], window[1], window[2], window[3], window[4], window[5]
    first = row % TAPS * CHUNK
    for chunk in range(images.shape[0]):
        planes = images[chunk, first:]
        start = chunk * CHUNK
        row_0, row_1, row_2 = padded[0, start:], padded[1, start:], padded[2, start:]
        target = gradient[start : start + CHUNK]
        for i in range(target.shape[0]):
            x, y = planes[i], planes[i + PLANE]
            slope = blur_along(row_0, i, t0, t1, t2, t3, t4, t5)
            slope += two * x * blur_along(row_1, i, t0, t1, t2, t3, t4, t5)
            slope += y * blur_along(row_2, i, t0, t1, t2, t3, t4, t5)
            sign = step if x > y else (-step if x < y else np.float32(0))
            target[i] = sign + similarity_weight * slope


@partial(compile_loop, freedoms=("contract", "reassoc"))
def absolute_difference(images, row, columns):
    """Sum of |x - y| over a row."""
    first = row % TAPS * CHUNK
    total = np.float32(0)
    for chunk in range(images.shape[0]):
        planes = images[chunk, first:]
        for i in range(min(CHUNK, columns - chunk * CHUNK)):
            total += abs(planes[i] - planes[i + PLANE])
    return total


@partial(compile_loop, freedoms=("contract", "reassoc"))
def similarity_sum(slopes, row, columns):
    """Sum of a row's similarities."""
    first = row % TAPS * CHUNK
    total = np.float32(0)
    for chunk in range(slopes.shape[0]):
        values = slopes[chunk, 3 * PLANE + first :]
        for i in range(min(CHUNK, columns - chunk * CHUNK)):
            total += values[i]
    return total
