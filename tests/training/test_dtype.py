"""bfloat16 activations: the same result within their precision, and everything that is kept stays float32."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medtune_jax.networks.layers import lrn
from medtune_jax.networks.pooling import average_pool
from medtune_jax.training import Batch, TrainState, WholeEpoch, fit, step
from tests.training import toy

SETTINGS = dataclasses.replace(toy.SETTINGS, epochs=2)  # later, rounding grows to other paths


def trained(dtype):
    images, labels = toy.task()
    cache = toy.cache(images, labels, 2**30)
    cache.dtype = dtype
    inputs = cache.inputs("second")
    task = toy.task_of(inputs, "second", dtype=dtype)
    runs = [toy.run("second")]
    (fitted,) = fit(WholeEpoch(task), runs, inputs, SETTINGS, toy.CAPACITY, toy.auc)
    return fitted, inputs, task


@pytest.fixture(scope="module")
def narrow():
    return trained(jnp.bfloat16)


def test_the_losses_are_those_of_float32(narrow):
    wide = trained(jnp.float32)[0]
    losses = [[epoch.loss for epoch in fitted.history] for fitted in (narrow[0], wide)]
    np.testing.assert_allclose(*losses, rtol=0.01)
    assert losses[0] != losses[1]


def test_parameters_and_momentum_stay_float32_and_features_are_narrow(narrow):
    fitted, inputs, task = narrow
    kept = (fitted.params, TrainState.of(task, toy.start()))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(kept)} == {"float32"}
    assert inputs.arrays["features"].dtype == jnp.bfloat16


def test_activations_are_narrow_and_the_loss_is_not(narrow):
    _, inputs, task = narrow
    jaxpr = jax.make_jaxpr(partial(step, task))(
        TrainState.of(task, toy.start()),
        {"first": toy.start()["first"]},
        toy.run("second").rates,
        Batch(inputs.arrays, inputs.labels, np.arange(8)),
        jax.random.key(0),
    )
    text = str(jaxpr)
    products = [line for line in text.splitlines() if "= dot_general" in line]
    assert products
    assert all("bf16" in line.split("=")[0] for line in products)
    assert jaxpr.out_avals[-1].dtype == jnp.float32


@pytest.mark.parametrize("layer", [lrn, lambda x: average_pool(x, 7, 1)])
def test_long_sums_are_float32(layer):
    """Only the rounding of input and output may differ: 2^-8 each."""
    x = jnp.asarray(np.random.default_rng(0).uniform(50, 60, (1, 9, 9, 8)), jnp.bfloat16)
    narrow, wide = layer(x), layer(x.astype(jnp.float32))
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_array_equal(narrow, wide.astype(jnp.bfloat16))
