"""Products, GELU and max pooling whose gradients are ours, against JAX's own."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medtune_jax.networks.forms import CPU, traced_with
from medtune_jax.networks.layers import gelu
from medtune_jax.networks.pooling import max_pool
from medtune_jax.networks.products import product

RNG = np.random.default_rng(0)


def drawn(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"),
    [((40,), 6, 3), ((2, 5, 4), 6, 3), ((2, 3), 4, 12), ((3,), 40, 2), ((2, 3, 4), 5, 5)],
    ids=["many rows", "a map of them", "to more", "few rows to few", "to as many"],
)
def test_a_product_and_its_gradients(rows, inputs, outputs):
    x, weights, g = drawn(*rows, inputs), drawn(inputs, outputs), drawn(*rows, outputs)
    with traced_with(CPU):
        y, backward = jax.vjp(product, x, weights)
    wanted, reference = jax.vjp(jnp.matmul, x, weights)
    np.testing.assert_allclose(y, wanted, rtol=1e-6)
    for ours, theirs in zip(backward(g), reference(g), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gelu_keeps_its_digits_where_it_is_near_0(dtype):
    x = jnp.linspace(-6, 6, 401).astype(dtype)
    y, backward = jax.vjp(gelu, x)
    wide = x.astype(jnp.float32)
    wanted, reference = jax.vjp(lambda x: jax.nn.gelu(x, approximate=False), wide)
    close = {"rtol": 1e-2 if dtype == jnp.bfloat16 else 1e-5, "atol": 2e-6}
    np.testing.assert_allclose(y.astype(jnp.float32), wanted, **close)
    (slope,) = backward(jnp.ones_like(x))
    np.testing.assert_allclose(
        slope.astype(jnp.float32), reference(jnp.ones_like(wide))[0], **close
    )


@pytest.mark.parametrize(
    ("side", "window", "stride", "pad"), [(7, 3, 2, 0), (8, 3, 2, 0), (6, 3, 1, 1), (6, 2, 2, 0)]
)
def test_both_forms_of_a_pools_gradient_agree(side, window, stride, pad):
    """Ties among them: ReLU leaves many zeros."""
    x = jnp.maximum(drawn(3, side, side, 4), 0)

    def slopes(by_taps):
        with traced_with(replace(CPU, pool_by_taps=by_taps)):
            y, backward = jax.vjp(lambda x: max_pool(x, window, stride, pad), x)
            return backward(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))[0]

    np.testing.assert_allclose(slopes(True), slopes(False), atol=1e-6)
