"""Which networks have stochastic depth, what it computes, and where it is off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medtune_jax import networks
from medtune_jax.networks.layers import residual, row_keys, survivors

SIDE, ROWS = 32, 4


def rates(name):
    stages = networks.get(name).stages
    return {stage.name: stage.stochastic_depth for stage in stages if stage.stochastic_depth}


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_lite0"])
def test_efficientnet_has_it_in_blocks_that_add_to_their_input(name):
    """0.2 n / 16 in block n of 16: a survival of 0.8 past the last."""
    expected = {"mbconv2_1": 2, "mbconv3_1": 4, "mbconv4_1": 6, "mbconv4_2": 7, "mbconv5_1": 9}
    expected |= {"mbconv5_2": 10, "mbconv6_1": 12, "mbconv6_2": 13, "mbconv6_3": 14}
    assert rates(name) == pytest.approx({stage: 0.2 * n / 16 for stage, n in expected.items()})


def test_convnext_has_it_in_every_block_but_the_first():
    found = rates("convnext_tiny")
    assert list(found.values()) == pytest.approx([0.1 * n / 17 for n in range(1, 18)])
    assert "stage1_0" not in found and not any(name.startswith("downsample") for name in found)


@pytest.mark.parametrize("name", ["resnet50", "vit_small_patch16", "mobilenet_v1", "squeezenet"])
def test_others_have_none(name):
    assert networks.get(name).stochastic_depth == 0
    assert networks.get(name).at_full_depth() == networks.get(name)


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_a_row_is_kept_or_left_out_as_a_whole_and_the_mean_stays(rate):
    count = 4000
    kept = np.asarray(survivors(rate, row_keys(jax.random.key(0), np.arange(count))))
    np.testing.assert_allclose(np.unique(kept), [0, 1 / (1 - rate)], rtol=1e-6)
    error = np.sqrt(rate / (1 - rate) / count)  # of the mean of independent draws
    assert abs(kept.mean() - 1) < 4 * error
    x, y = np.ones((count, 2, 3)), np.full((count, 2, 3), 5.0)
    added = np.asarray(residual(jnp.asarray(x), jnp.asarray(y), jnp.asarray(kept)))
    np.testing.assert_allclose(added, 1 + 5 * kept[:, None, None] * x, rtol=1e-6)


@pytest.fixture(scope="module", params=["efficientnet_lite0", "convnext_tiny"])
def block(request):
    """(network, its last block that is passed by, parameters under which that changes its input, such an input)."""
    network = networks.get(request.param, 2)
    name = list(rates(request.param))[-2]
    shape = network.inputs(SIDE)[name][1]
    params = networks.initial_params(network, jax.random.key(0), "msra", SIDE)[name]
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    return network, name, {name: params}, jax.random.normal(jax.random.key(1), (ROWS, *shape))


def through(block, keys=None, tuned=()):
    network, name, params, x = block
    after = network.names[network.index(name) + 1]
    return np.asarray(network.apply(params, x, name, after, keys, tuned=tuned))


def keys_with_both(network, name):
    """Keys of rows of which some pass the stage by, and some do not."""
    draws = (row_keys(jax.random.key(n), np.arange(ROWS)) for n in range(200))
    stage = network.stages[network.index(name)]
    position = network.index(name)

    def kept(keys):
        folded = jax.vmap(lambda key: jax.random.fold_in(key, 2000 + position))(keys)
        return np.asarray(survivors(stage.stochastic_depth, folded))

    return next((keys, k) for keys in draws if 0 < (k := kept(keys)).astype(bool).sum() < ROWS)


def test_tuned_stages_are_passed_by_and_scaled(block):
    network, name, _, x = block
    keys, kept = keys_with_both(network, name)
    whole, drawn = through(block), through(block, keys, tuned=(name,))
    for row in range(ROWS):
        expected = x[row] + kept[row] * (whole[row] - x[row])
        np.testing.assert_allclose(drawn[row], expected, rtol=1e-4, atol=1e-4)
        assert kept[row] or np.array_equal(drawn[row], x[row])


def test_off_where_frozen_where_scored_and_where_switched_off(block):
    network, name, params, x = block
    keys, _ = keys_with_both(network, name)
    whole = through(block)
    np.testing.assert_array_equal(through(block, keys), whole)
    off = (network.at_full_depth(), name, params, x)
    np.testing.assert_array_equal(through(off, keys, tuned=(name,)), whole)
