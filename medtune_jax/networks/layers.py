"""Caffe's layers as JAX functions and small Flax modules (NHWC, HWIO).

The module holds only what AlexNet, CaffeNet, VGG-16, GoogLeNet and SqueezeNet are made of. Semantics are those of
BVLC Caffe (`src/caffe/layers/*.cpp`); the forms are the ones that XLA runs fast.
Arithmetic follows the dtype of the activations: parameters stay float32 and are cast on use.
"""

from __future__ import annotations

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax

relu = jax.nn.relu


def _convolve(x: Array, kernel: Array, stride: int, pad: int) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(pad, pad)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _convolve_as_matmul(x: Array, kernel: Array, stride: int, pad: int) -> Array:
    """A strided convolution as space-to-depth followed by one matrix product.

    XLA's CPU backend differentiates a large strided convolution of few channels slowly; a matrix product it does not.
    """
    size, _, channels, features = kernel.shape
    blocks = -(-size // stride)
    grow = blocks * stride - size
    kernel = jnp.pad(kernel, ((0, grow), (0, grow), (0, 0), (0, 0)))
    kernel = kernel.reshape(blocks, stride, blocks, stride, channels, features)
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(-1, features)

    batch, height, width, _ = x.shape
    rows, columns = ((n + 2 * pad - size) // stride + 1 for n in (height, width))
    block_rows, block_columns = rows + blocks - 1, columns + blocks - 1
    x = _pad_or_crop(x, pad, block_rows * stride, block_columns * stride)
    x = x.reshape(batch, block_rows, stride, block_columns, stride, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, block_rows, block_columns, -1)
    windows = [
        x[:, i : i + rows, j : j + columns] for i, j in product(range(blocks), range(blocks))
    ]
    flat = jnp.concatenate(windows, axis=-1).reshape(batch * rows * columns, -1)
    return (flat @ kernel).reshape(batch, rows, columns, features)


def _pad_or_crop(x: Array, pad: int, height: int, width: int) -> Array:
    """Zero-pad by `pad` before, and after to exactly (height, width); negative padding crops."""
    after = [(pad, n - x.shape[i + 1] - pad, 0) for i, n in enumerate((height, width))]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *after, (0, 0, 0)])


def convolution(x: Array, kernel: Array, stride: int = 1, pad: int = 0, groups: int = 1) -> Array:
    """Caffe's Convolution without its bias: x [N,H,W,I], kernel [kH,kW,I/groups,O] -> [N,H',W',O]."""
    if groups > 1:
        # XLA's own grouped convolution is six times slower on a CPU than the split.
        parts = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        return jnp.concatenate([convolution(a, w, stride, pad) for a, w in parts], -1)
    few_channels_wide_stride = stride > 1 and kernel.shape[2] <= 4
    if few_channels_wide_stride and jax.default_backend() == "cpu":
        return _convolve_as_matmul(x, kernel, stride, pad)
    return _convolve(x, kernel, stride, pad)


class Conv(nn.Module):
    """Convolution + bias + ReLU. Parameters: kernel [kH,kW,I/groups,O] and bias [O].

    `std` and `bias` are the network's own Caffe fillers (Gaussian and constant).
    """

    features: int
    size: int
    stride: int = 1
    pad: int = 0
    groups: int = 1
    std: float = 0.01
    bias: float = 0.0
    relu: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", nn.initializers.normal(self.std), shape)
        bias = self.param("bias", nn.initializers.constant(self.bias), (self.features,))
        x = convolution(x, kernel.astype(x.dtype), self.stride, self.pad, self.groups)
        x = x + bias.astype(x.dtype)
        return relu(x) if self.relu else x


class Dense(nn.Module):
    """Caffe's InnerProduct + bias (+ ReLU) over the input flattened as H,W,C. Parameters: kernel [I,O], bias [O]."""

    features: int
    std: float = 0.01
    bias: float = 0.0
    relu: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = x.reshape(x.shape[0], -1)
        kernel = self.param("kernel", nn.initializers.normal(self.std), (x.shape[1], self.features))
        bias = self.param("bias", nn.initializers.constant(self.bias), (self.features,))
        x = x @ kernel.astype(x.dtype) + bias.astype(x.dtype)
        return relu(x) if self.relu else x


# --- local response normalisation across channels (Caffe LRN, ACROSS_CHANNELS) ---

_LRN_SIZE, _LRN_ALPHA, _LRN_BETA = 5, 1e-4, 0.75  # k = 1: the values of every network here


def _channel_window_sum(x: Array) -> Array:
    half = _LRN_SIZE // 2
    window = (1,) * (x.ndim - 1) + (_LRN_SIZE,)
    padding = [(0, 0)] * (x.ndim - 1) + [(half, half)]
    return lax.reduce_window(x, np.zeros((), x.dtype)[()], lax.add, window, (1,) * x.ndim, padding)


@jax.custom_vjp
def lrn(x: Array) -> Array:
    """y = x (1 + alpha/n sum x^2)^-beta over n=5 neighbouring channels (Caffe `lrn_layer.cpp`)."""
    return _lrn_forward(x)[0]


def _lrn_forward(x: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    scale = 1 + (_LRN_ALPHA / _LRN_SIZE) * _channel_window_sum(x * x)
    root = lax.rsqrt(scale)
    power = root * jnp.sqrt(root)  # scale ** -0.75 without a call to pow
    return x * power, (x, scale, power)


def _lrn_backward(residuals: tuple[Array, Array, Array], g: Array) -> tuple[Array]:
    x, scale, power = residuals
    cross = x * _channel_window_sum(g * x * power / scale)
    return (g * power - (2 * _LRN_BETA * _LRN_ALPHA / _LRN_SIZE) * cross,)


lrn.defvjp(_lrn_forward, _lrn_backward)


# --- pooling with Caffe's ceil rule ---


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


def _taps(x: Array, window: int, stride: int, rows: int, columns: int):
    """The window * window strided views of a padded map, each [N,rows,columns,C], with their offsets."""
    for i, j in product(range(window), range(window)):
        stop = (i + (rows - 1) * stride + 1, j + (columns - 1) * stride + 1)
        yield i, j, x[:, i : stop[0] : stride, j : stop[1] : stride]


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def max_pool(x: Array, window: int = 3, stride: int = 2, pad: int = 0) -> Array:
    """Caffe MAX pooling of [N,H,W,C]; a tie passes its gradient to the first maximum, as in Caffe."""
    padded, rows, columns = _spread(x, window, stride, pad, -jnp.inf)
    views = [view for _, _, view in _taps(padded, window, stride, rows, columns)]
    return jnp.stack(views).max(0) if len(views) == 1 else _maximum(views)


def _maximum(views: list[Array]) -> Array:
    result = views[0]
    for view in views[1:]:
        result = jnp.maximum(result, view)
    return result


def _max_pool_forward(x, window, stride, pad):
    y = max_pool(x, window, stride, pad)
    return y, (x, y)


def _max_pool_backward(window, stride, pad, residuals, g):
    x, y = residuals
    padded, rows, columns = _spread(x, window, stride, pad, -jnp.inf)
    height, width = padded.shape[1:3]
    total = jnp.zeros(padded.shape, g.dtype)
    taken = jnp.zeros(y.shape, bool)
    for i, j, view in _taps(padded, window, stride, rows, columns):
        hit = (view == y) & ~taken
        taken = taken | hit
        after = (
            height - i - ((rows - 1) * stride + 1),
            width - j - ((columns - 1) * stride + 1),
        )
        spread = [(0, 0, 0), (i, after[0], stride - 1), (j, after[1], stride - 1), (0, 0, 0)]
        total = total + lax.pad(jnp.where(hit, g, 0), jnp.zeros((), g.dtype), spread)
    return (total[:, pad : pad + x.shape[1], pad : pad + x.shape[2]],)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def average_pool(x: Array, window: int, stride: int, pad: int = 0) -> Array:
    """Caffe AVE pooling of [N,H,W,C]: each window divides by its part inside H + pad (padding counts)."""
    padded, rows, columns = _spread(x, window, stride, pad, 0.0)
    total = lax.reduce_window(
        padded,
        np.zeros((), x.dtype)[()],
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
    return total / area.astype(x.dtype)


def global_average_pool(x: Array) -> Array:
    """[N,H,W,C] -> [N,C]."""
    return x.mean((1, 2))


def dropout(x: Array, rate: float, key: Array) -> Array:
    """Caffe's inverted dropout: zero with probability `rate`, else x / (1 - rate)."""
    keep = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), 0)
