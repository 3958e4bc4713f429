"""Seamless textures: periodic noise, branching vessels, and bilinear look-up of a periodic map."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage

Array = NDArray[np.float32]


def f32(values: ArrayLike) -> Array:
    """`values` as a float32 array: all geometry and light is single precision, for speed."""
    return np.asarray(values, np.float32)


def periodic_noise(
    rng: np.random.Generator, shape: tuple[int, int], scale: float | tuple[float, float]
) -> Array:
    """Smooth Gaussian noise [H, W] that wraps on both axes; zero mean, unit standard deviation.

    `scale` is the standard deviation in pixels of the smoothing kernel (one, or one per axis).
    """
    rows, columns = np.broadcast_to(scale, 2)
    white = rng.standard_normal(shape, dtype=np.float32)
    fy, fx = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])
    kernel = np.exp(-2 * np.pi**2 * ((rows * fy) ** 2 + (columns * fx) ** 2)).astype(np.float32)
    kernel[0, 0] = 0
    noise = fft.irfft2(fft.rfft2(white) * kernel, s=shape)
    return (noise / noise.std()).astype(np.float32)


def bilinear(maps: Array, u: Array, v: Array) -> Array:
    """Values of a periodic map [V, U] or [V, U, C] at columns `u`, rows `v` [N]: [N] or [N, C].

    Both sides of the map are powers of two, so that wrapping is one bitwise "and".
    """
    rows, columns = maps.shape[:2]
    table = maps.reshape(rows * columns, *maps.shape[2:])
    left, top = np.floor(u), np.floor(v)
    fu, fv = u - left, v - top
    if maps.ndim == 3:
        fu, fv = fu[:, None], fv[:, None]
    x0, y0 = left.astype(np.int32) & (columns - 1), top.astype(np.int32) & (rows - 1)
    x1, y1 = (x0 + 1) & (columns - 1), ((y0 + 1) & (rows - 1)) * columns
    y0 = y0 * columns
    upper = table.take(y0 + x0, 0) * (1 - fu) + table.take(y0 + x1, 0) * fu
    lower = table.take(y1 + x0, 0) * (1 - fu) + table.take(y1 + x1, 0) * fu
    return upper * (1 - fv) + lower * fv


def vessels(rng: np.random.Generator, shape: tuple[int, int], trees: int) -> Array:
    """Branching vessel trees on a periodic map: opacity [H, W] in 0..1.

    Every tip walks with a slowly turning heading, thins, and now and then sheds a branch; all tips
    of all trees advance together.
    """
    unit = shape[1] / 512  # all lengths below are in texels of a 512-column map
    position = rng.uniform(0, 1, (trees, 2)) * shape
    heading, width = rng.uniform(0, 2 * np.pi, trees), rng.uniform(0.7, 1.3, trees)
    trail = []
    for _ in range(round(240 * unit)):
        heading = heading + rng.normal(0, 0.13 / np.sqrt(unit), heading.size)
        width = width * (1 - 0.004 / unit)
        position = position + 0.9 * np.stack([np.sin(heading), np.cos(heading)], 1)
        trail.append(np.column_stack([position, width]))
        fork = rng.random(heading.size) < 0.028 / unit
        turn = rng.choice([-1, 1], heading.size) * rng.uniform(0.4, 1.0, heading.size)
        position = np.concatenate([position, position[fork]])
        heading = np.concatenate([heading, (heading + turn)[fork]])
        width = np.concatenate([width, 0.72 * width[fork]])
        alive = width > 0.22
        position, heading, width = position[alive], heading[alive], width[alive]
        if not heading.size:
            break
    y, x, w = np.concatenate(trail).T
    cells = (np.round(y).astype(int) % shape[0], np.round(x).astype(int) % shape[1])
    opacity = np.zeros(shape, np.float32)
    for low, high, sigma in ((0.22, 0.42, 0.55), (0.42, 0.75, 0.85), (0.75, 9.0, 1.35)):
        canvas = np.zeros(shape, np.float32)
        chosen = (w >= low) & (w < high)
        canvas[cells[0][chosen], cells[1][chosen]] = 1
        line = ndimage.gaussian_filter(canvas, sigma * unit, mode="wrap") * 2.5 * sigma * unit
        opacity = np.maximum(opacity, np.minimum(line, 1) * min(1.0, 0.35 + 0.5 * high))
    return opacity
