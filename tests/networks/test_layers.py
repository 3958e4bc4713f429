"""Layers against lax, finite differences, plain numpy and PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from medtune_jax.networks import layers, resnet
from tests.networks.reference import draw, every_form, reference_convolution

lrn_forms = every_form("keep_powers", "window_products")


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


def test_relu6_and_its_gradient():
    x = jnp.array([-2.0, 0.0, 3.0, 6.0, 7.0, jnp.nan])
    value, backward = jax.vjp(layers.relu6, x)
    np.testing.assert_array_equal(value, [0, 0, 3, 6, 6, jnp.nan])
    np.testing.assert_array_equal(backward(jnp.full(6, 7.0))[0][:5], [0, 0, 7, 0, 0])


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


def test_a_block_with_the_stride_in_its_1x1_reads_every_second_pixel():
    """Of Keras and the paper; torchvision's has it in the 3x3, which reads all."""
    kind, x = resnet._bottleneck(4), draw(1, 6, 6, 3)
    made = resnet.Residual(kind, 2, strided=1).init(jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: 100 * leaf if leaf.ndim == 4 else leaf, made)
    every_second = resnet.Residual(kind, 1).apply(variables, x[:, ::2, ::2])
    found = resnet.Residual(kind, 2, strided=1).apply(variables, x)
    np.testing.assert_allclose(found, every_second, rtol=1e-4, atol=1e-4)
    assert np.abs(resnet.Residual(kind, 2).apply(variables, x) - every_second).max() > 0.1
