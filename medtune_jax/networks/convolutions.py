"""Caffe's Convolution (NHWC, HWIO) in the form that XLA runs fastest.

On an accelerator that is XLA's own. On a CPU, XLA's own is slow where channels are few, in some gradients, and
inside a compiled loop, where it has one thread; there a convolution becomes matrix products
(scripts/bench/forms.py compares the forms).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

_MOST_COPIES = (
    2**20
)  # floats an image that a form may lay out: those of large maps would cost memory


def convolution(x: Array, kernel: Array, stride: int = 1, pad: int = 0, groups: int = 1) -> Array:
    """Caffe's Convolution without its bias: x [N,H,W,I], kernel [kH,kW,I/groups,O] -> [N,H',W',O]."""
    if groups > 1:
        # XLA's own grouped convolution is six times slower on a CPU than the split.
        parts = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        return jnp.concatenate([convolution(a, w, stride, pad) for a, w in parts], -1)
    if jax.default_backend() == "cpu":
        return _cpu_form(x, kernel, stride)(x, kernel, stride, pad)
    return _convolve(x, kernel, stride, pad)


def _cpu_form(x: Array, kernel: Array, stride: int) -> Callable[[Array, Array, int, int], Array]:
    """The fastest form of forward and gradient together on a CPU, as measured by scripts/bench/forms.py."""
    size, _, channels, _ = kernel.shape
    if stride > 1:
        return _convolve_image if channels <= 4 else _convolve
    if size == 1:
        return _convolve_pixels
    pixels = x.shape[1] * x.shape[2]
    # Enough channels to be worth the transforms, enough whole tiles, and digits to spare (not bfloat16).
    suits_winograd = channels >= 32 and min(x.shape[1:3]) >= 7 and x.dtype == jnp.float32
    if size == 3 and suits_winograd and 4 * pixels * channels <= _MOST_COPIES:
        return _convolve_winograd
    window = size * size * channels
    if window <= 640 and pixels * window <= _MOST_COPIES:
        return _convolve_as_matmul
    return _convolve


def _convolve(x: Array, kernel: Array, stride: int, pad: int) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(pad, pad)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _space_to_depth(x: Array, size: int, stride: int, pad: int) -> tuple[Array, int, int]:
    """x [N,H,W,I] as blocks of stride x stride pixels [N,H'',W'',stride*stride*I], and the output's rows and columns.

    On it a convolution of `size` and `stride` is one of ceil(size / stride) and stride 1.
    """
    batch, height, width, _ = x.shape
    rows, columns = ((n + 2 * pad - size) // stride + 1 for n in (height, width))
    more = -(-size // stride) - 1
    x = _pad_or_crop(x, pad, (rows + more) * stride, (columns + more) * stride)
    x = x.reshape(batch, rows + more, stride, columns + more, stride, -1)
    return (
        x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows + more, columns + more, -1),
        rows,
        columns,
    )


def _convolve_as_matmul(x: Array, kernel: Array, stride: int, pad: int) -> Array:
    """A convolution as space-to-depth by its stride, shifted copies and one matrix product."""
    size, _, channels, features = kernel.shape
    blocks = -(-size // stride)
    grow = blocks * stride - size
    kernel = jnp.pad(kernel, ((0, grow), (0, grow), (0, 0), (0, 0)))
    kernel = kernel.reshape(blocks, stride, blocks, stride, channels, features)
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(-1, features)

    x, rows, columns = _space_to_depth(x, size, stride, pad)
    windows = [
        x[:, i : i + rows, j : j + columns] for i, j in product(range(blocks), range(blocks))
    ]
    flat = jnp.concatenate(windows, axis=-1).reshape(-1, len(kernel))
    return (flat @ kernel).reshape(len(x), rows, columns, features)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve_image(x: Array, kernel: Array, stride: int, pad: int) -> Array:
    """A strided convolution of few channels: XLA's own, but for its slow weight gradient on a CPU."""
    return _convolve(x, kernel, stride, pad)


def _convolve_image_forward(x, kernel, stride, pad):
    return _convolve(x, kernel, stride, pad), (x, kernel)


def _convolve_image_backward(stride, pad, residuals, g):
    """The weight gradient as one matrix product a row of the kernel, over copies shifted by columns only."""
    x, kernel = residuals
    size, _, channels, features = kernel.shape
    blocks = -(-size // stride)
    spread, rows, columns = _space_to_depth(x, size, stride, pad)
    spread = jnp.concatenate([spread[:, :, j : j + columns] for j in range(blocks)], -1)
    flat = g.reshape(-1, features)
    taps = [spread[:, i : i + rows].reshape(len(flat), -1).T @ flat for i in range(blocks)]
    whole = jnp.stack(taps).reshape(blocks, blocks, stride, stride, channels, features)
    whole = whole.transpose(0, 2, 1, 3, 4, 5)
    whole = whole.reshape(blocks * stride, blocks * stride, channels, features)
    # The pixels' own gradient; where nothing reads it, as in a first stage, the compiler drops it.
    (image,) = jax.linear_transpose(lambda a: _convolve(a, kernel, stride, pad), x)(g)
    return image, whole[:size, :size]


_convolve_image.defvjp(_convolve_image_forward, _convolve_image_backward)


def _convolve_pixels(x: Array, kernel: Array, stride: int, pad: int) -> Array:
    """A 1x1 convolution of stride 1 as the matrix product it is."""
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    return x @ kernel[0, 0]


def _pad_or_crop(x: Array, pad: int, height: int, width: int) -> Array:
    """Zero-pad by `pad` before, and after to exactly (height, width); negative padding crops."""
    after = [(pad, n - x.shape[i + 1] - pad, 0) for i, n in enumerate((height, width))]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *after, (0, 0, 0)])


_KERNEL_AT_POINTS = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)


def _convolve_winograd(x: Array, kernel: Array, stride: int, pad: int) -> Array:
    """A 3x3 convolution of stride 1 as Winograd's F(2x2, 3x3): 16 products a tile of 2x2 pixels in place of 36.

    Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, section 4.1. In float32
    as exact as the other forms (1e-6 of the largest value); tiles of 4x4 pixels lose a digit and are no faster.
    """
    batch, height, width, channels = x.shape
    features = kernel.shape[-1]
    rows, columns = height + 2 * pad - 2, width + 2 * pad - 2
    down, across = -(-rows // 2), -(-columns // 2)
    x = _pad_or_crop(x, pad, 2 * down + 2, 2 * across + 2)
    weights = jnp.einsum("pi,qj,ijcf->pqcf", _KERNEL_AT_POINTS, _KERNEL_AT_POINTS, kernel)
    products = [
        [tile.reshape(-1, channels) @ w for tile, w in zip(_to_points(band, 2), row, strict=True)]
        for band, row in zip(_to_points(x, 1), weights, strict=True)
    ]
    pixels = [_from_points(column) for column in zip(*products, strict=True)]
    pixels = [_from_points(row) for row in zip(*pixels, strict=True)]
    tiles = [[y.reshape(batch, down, across, features) for y in row] for row in pixels]
    y = jnp.stack([jnp.stack(row, 3) for row in tiles], 2)
    return y.reshape(batch, 2 * down, 2 * across, features)[:, :rows, :columns]


def _to_points(x: Array, axis: int) -> list[Array]:
    """The values at Winograd's four points of every run of four pixels, two apart, along an axis of 2n + 2 pixels."""
    even, odd = (lax.slice_in_dim(x, first, None, 2, axis) for first in (0, 1))
    one, two = (lax.slice_in_dim(a, 0, -1, axis=axis) for a in (even, odd))
    three, four = (lax.slice_in_dim(a, 1, None, axis=axis) for a in (even, odd))
    return [one - three, two + three, three - two, two - four]


def _from_points(points: Sequence[Array]) -> list[Array]:
    """The two pixels of a tile along one axis, from its four points."""
    one, two, three, four = points
    return [one + two + three, two - three - four]
