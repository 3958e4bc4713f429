"""Batch norm and layer norm against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medtune_jax.networks.layers import Conv
from medtune_jax.networks.norms import BatchNorm, LayerNorm
from medtune_jax.networks.stages import Stage
from medtune_jax.tuning import Optimizer, StageRates
from medtune_jax.tuning.optimizer import update_stage
from medtune_jax.weights.formats.layer import Layer
from medtune_jax.weights.norms import fold

EPSILON = 1e-3


@pytest.fixture
def norm():
    rng = np.random.default_rng(0)
    values = {"scale": rng.normal(1, 0.3, 4), "bias": rng.normal(size=4)}
    values |= {"mean": rng.normal(size=4), "variance": rng.uniform(0.5, 2, 4)}
    x = rng.normal(2, 3, (6, 3, 5, 4)).astype(np.float32)
    return {name: value.astype(np.float32) for name, value in values.items()}, x


def normalised(x, mean, variance, params):
    return (x - mean) / np.sqrt(variance + EPSILON) * params["scale"] + params["bias"]


def test_stored_statistics(norm):
    params, x = norm
    y = BatchNorm(EPSILON).apply({"params": params}, x)
    np.testing.assert_allclose(
        y, normalised(x, params["mean"], params["variance"], params), atol=1e-5
    )


def test_statistics_of_the_rows_that_count(norm):
    params, x = norm
    counts = np.array([1, 1, 0, 1, 0, 0], np.float32)
    x[counts == 0] = 1e4  # padding holds any image
    y = BatchNorm(EPSILON).apply({"params": params}, x, counts)
    real = x[counts == 1]
    expected = normalised(x, real.mean((0, 1, 2)), real.var((0, 1, 2)), params)
    np.testing.assert_allclose(y[counts == 1], expected[counts == 1], atol=1e-5)


def test_a_single_row_is_normalised_by_the_stored_statistics(norm):
    params, x = norm
    counts = np.eye(6, dtype=np.float32)[0]

    def total(params, counts):
        return jnp.sum(jnp.sin(BatchNorm(EPSILON).apply({"params": params}, x[:1], counts)))

    stored, alone = jax.grad(total)(params, None), jax.grad(total)(params, counts[:1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), alone, stored)
    assert not np.asarray(alone["mean"]).any() and not np.asarray(alone["variance"]).any()


@pytest.mark.parametrize("optimizer", ["caffe_sgd", "adamw"])
@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_averages_move_a_tenth_of_the_way_whatever_rate_and_optimizer(norm, optimizer, rate):
    params, x = norm
    kind = Optimizer(optimizer, weight_decay=0.1)
    state = kind.of_stage(StageRates(rate, rate)).init(params)

    def total(params):
        return jnp.sum(1e3 * BatchNorm(EPSILON).apply({"params": params}, x, jnp.ones(6)))

    moved, _ = update_stage(kind, params, state, StageRates(rate, rate), jax.grad(total)(params))
    seen = {"mean": x.mean((0, 1, 2)), "variance": x.var((0, 1, 2), ddof=1)}
    for name, value in seen.items():
        np.testing.assert_allclose(moved[name], 0.9 * params[name] + 0.1 * value, rtol=1e-5)


def test_stored_statistics_do_not_move(norm):
    params, x = norm
    gradients = jax.grad(lambda p: BatchNorm(EPSILON).apply({"params": p}, x).sum())(params)
    assert not np.asarray(gradients["mean"]).any() and not np.asarray(gradients["variance"]).any()
    assert np.asarray(gradients["scale"]).all()


def test_gradients_through_the_statistics_of_the_batch(norm):
    """Against finite differences of float64 NumPy."""
    params, x = norm
    weights = np.random.default_rng(1).normal(size=x.shape)

    def by_numpy(x):
        return (weights * normalised(x, x.mean((0, 1, 2)), x.var((0, 1, 2)), params)).sum()

    def ours(x):
        return (weights * BatchNorm(EPSILON).apply({"params": params}, x, jnp.ones(6))).sum()

    gradient, wide, step = np.asarray(jax.grad(ours)(x)), x.astype(float), 1e-4
    for place in ((0, 0, 0, 0), (3, 1, 4, 2), (5, 2, 2, 3)):
        nudge = np.zeros_like(wide)
        nudge[place] = step
        expected = (by_numpy(wide + nudge) - by_numpy(wide - nudge)) / (2 * step)
        np.testing.assert_allclose(gradient[place], expected, atol=1e-3)


def test_it_is_the_convolution_that_it_folds_into(norm):
    params, _ = norm
    rng = np.random.default_rng(2)
    kernel = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    x = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    statistics = {name: params[name] for name in ("mean", "variance")}
    layer = Layer("bn", "batch_norm", params["scale"], params["bias"], extra=statistics)
    folded = fold(Layer("conv", "convolution", kernel), layer, EPSILON)
    ours = kernel.transpose(2, 3, 1, 0)
    plain = Conv(4, 3, bias=None, relu=False).apply({"params": {"kernel": ours}}, x)
    y = BatchNorm(EPSILON).apply({"params": params}, plain)
    one = {"kernel": folded.weights.transpose(2, 3, 1, 0), "bias": folded.bias}
    np.testing.assert_allclose(y, Conv(4, 3, relu=False).apply({"params": one}, x), atol=1e-4)


def test_layer_norm():
    rng = np.random.default_rng(0)
    x, scale, bias = rng.normal(3, 2, (2, 5, 8)), rng.normal(size=8), rng.normal(size=8)
    y = LayerNorm().apply({"params": {"scale": scale, "bias": bias}}, jnp.asarray(x, jnp.float32))
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    expected = (x - mean) / np.sqrt(variance + 1e-6) * scale + bias
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_a_stage_without_batch_norms_takes_no_counts():
    stage = Stage("conv1", Conv(4, 3))
    params = stage.module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    x = jnp.ones((2, 8, 8, 3))
    assert (stage(params, x, counts=jnp.ones(2)) == stage(params, x)).all()
