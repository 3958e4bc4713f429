"""Caffe's layers against lax, finite differences, plain numpy and PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from medtune_jax.networks import layers
from tests.networks.reference import draw, every_form, reference_convolution

lrn_forms = every_form("keep_powers", "window_products")
pool_forms = every_form("pool_in_halves", "pool_windows")


def windows(x, window, stride, pad):
    """Every pooling window of a [H,W,C] map by Caffe's rule, clipped to the map: (row, column, values)."""
    height, width = x.shape[:2]

    def starts(n):
        # pooling_layer.cpp: ceil, then drop a last window that starts at or beyond n + pad
        out = int(np.ceil((n + 2 * pad - window) / stride)) + 1
        if pad and (out - 1) * stride >= n + pad:
            out -= 1
        return [i * stride - pad for i in range(out)]

    for i, top in enumerate(starts(height)):
        for j, left in enumerate(starts(width)):
            area = (min(top + window, height + pad) - top) * (
                min(left + window, width + pad) - left
            )
            part = x[max(top, 0) : top + window, max(left, 0) : left + window]
            yield i, j, part, area


def test_conv_layer_adds_the_bias_and_clips_at_zero():
    layer = layers.Conv(4, 3, pad=1, std=1.0, bias=0.5)
    x = draw(1, 5, 5, 2)
    params = layer.init(jax.random.key(0), x)["params"]
    assert params["kernel"].shape == (3, 3, 2, 4)
    np.testing.assert_array_equal(params["bias"], np.full(4, 0.5, np.float32))
    want = np.maximum(reference_convolution(x, params["kernel"], 1, 1) + 0.5, 0)
    np.testing.assert_allclose(layer.apply({"params": params}, x), want, atol=1e-5)
    assert (want == 0).any()


def test_relu_and_its_gradient():
    x = jnp.array([-2.0, 0.0, 3.0, jnp.nan, jnp.inf])
    value, backward = jax.vjp(layers.relu, x)
    np.testing.assert_array_equal(value, [0, 0, 3, jnp.nan, jnp.inf])
    np.testing.assert_array_equal(backward(jnp.full(5, 7.0))[0][:3], [0, 0, 7])
    half = jax.grad(lambda x: layers.relu(x).sum())(x.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16


def test_dense_flattens_rows_columns_channels():
    x = draw(2, 3, 4, 5)
    layer = layers.Dense(6, relu=False)
    params = layer.init(jax.random.key(0), x)["params"]
    want = np.asarray(x).reshape(2, 60) @ np.asarray(params["kernel"])
    np.testing.assert_allclose(layer.apply({"params": params}, x), want, atol=1e-5)


# --- local response normalisation ---


@lrn_forms
def test_lrn_is_the_formula():
    x = np.asarray(draw(2, 3, 3, 11)) * 30
    want = np.empty_like(x)
    for c in range(11):
        near = x[..., max(c - 2, 0) : c + 3]
        want[..., c] = x[..., c] * (1 + 1e-4 / 5 * (near**2).sum(-1)) ** -0.75
    np.testing.assert_allclose(layers.lrn(jnp.asarray(x)), want, rtol=1e-4, atol=1e-4)
    assert np.abs(want - x).max() > 0.1  # the values are large enough to be changed at all


@lrn_forms
def test_lrn_gradient_by_finite_differences():
    # A hundred: there the cross term is as large as the direct one.
    check_grads(layers.lrn, (100 * draw(1, 2, 2, 7),), order=1, modes=["rev"], eps=1.0, rtol=1e-2)


@lrn_forms
def test_lrn_against_torch():
    torch = pytest.importorskip("torch")
    x, g = 100 * draw(2, 4, 4, 9), draw(2, 4, 4, 9)
    y, back = jax.vjp(layers.lrn, x)
    other = torch.tensor(np.asarray(x).transpose(0, 3, 1, 2).copy(), requires_grad=True)
    out = torch.nn.functional.local_response_norm(other, 5, 1e-4, 0.75, 1.0)
    out.backward(torch.tensor(np.asarray(g).transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(y, out.detach().numpy().transpose(0, 2, 3, 1), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        back(g)[0], other.grad.numpy().transpose(0, 2, 3, 1), rtol=1e-3, atol=1e-3
    )


# --- pooling ---

POOLS = [(3, 2, 0, 13), (3, 2, 0, 14), (3, 2, 1, 12), (2, 2, 1, 3), (3, 1, 1, 6), (5, 3, 0, 14)]


@pool_forms
@pytest.mark.parametrize(("window", "stride", "pad", "side"), POOLS)
def test_pooling_follows_caffes_ceil_rule(window, stride, pad, side):
    x = np.asarray(draw(side, side + 1, 2)) - 5  # negative: padding must never win the maximum
    top = np.asarray(layers.max_pool(jnp.asarray(x[None]), window, stride, pad))[0]
    mean = np.asarray(layers.average_pool(jnp.asarray(x[None]), window, stride, pad))[0]
    expected = list(windows(x, window, stride, pad))
    rows, columns = expected[-1][0] + 1, expected[-1][1] + 1
    assert top.shape == mean.shape == (rows, columns, 2)
    for i, j, part, area in expected:
        np.testing.assert_allclose(top[i, j], part.max((0, 1)), rtol=1e-6)
        np.testing.assert_allclose(mean[i, j], part.sum((0, 1)) / area, rtol=1e-4)


@pool_forms
def test_ceil_pooling_keeps_the_last_column():
    """14 -> 7 with window 3 and stride 2: a floor rule would give 6 and lose the last pixel."""
    x = jnp.zeros((1, 14, 14, 1)).at[0, 13, 13, 0].set(1.0)
    y = layers.max_pool(x, 3, 2)
    assert y.shape == (1, 7, 7, 1)
    assert y[0, 6, 6, 0] == 1


@pool_forms
@pytest.mark.parametrize(("window", "stride", "pad", "side"), POOLS)
def test_max_pool_gradient_goes_to_the_maximum(window, stride, pad, side):
    x = np.asarray(draw(side, side, 2))
    y, back = jax.vjp(lambda a: layers.max_pool(a, window, stride, pad), jnp.asarray(x[None]))
    g = np.asarray(draw(*y.shape))
    want = np.zeros_like(x)
    for i, j, part, _ in windows(x, window, stride, pad):
        for c in range(2):
            row, column = np.argwhere(part[..., c] == part[..., c].max())[0]
            top, left = max(i * stride - pad, 0), max(j * stride - pad, 0)
            want[top + row, left + column, c] += g[0, i, j, c]
    np.testing.assert_allclose(back(jnp.asarray(g))[0][0], want, atol=1e-5)


@pool_forms
def test_a_tie_passes_its_gradient_to_the_first_maximum():
    gradient = jax.grad(lambda x: layers.max_pool(x, 3, 2).sum())(jnp.zeros((1, 3, 3, 1)))
    want = np.zeros((1, 3, 3, 1))
    want[0, 0, 0, 0] = 1
    np.testing.assert_array_equal(gradient, want)


@pool_forms
def test_max_pool_against_torch():
    torch = pytest.importorskip("torch")
    x = draw(2, 14, 13, 3)
    y, back = jax.vjp(lambda a: layers.max_pool(a, 3, 2), x)
    g = draw(*y.shape)
    other = torch.tensor(np.asarray(x).transpose(0, 3, 1, 2).copy(), requires_grad=True)
    out = torch.nn.functional.max_pool2d(other, 3, 2, ceil_mode=True)
    out.backward(torch.tensor(np.asarray(g).transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(y, out.detach().numpy().transpose(0, 2, 3, 1), atol=1e-6)
    np.testing.assert_allclose(back(g)[0], other.grad.numpy().transpose(0, 2, 3, 1), atol=1e-3)


@pytest.mark.parametrize("rate", [0.5, 0.4, 0.7])
def test_dropout_drops_each_value_by_itself(rate):
    x = jnp.ones((200, 1003))
    y = np.asarray(layers.dropout(x, rate, layers.row_keys(jax.random.key(0), np.arange(200))))
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - rate)], rtol=1e-6)
    dropped = (y == 0) - rate
    error = np.sqrt(rate * (1 - rate) / y.size)  # of a mean, when draws are independent
    assert abs(dropped.mean()) < 4 * error
    for distance in (1, 2, 16, 31, 32):  # values that share a random word, or follow it
        pairs = dropped[:, distance:] * dropped[:, :-distance]
        assert abs(pairs.mean()) < 5 * rate * (1 - rate) / np.sqrt(pairs.size)
    assert abs((dropped[1:] * dropped[:-1]).mean()) < 5 * rate * (1 - rate) / np.sqrt(y.size)
