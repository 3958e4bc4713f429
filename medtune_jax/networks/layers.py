"""Caffe's layers as JAX functions and small Flax modules (NHWC, HWIO).

The module holds only what AlexNet, CaffeNet, VGG-16, GoogLeNet and SqueezeNet are made of. Semantics are those of
BVLC Caffe (`src/caffe/layers/*.cpp`); the forms are the ones that XLA runs fast.
Arithmetic follows the dtype of the activations: parameters stay float32 and are cast on use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, reduce
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax
from jax.typing import DTypeLike

from medtune_jax.networks.convolutions import convolution
from medtune_jax.networks.forms import forms


@jax.custom_vjp
def relu(x: Array) -> Array:
    """max(x, 0), which keeps one byte a value for its gradient (Caffe `relu_layer.cpp`: 0 at 0)."""
    return jnp.maximum(x, 0)


def _relu_forward(x: Array) -> tuple[Array, Array]:
    y = relu(x)
    return y, y != 0  # of the output, which others keep, too: x need not outlive the layer


relu.defvjp(_relu_forward, lambda active, g: (jnp.where(active, g, 0),))


SAME = "SAME"


def pad_same(x: Array, size: int, stride: int) -> Array:
    """Zeros so that [N,H,W,C] has ceil(H / stride) windows a column; the odd one comes after (TensorFlow's SAME)."""
    pads = (max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[1:3])
    widths = [(pad // 2, pad - pad // 2) for pad in pads]
    return jnp.pad(x, ((0, 0), *widths, (0, 0)))


Activation = Callable[[Array], Array]


def relu6(x: Array) -> Array:
    """min(max(x, 0), 6) (Howard et al. 2017)."""
    return jnp.minimum(relu(x), 6)


class Conv(nn.Module):
    """Convolution + bias + ReLU. Parameters: kernel [kH,kW,I/groups,O] and bias [O].

    `std` and `bias` are the network's own Caffe fillers (Gaussian and constant). bias: None where a norm follows, which
    has its own. pad: pixels on every side, or SAME, TensorFlow's.
    """

    features: int
    size: int
    stride: int = 1
    pad: int | str = 0
    groups: int = 1
    std: float = 0.01
    bias: float | None = 0.0
    relu: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", nn.initializers.normal(self.std), shape)
        pad = self.pad
        if isinstance(pad, str):
            x, pad = pad_same(x, self.size, self.stride), 0
        if self.bias is None:
            x = convolution(x, kernel.astype(x.dtype), self.stride, pad, self.groups)
            return relu(x) if self.relu else x
        bias = self.param("bias", nn.initializers.constant(self.bias), (self.features,))
        x = convolution(x, kernel.astype(x.dtype), self.stride, pad, self.groups)
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


def squeeze_excite(x: Array, squeeze: int, activation: Activation) -> Array:
    """[N,H,W,C] times a weight for each channel that its means decide (Hu et al. 2018); in a compact module.

    Layers fc1 to `squeeze` channels and fc2 back are convolutions of 1x1.
    """
    y = x.mean((1, 2), keepdims=True)
    y = activation(Conv(squeeze, 1, relu=False, name="fc1")(y))
    return x * nn.sigmoid(Conv(x.shape[-1], 1, relu=False, name="fc2")(y))


class Positionwise(nn.Module):
    """The same inner product + bias at every position: [...,I] -> [...,features]. Parameters as of `Dense` and, while
    LoRA trains them, the factors "down" and "up" of what is added to the kernel (`low_rank`).
    """

    features: int
    std: float = 0.02

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(self.std), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        y = x @ kernel.astype(x.dtype) + bias.astype(x.dtype)
        if not self.has_variable("params", "down"):
            return y
        down: Array = self.get_variable("params", "down")
        up: Array = self.get_variable("params", "up")
        return y + (x @ down.astype(x.dtype)) @ up.astype(x.dtype)


class LayerScale(nn.Module):
    """A factor for each channel, `initial` and small at first (Touvron et al. 2021). Parameter: scale [C]."""

    initial: float

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.constant(self.initial), (x.shape[-1],))
        return x * scale.astype(x.dtype)


def gelu(x: Array) -> Array:
    """x times the normal distribution's share below x, by the error function (Hendrycks and Gimpel 2016)."""
    return jax.nn.gelu(x, approximate=False)


# --- local response normalisation across channels (Caffe LRN, ACROSS_CHANNELS) ---

_LRN_SIZE, _LRN_ALPHA, _LRN_BETA = 5, 1e-4, 0.75  # k = 1: the values of every network here


def _channel_window_sum(x: Array, dtype: DTypeLike) -> Array:
    """The sum over n=5 neighbouring channels, float32; of values that need no more digits than `dtype` has."""
    half = _LRN_SIZE // 2
    if forms().window_products:
        channel = np.arange(x.shape[-1])
        near = jnp.asarray(abs(channel[:, None] - channel) <= half, dtype)
        precision = lax.Precision.HIGHEST if dtype == jnp.float32 else None
        return jnp.matmul(
            x.astype(dtype), near, precision=precision, preferred_element_type=jnp.float32
        )
    window = (1,) * (x.ndim - 1) + (_LRN_SIZE,)
    padding = [(0, 0)] * (x.ndim - 1) + [(half, half)]
    return lax.reduce_window(x, np.zeros((), x.dtype)[()], lax.add, window, (1,) * x.ndim, padding)


@jax.custom_vjp
def lrn(x: Array) -> Array:
    """y = x (1 + alpha/n sum x^2)^-beta over n=5 neighbouring channels (Caffe `lrn_layer.cpp`), computed in float32."""
    return _lrn_forward(x)[0]


def _lrn_forward(x: Array) -> tuple[Array, tuple[Array, ...]]:
    powers = _lrn_powers(x)
    y = (x.astype(jnp.float32) * powers[1]).astype(x.dtype)
    return y, (x, *powers) if forms().keep_powers else (x,)


def _lrn_powers(x: Array) -> tuple[Array, Array]:
    """1 + alpha/n sum x^2, and its power of -beta, both float32."""
    wide = x.astype(jnp.float32)
    scale = 1 + (_LRN_ALPHA / _LRN_SIZE) * _channel_window_sum(wide * wide, x.dtype)
    root = lax.rsqrt(scale)
    return scale, root * jnp.sqrt(root)  # scale ** -0.75 without a call to pow


def _lrn_backward(residuals: tuple[Array, ...], g: Array) -> tuple[Array]:
    x, *kept = residuals
    if not kept:  # or else XLA would keep what the forward pass has computed
        x, g = lax.optimization_barrier((x, g))
    scale, power = kept or _lrn_powers(x)
    shared = (g * x * power / scale).astype(x.dtype)
    if not kept:  # or else XLA would write it in float32
        shared = lax.optimization_barrier(shared)
    cross = x * _channel_window_sum(shared.astype(jnp.float32), x.dtype)
    return ((g * power - (2 * _LRN_BETA * _LRN_ALPHA / _LRN_SIZE) * cross).astype(x.dtype),)


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
    # XLA's CPU backend would compute the winners anew in each of their uses, but it does not fuse a concatenation.
    cut = x.shape[0] // 2 if forms().pool_in_halves else 0
    winners = [_first_maximum(part, window, stride, pad) for part in (x[:cut], x[cut:])]
    like = jnp.zeros((*x.shape[1:3], 0), x.dtype)  # carries the static shape
    return max_pool(x, window, stride, pad), (jnp.concatenate(winners), like)


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
    """Every pixel gathers from the windows that it lies in: in blocks of stride * stride pixels, those of one block lie
    in the window that starts there and in the ones before it.
    """
    winner, like = residuals
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
    return (total[:, pad : pad + height, pad : pad + width],)


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


def row_keys(key: Array, index: Array) -> Array:
    """A key for each row of a batch, from the step's key and the row's place in the batch, int [B]."""
    return jax.vmap(partial(jax.random.fold_in, key))(index)


def dropout(x: Array, rate: float, keys: Array) -> Array:
    """Caffe's inverted dropout: zero with probability `rate` (to 2**-16), else x / (1 - rate).

    keys: [B], one a row, so that the draws depend neither on how a batch is padded nor on how it is divided.
    """
    # A fair coin needs one random bit, and drawing bits is what dropout costs: 32 values share a word.
    bits = 1 if rate == 0.5 else 16
    draws = jax.vmap(lambda key: _random_integers(key, x[0].size, bits))(keys).reshape(x.shape)
    return jnp.where(draws >= round(rate * 2**bits), x / (1 - rate), 0)


def survivors(rate: float, keys: Array) -> Array:
    """Stochastic depth (Huang et al. 2016): for each row 0 with probability `rate`, else 1 / (1 - rate), float32 [N].

    Scaled in training, as EfficientNet's and ConvNeXt's authors do, so that nothing is when images are scored. keys:
    [N], one a row.
    """
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate))(keys)
    return kept.astype(jnp.float32) / (1 - rate)


def residual(x: Array, y: Array, kept: Array | None) -> Array:
    """x + y, where y [N,...] is what a block adds to its input x; kept: factors of it [N], see `survivors`."""
    if kept is not None:
        y = y * kept.astype(y.dtype).reshape(-1, *(1,) * (y.ndim - 1))
    return x + y


def _random_integers(key: Array, count: int, bits: int) -> Array:
    """`count` integers of `bits` bits, uint32, several from each random word."""
    each = 32 // bits
    words = jax.random.bits(key, (-(-count // each), 1), jnp.uint32)
    shifts = jnp.arange(0, 32, bits, dtype=jnp.uint32)
    return ((words >> shifts) & (2**bits - 1)).reshape(-1)[:count]
