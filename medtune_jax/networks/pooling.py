"""Pooling of maps (NHWC): Caffe's with its ceil rule (`src/caffe/layers/pooling_layer.cpp`), and that of others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial, reduce
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from medtune_jax.networks.forms import forms


def pooled_size(size: int, window: int, stride: int, pad: int = 0) -> int:
    """Output length of Caffe's pooling: ceil, less a last window that would start in the padding."""
    out = -(-(size + 2 * pad - window) // stride) + 1
    return out - 1 if pad and (out - 1) * stride >= size + pad else out


def _spread(x: Array, window: int, stride: int, pad: int, fill: float) -> tuple[Array, int, int]:
    rows, columns = (pooled_size(n, window, stride, pad) for n in x.shape[1:3])
    after = [
        (o - 1) * stride + window - n - pad
        for o, n in zip((rows, columns), x.shape[1:3], strict=True)
    ]
    padding = [(0, 0, 0), (pad, after[0], 0), (pad, after[1], 0), (0, 0, 0)]
    return lax.pad(x, jnp.asarray(fill, x.dtype), padding), rows, columns


def _taps(
    x: Array, window: int, stride: int, rows: int, columns: int
) -> Iterator[tuple[int, int, Array]]:
    """The window * window strided views of a padded map, each [N,rows,columns,C], with their offsets."""
    for i, j in product(range(window), range(window)):
        stop = (i + (rows - 1) * stride + 1, j + (columns - 1) * stride + 1)
        yield i, j, x[:, i : stop[0] : stride, j : stop[1] : stride]


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def max_pool(x: Array, window: int = 3, stride: int = 2, pad: int = 0) -> Array:
    """Caffe MAX pooling of [N,H,W,C]; a tie passes its gradient to the first maximum, as in Caffe."""
    if forms().pool_windows:
        return _max_of_windows(x, window, stride, pad)
    padded, rows, columns = _spread(x, window, stride, pad, -jnp.inf)
    views = [view for _, _, view in _taps(padded, window, stride, rows, columns)]
    return reduce(jnp.maximum, views)


def _max_of_windows(x: Array, window: int, stride: int, pad: int) -> Array:
    """Down, then across, each over the middle of three axes: ONNX Runtime pools over three at most."""
    batch, height, width, channels = x.shape
    x = _max_along(x.reshape(batch, height, width * channels), window, stride, pad)
    rows = x.shape[1]
    x = _max_along(x.reshape(batch * rows, width, channels), window, stride, pad)
    return x.reshape(batch, rows, -1, channels)


def _max_along(x: Array, window: int, stride: int, pad: int) -> Array:
    """[A,n,B] -> [A,n',B]. A last window that leaves the map is filled up with -inf."""
    n = x.shape[1]
    count = pooled_size(n, window, stride, pad)
    padding = [(0, 0), (pad, (count - 1) * stride + window - n - pad), (0, 0)]
    nothing = np.array(-np.inf, x.dtype)[()]
    return lax.reduce_window(x, nothing, lax.max, (1, window, 1), (1, stride, 1), padding)


def _max_pool_forward(
    x: Array, window: int, stride: int, pad: int
) -> tuple[Array, tuple[Array, Array]]:
    like = jnp.zeros((*x.shape[1:3], 0), x.dtype)  # carries the static shape
    return max_pool(x, window, stride, pad), (_first_maximum(x, window, stride, pad), like)


def _halves(x: Array) -> tuple[Array, Array]:
    """XLA on a CPU would compute what is made of x anew in each of its uses, but does not fuse a concatenation."""
    cut = x.shape[0] // 2 if forms().pool_in_halves else 0
    return x[:cut], x[cut:]


_NOBODY = 255  # no tap: windows are smaller than 16 x 16


def _first_maximum(x: Array, window: int, stride: int, pad: int) -> Array:
    """Which tap of each window holds its first maximum: uint8 [N,rows,columns,C], row by row."""
    padded, rows, columns = _spread(x, window, stride, pad, -jnp.inf)
    (_, _, best), *others = _taps(padded, window, stride, rows, columns)
    winner = jnp.zeros(best.shape, jnp.uint8)
    for number, (_, _, view) in enumerate(others, start=1):
        winner = jnp.where(view > best, jnp.uint8(number), winner)
        best = jnp.maximum(best, view)
    return winner


def _max_pool_backward(
    window: int, stride: int, pad: int, residuals: tuple[Array, Array], g: Array
) -> tuple[Array]:
    winner, like = residuals
    if forms().pool_by_taps:
        parts = [
            _from_taps(window, stride, pad, part, like, by)
            for part, by in zip(_halves(winner), _halves(g), strict=True)
        ]
        return (jnp.concatenate(parts),)
    return (_from_windows(window, stride, pad, winner, like, g),)


def _from_taps(window: int, stride: int, pad: int, winner: Array, like: Array, g: Array) -> Array:
    """What each tap of the windows won, spread out to the map, summed over the taps."""
    won = (
        jnp.where(winner == np.uint8(i * window + j), g, 0)
        for i, j in product(range(window), range(window))
    )
    spread = [
        [(tap - pad, n + pad - tap - (count - 1) * stride - 1, stride - 1) for tap in range(window)]
        for n, count in zip(like.shape[:2], g.shape[1:3], strict=True)
    ]
    whole, zero = (0, 0, 0), jnp.zeros((), g.dtype)
    maps = (
        lax.pad(part, zero, [whole, down, across, whole])
        for part, (down, across) in zip(won, product(*spread), strict=True)
    )
    return reduce(jnp.add, maps)


def _from_windows(
    window: int, stride: int, pad: int, winner: Array, like: Array, g: Array
) -> Array:
    """Every pixel gathers from the windows that it lies in: in blocks of stride * stride pixels, those of one block lie
    in the window that starts there and in the ones before it.
    """
    height, width = like.shape[:2]
    batch, rows, columns, channels = g.shape
    before = -(-window // stride)
    down, across = (-(-(n + pad) // stride) for n in (height, width))
    place = np.arange(stride)
    total = jnp.zeros((batch, down, stride, across, stride, channels), g.dtype)
    for i, j in product(range(before), range(before)):
        padding = [(0, 0, 0), (i, down - rows - i, 0), (j, across - columns - j, 0), (0, 0, 0)]
        won, gradient = (
            lax.pad(a, jnp.asarray(fill, a.dtype), padding)[:, :, None, :, None]
            for a, fill in ((winner, _NOBODY), (g, 0))
        )
        row, column = np.meshgrid(place + stride * i, place + stride * j, indexing="ij")
        inside = (row < window) & (column < window)
        tap = np.where(inside, row * window + column, _NOBODY - 1).astype(np.uint8)
        total += jnp.where(won == tap[None, None, :, None, :, None], gradient, 0)
    total = total.reshape(batch, down * stride, across * stride, channels)
    return total[:, pad : pad + height, pad : pad + width]


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def floor_max_pool(x: Array, window: int, stride: int, pad: int) -> Array:
    """PyTorch's and TensorFlow's max pooling of what is never below 0: windows that do not fit are left out."""
    spans = ((n + 2 * pad - window) // stride * stride + window - n - pad for n in x.shape[1:3])
    after = [(pad, span, 0) for span in spans]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *after, (0, 0, 0)])
    return max_pool(x, window, stride)


def average_pool(x: Array, window: int, stride: int, pad: int = 0) -> Array:
    """Caffe AVE pooling of [N,H,W,C]: each window divides by its part inside H + pad (padding counts).

    Sums are float32.
    """
    padded, rows, columns = _spread(x.astype(jnp.float32), window, stride, pad, 0.0)
    total = lax.reduce_window(
        padded,
        np.float32(0),
        lax.add,
        (1, window, window, 1),
        (1, stride, stride, 1),
        "VALID",
    )
    sides = [
        np.minimum(np.arange(o) * stride + window, n + 2 * pad) - np.arange(o) * stride
        for o, n in zip((rows, columns), x.shape[1:3], strict=True)
    ]
    area = np.outer(*sides)[None, :, :, None]
    return (total / area.astype(np.float32)).astype(x.dtype)


def halve_by_average(x: Array) -> Array:
    """Means of 2x2 pixels; a last odd row or column is left out: [N,H,W,C] -> [N,H//2,W//2,C]."""
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def global_average_pool(x: Array) -> Array:
    """[N,H,W,C] -> [N,C]."""
    return x.mean((1, 2))
