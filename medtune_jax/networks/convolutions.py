"""Caffe's Convolution (NHWC, HWIO), and its forms as matrix products (scripts/bench/forms.py compares them)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import Array, lax

from medtune_jax.networks.forms import forms
from medtune_jax.networks.products import product

_FEW_CHANNELS = 4
_LANES = 8


def convolution(x: Array, kernel: Array, stride: int = 1, pad: int = 0, groups: int = 1) -> Array:
    """Caffe's Convolution without its bias: x [N,H,W,I], kernel [kH,kW,I/groups,O] -> [N,H',W',O]."""
    if groups > 1 and groups == x.shape[-1] == kernel.shape[-1]:
        return _depthwise(x, kernel, stride, pad)
    if groups > 1 and forms().split_groups:
        parts = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        return jnp.concatenate([convolution(a, w, stride, pad) for a, w in parts], -1)
    if groups == 1 and forms().products:
        return _cpu_form(x, kernel, stride)(x, kernel, stride, pad)
    if groups == 1 and stride > 1 and x.shape[-1] <= _FEW_CHANNELS and forms().space_to_depth:
        return _convolve_blocks(x, kernel, stride, pad)
    return _convolve(x, kernel, stride, pad, groups)


def _cpu_form(x: Array, kernel: Array, stride: int) -> Callable[[Array, Array, int, int], Array]:
    """The fastest form of forward and gradient together on a CPU, as measured by scripts/bench/forms.py."""
    size = kernel.shape[0]
    if stride == size == 1:
        return _convolve_pixels
    if min(x.shape[1:3]) < size:
        return _convolve_windows
    if (size, stride) == (3, 1) and x.dtype == jnp.float32 and _suits_winograd(*x.shape[1:]):
        return _convolve_winograd
    return _convolve


def _suits_winograd(height: int, width: int, channels: int) -> bool:
    """Enough to multiply to be worth the transforms, and the second and more that they take to compile."""
    copies = 4 * height * width * channels  # floats an image: large maps would cost memory
    large = min(height, width) >= 10 and channels >= 64 and width * channels >= 1200
    return large and copies <= 2**20


def _convolve(x: Array, kernel: Array, stride: int, pad: int, groups: int = 1) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(pad, pad)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _depthwise(x: Array, kernel: Array, stride: int, pad: int) -> Array:
    """A convolution of each channel alone, kernel [kH,kW,1,C]."""
    if not forms().depthwise_products:
        return _convolve(x, kernel, stride, pad, x.shape[-1])
    return _depthwise_products(x, kernel, stride, pad)


def _weighted_views(x: Array, kernel: Array, stride: int, pad: int) -> Array:
    """The sum over the taps of what each sees times its weights."""
    taps = kernel.reshape(-1, kernel.shape[-1])
    views = _views(x, kernel.shape[0], stride, pad)
    return reduce(jnp.add, (view * tap for view, tap in zip(views, taps, strict=True)))


# It keeps x alone for its gradients, where JAX would keep every view.
_depthwise_products = jax.custom_vjp(_weighted_views, nondiff_argnums=(2, 3))


def _depthwise_forward(
    x: Array, kernel: Array, stride: int, pad: int
) -> tuple[Array, tuple[Array, Array]]:
    return _weighted_views(x, kernel, stride, pad), (x, kernel)


def _depthwise_backward(
    stride: int, pad: int, residuals: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    x, kernel = residuals
    size = kernel.shape[0]
    if stride == 1 and pad < size:
        by_input = _weighted_views(g, kernel[::-1, ::-1], 1, size - 1 - pad)
    else:
        forward = partial(_weighted_views, kernel=kernel, stride=stride, pad=pad)
        (by_input,) = jax.linear_transpose(forward, x)(g)
    by_kernel = _depthwise_kernel_gradient(x, g, size, stride, pad).astype(kernel.dtype)
    return by_input, by_kernel.reshape(kernel.shape)


def _depthwise_kernel_gradient(x: Array, g: Array, size: int, stride: int, pad: int) -> Array:
    """[size*size,C]: of each tap the sum of what it sees times g. Image by image into a map for each tap, and then over
    pixels: three to ten times as fast on a CPU as its sums over all three axes at once (docs/notes/products.md).
    """

    def add(sums: list[Array], image: tuple[Array, Array]) -> tuple[list[Array], None]:
        x, g = image
        views = _views(x[None], size, stride, pad)
        return [total + view[0] * g for total, view in zip(sums, views, strict=True)], None

    start = [jnp.zeros(g.shape[1:], jnp.promote_types(g.dtype, jnp.float32))] * size**2
    sums, _ = lax.scan(add, start, (x, g))
    pixels = [total.reshape(-1, total.shape[-1]) for total in sums]
    return jnp.concatenate([jnp.ones((1, len(p)), p.dtype) @ p for p in pixels])


_depthwise_products.defvjp(_depthwise_forward, _depthwise_backward)


def _convolve_windows(x: Array, kernel: Array, stride: int, pad: int) -> Array:
    """A convolution as one product with its windows, each a row.

    For maps smaller than the kernel: XLA's CPU backend has no Eigen kernel for them, and its own loops take two to
    fourteen times as long (docs/notes/cpu-convolutions.md).
    """
    windows = jnp.concatenate(list(_views(x, kernel.shape[0], stride, pad)), -1)
    return product(windows, kernel.reshape(-1, kernel.shape[-1]))


def _views(x: Array, size: int, stride: int, pad: int) -> Iterator[Array]:
    """What each tap of a kernel sees of the padded map, row by row of the kernel: size*size of [N,H',W',C]."""
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    rows, columns = ((n - size) // stride * stride + 1 for n in x.shape[1:3])
    for i in range(size):
        for j in range(size):
            yield x[:, i : i + rows : stride, j : j + columns : stride]


def _convolve_blocks(x: Array, kernel: Array, stride: int, pad: int) -> Array:
    """A strided convolution as one of stride 1 over blocks of stride x stride pixels, whose values are the channels.

    The same products, and some by the zeros that fill the kernel up to whole blocks.
    """
    height, width = ((n + 2 * pad - kernel.shape[0]) // stride + 1 for n in x.shape[1:3])
    blocks = -(-kernel.shape[0] // stride)
    rows, columns = ((n + blocks - 1) * stride for n in (height, width))
    missing = blocks * stride - kernel.shape[0]
    kernel = jnp.pad(kernel, ((0, missing), (0, missing), (0, 0), (0, 0)))
    x = _in_blocks(_pad_or_crop(x, pad, rows, columns), stride)
    weights = _in_blocks(jnp.moveaxis(kernel, 3, 0), stride)
    return _convolve(x, jnp.moveaxis(weights, 0, 3), 1, 0)


def _in_blocks(x: Array, side: int) -> Array:
    """[N,H,W,C] -> [N,H/side,W/side,side*side*C], and zeros up to a multiple of what tensor cores take."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // side, side, width // side, side, channels)
    x = x.swapaxes(2, 3).reshape(batch, height // side, width // side, -1)
    return jnp.pad(x, ((0, 0),) * 3 + ((0, -x.shape[-1] % _LANES),))


def _convolve_pixels(x: Array, kernel: Array, stride: int, pad: int) -> Array:
    """A 1x1 convolution of stride 1 as the matrix product it is."""
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    return product(x, kernel[0, 0])


def _pad_or_crop(x: Array, pad: int, height: int, width: int) -> Array:
    """Zero-pad by `pad` before, and after to exactly (height, width); negative padding crops."""
    after = [(pad, n - x.shape[i + 1] - pad, 0) for i, n in enumerate((height, width))]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *after, (0, 0, 0)])


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
    weights = [_kernel_at_points(row) for row in _kernel_at_points(kernel)]
    products = [
        [tile.reshape(-1, channels) @ w for tile, w in zip(_to_points(band, 2), row, strict=True)]
        for band, row in zip(_to_points(x, 1), weights, strict=True)
    ]
    pixels = [_from_points(column) for column in zip(*products, strict=True)]
    pixels = [_from_points(row) for row in zip(*pixels, strict=True)]
    tiles = [[y.reshape(batch, down, across, features) for y in row] for row in pixels]
    y = jnp.stack([jnp.stack(row, 3) for row in tiles], 2)
    return y.reshape(batch, 2 * down, 2 * across, features)[:, :rows, :columns]


def _kernel_at_points(kernel: Array) -> list[Array]:
    """The values at Winograd's four points of the three weights along the first axis."""
    one, two, three = kernel
    return [one, (one + two + three) / 2, (one - two + three) / 2, three]


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
