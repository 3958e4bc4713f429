"""Rates, Caffe's SGD and the partition of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medtune_jax import networks, tuning

ALEXNET = networks.get("alexnet", 2)


def two_stages():
    """A little parameter tree: a nested stage, a plain one and a head."""
    rng = np.random.default_rng(0)

    def layer(*shape):
        return {
            "kernel": jnp.asarray(rng.normal(size=shape), jnp.float32),
            "bias": jnp.asarray(rng.normal(size=shape[-1:]), jnp.float32),
        }

    return {
        "first": {"a": layer(2, 3), "b": layer(3, 3)},
        "second": layer(3, 4),
        "head": layer(4, 2),
    }


@pytest.mark.parametrize("depth", tuning.every_depth(ALEXNET))
def test_labels_cover_every_parameter_once(depth):
    params = ALEXNET.abstract_params()
    tuned = tuning.parse(ALEXNET, depth).tuned
    names = tuning.labels(params, tuned)
    assert jax.tree.structure(names) == jax.tree.structure(params)
    for stage, leaves in names.items():
        kinds = [f"{stage}/bias", f"{stage}/kernel"] if stage in tuned else ["frozen"] * 2
        assert sorted(jax.tree.leaves(leaves)) == sorted(kinds)


@pytest.mark.parametrize("depth", tuning.every_depth(ALEXNET))
def test_split_takes_every_stage_once(depth):
    params = ALEXNET.abstract_params()
    tuned = tuning.parse(ALEXNET, depth).tuned
    own, frozen = tuning.split(params, tuned)
    assert set(own) == set(tuned)
    assert not set(own) & set(frozen)
    assert set(own) | set(frozen) == set(params)


def test_rates_of_table_two():
    """Tajbakhsh et al. 2016, Table II: tuned 0.001, the new head 0.01, bias twice as much."""
    rates = tuning.group_rates(ALEXNET, tuning.parse(ALEXNET, "conv4"), ("fc8",))
    kernels = {name: rates[f"{name}/kernel"] for name in ("conv4", "conv5", "fc6", "fc7", "fc8")}
    assert kernels == {"conv4": 1e-3, "conv5": 1e-3, "fc6": 1e-3, "fc7": 1e-3, "fc8": 1e-2}
    assert all(rates[f"{name}/bias"] == 2 * rate for name, rate in kernels.items())
    assert len(rates) == 10


def test_rates_from_scratch_are_alike_everywhere():
    rates = tuning.group_rates(ALEXNET, tuning.parse(ALEXNET, "scratch"), ALEXNET.names)
    assert {rates[f"{name}/kernel"] for name in ALEXNET.names} == {1e-3}
    assert {rates[f"{name}/bias"] for name in ALEXNET.names} == {2e-3}


def test_a_stage_without_weights_learns_at_the_heads_rate():
    rates = tuning.group_rates(ALEXNET, tuning.parse(ALEXNET, "fc6"), ("fc6", "fc8"))
    assert (rates["fc6/kernel"], rates["fc7/kernel"]) == (1e-2, 1e-3)


def test_stage_decay_lowers_the_rate_away_from_the_head():
    rates = tuning.group_rates(ALEXNET, tuning.parse(ALEXNET, "fc6"), ("fc8",), stage_decay=0.5)
    got = [rates[f"{name}/kernel"] for name in ("fc6", "fc7", "fc8")]
    assert got == pytest.approx([1e-3 / 4, 1e-3 / 2, 1e-2])


def test_caffe_sgd_is_its_loop_with_a_changing_rate():
    """V <- mu V + rate (g + decay W); W <- W - V, where a rate change does not rescale V."""
    rng = np.random.default_rng(1)
    weights = rng.normal(size=5)
    velocity = np.zeros(5)
    params = jnp.asarray(weights, jnp.float32)
    state = tuning.caffe_sgd(0.1, 0.9, 0.01).init(params)
    for step in range(12):
        rate = 0.1 * 0.5 ** (step // 3)
        gradient = rng.normal(size=5)
        velocity = 0.9 * velocity + rate * (gradient + 0.01 * weights)
        weights = weights - velocity
        updates, state = tuning.caffe_sgd(rate, 0.9, 0.01).update(
            jnp.asarray(gradient, jnp.float32), state, params
        )
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params, weights, rtol=1e-4, atol=1e-5)


def test_the_optimizer_has_no_leaf_for_frozen_stages():
    params = two_stages()
    rates = {"head/kernel": 0.1, "head/bias": 0.2}
    state = tuning.optimizer(params, ("head",), rates).init(params)
    shapes = sorted(leaf.shape for leaf in jax.tree.leaves(state) if leaf.ndim)
    assert shapes == [(2,), (4, 2)]


def test_updates_stage_by_stage_are_the_update_of_all():
    params = two_stages()
    names = ("second", "head")
    rates = {"second/kernel": 0.1, "second/bias": 0.2, "head/kernel": 1.0, "head/bias": 2.0}
    transformation = tuning.optimizer(params, names, rates, 0.9, 0.5)
    tuned, frozen = tuning.split(params, names)
    state = transformation.init(params)
    whole = parts = jax.tree.map(jnp.array, (tuned, state))
    for number in range(3):
        gradients = jax.tree.map(lambda leaf: jnp.cos(leaf + number), tuned)  # noqa: B023
        whole = tuning.update(gradients, whole[1], whole[0], frozen, transformation)
        copies = jax.tree.map(jnp.array, parts)
        parts = tuning.update_by_stage(gradients, copies[1], copies[0], rates, 0.9, 0.5)
    assert jax.tree.structure(parts) == jax.tree.structure(whole)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), parts, whole)


def test_steps_leave_frozen_stages_as_they_are_and_move_the_others_by_their_own_rates():
    params = two_stages()
    tuned_names = ("second", "head")
    rates = {"second/kernel": 0.1, "second/bias": 0.2, "head/kernel": 1.0, "head/bias": 2.0}
    transformation = tuning.optimizer(params, tuned_names, rates, momentum=0.0, weight_decay=0.5)
    tuned, frozen = tuning.split(params, tuned_names)
    state = transformation.init(params)
    ones = jax.tree.map(jnp.ones_like, tuned)
    moved, state = tuning.update(ones, state, tuned, frozen, transformation)
    for name, rate in (("second", 0.1), ("head", 1.0)):
        kernel = params[name]["kernel"]
        np.testing.assert_allclose(
            moved[name]["kernel"], kernel - rate * (1 + 0.5 * kernel), rtol=1e-5, atol=1e-6
        )
        # Caffe decays no bias.
        np.testing.assert_allclose(
            moved[name]["bias"], params[name]["bias"] - 2 * rate, rtol=1e-5, atol=1e-6
        )
    assert set(moved) == set(tuned_names)
    updates, _ = transformation.update(
        jax.tree.map(jnp.ones_like, params), transformation.init(params), params
    )
    assert not any(leaf.any() for leaf in jax.tree.leaves(updates["first"]))
