"""Layers as JAX functions and small Flax modules (NHWC, HWIO); pooling has a file of its own.

Convolution, inner product, LRN and dropout mean what they mean in BVLC Caffe (`src/caffe/layers/*.cpp`); the forms
are the ones that XLA runs fast. Arithmetic follows the dtype of the activations: parameters stay float32 and are cast
on use.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax
from jax.typing import DTypeLike

from medtune_jax.networks.convolutions import convolution
from medtune_jax.networks.forms import forms
from medtune_jax.networks.products import product


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


@jax.custom_vjp
def relu6(x: Array) -> Array:
    """min(max(x, 0), 6) (Howard et al. 2017), which keeps as much as `relu`; no gradient passes at 0 and at 6."""
    return jnp.clip(x, 0, 6)


def _relu6_forward(x: Array) -> tuple[Array, Array]:
    y = relu6(x)
    return y, (y != 0) & (y != 6)


relu6.defvjp(_relu6_forward, lambda active, g: (jnp.where(active, g, 0),))


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
        x = product(x, kernel.astype(x.dtype)) + bias.astype(x.dtype)
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
        y = product(x, kernel.astype(x.dtype)) + bias.astype(x.dtype)
        if not self.has_variable("params", "down"):
            return y
        down: Array = self.get_variable("params", "down")
        up: Array = self.get_variable("params", "up")
        return y + product(product(x, down.astype(x.dtype)), up.astype(x.dtype))


class LayerScale(nn.Module):
    """A factor for each channel, `initial` and small at first (Touvron et al. 2021). Parameter: scale [C]."""

    initial: float

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.constant(self.initial), (x.shape[-1],))
        return x * scale.astype(x.dtype)


@jax.custom_vjp
def gelu(x: Array) -> Array:
    """x times the normal distribution's share below x, by the error function (Hendrycks and Gimpel 2016).

    Its gradient is computed from x alone: what JAX would keep for it is four times as much as x.
    """
    wide = _wide(x)
    return (wide * _share_below(wide)).astype(x.dtype)


def _wide(x: Array) -> Array:
    """One plus the error function of a negative number has few digits left."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _share_below(x: Array) -> Array:
    return 0.5 * (1 + lax.erf(x * 0.5**0.5))


def _gelu_backward(x: Array, g: Array) -> tuple[Array]:
    wide = _wide(x)
    density = jnp.exp(-0.5 * wide * wide) * (2 * np.pi) ** -0.5
    return ((_wide(g) * (_share_below(wide) + wide * density)).astype(x.dtype),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)


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


# --- what training drops, of rows, units and blocks ---


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
