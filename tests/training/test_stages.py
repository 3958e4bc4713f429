"""Gradients stage by stage against those of the whole loss at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medtune_jax import compilation, networks, tuning
from medtune_jax.networks.layers import Conv, Dense, dropout, row_keys
from medtune_jax.networks.pooling import max_pool
from medtune_jax.networks.stages import Auxiliary, Network, Preprocessing, Stage
from medtune_jax.training import Batch, Task, stages
from medtune_jax.training.objectives import SOFTMAX, Target, loss

ROWS, SIZE = 6, 9


class Side(nn.Module):
    @nn.compact
    def __call__(self, x, keys=None):
        return Dense(3, std=0.3, relu=False)(x if keys is None else dropout(x, 0.5, keys))


NETWORK = Network(
    name="sided",
    classes=3,
    stages=(
        Stage("one", Conv(4, 3, std=0.3), (max_pool,)),
        Stage("two", Conv(5, 3, std=0.3), dropout=0.3),
        Stage("three", Dense(7, std=0.3), dropout=0.5),
        Stage("head", Dense(3, std=0.3, relu=False)),
    ),
    preprocessing=Preprocessing(SIZE),
    initializer="gaussian",
    auxiliary=(
        Auxiliary("one", Stage("side1", Side()), 0.3),
        Auxiliary("two", Stage("side2", Side()), 0.4),
    ),
)


def batch(start):
    """What `start` reads, keys, and a target with a row of padding."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(ROWS, SIZE, SIZE, 3)), jnp.float32)
    index = jnp.array([3, 1, 0, 2, 4, -1])
    weights = jnp.array([0.5, 2.0, 1.5])
    target = Target.of(Batch({}, jnp.array([0, 1, 2, 1, 0]), index, weights=weights), jnp.array(5))
    x = NETWORK.apply(params(), x, stop=start) if start != "one" else x
    return x, row_keys(jax.random.key(1), jnp.arange(ROWS)), target


def params(sides=False):
    return networks.initial_params(NETWORK, jax.random.key(0), "xavier", SIZE, auxiliary=sides)


def task(start):
    return Task(NETWORK, (), start, lambda arrays, rows: rows)


def by_whole(tuned, frozen, x, start, keys, target):
    def of_all(tuned):
        outputs = NETWORK.training_outputs({**tuned, **frozen}, x, start, keys)
        return sum(weight * loss(SOFTMAX, scores, target) for weight, scores in outputs)

    return jax.jit(jax.value_and_grad(of_all))(tuned)


@pytest.mark.parametrize(
    ("first", "start", "sides"),
    [
        ("one", "one", True),
        ("one", "one", False),
        ("two", "two", True),  # the first side head has no input
        ("two", "one", True),  # the first side head follows a frozen stage
        ("three", "two", False),  # a frozen stage with dropout
        ("head", "two", False),
        ("head", "head", False),
    ],
)
def test_the_same_as_of_the_whole_loss(first, start, sides):
    names = tuning.parse(NETWORK, first).tuned
    read = NETWORK.names[NETWORK.index(start) :]
    present = [s.stage.name for s in NETWORK.auxiliary if sides and s.after in read]
    everything = params(sides)
    wanted = {name: everything[name] for name in (*NETWORK.names, *present)}
    tuned, frozen = tuning.split(wanted, (*names, *present))
    x, keys, target = batch(start)
    got = stages.loss_and_gradients(task(start), tuned, frozen, x, keys, target)
    want = by_whole(tuned, frozen, x, start, keys, target)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, want)
    assert all(np.abs(leaf).max() > 1e-4 for leaf in jax.tree.leaves(got))


@pytest.mark.parametrize("names", [("one", "head"), ("two", "head"), ("one", "three")])
def test_gradients_pass_through_stages_that_are_frozen_behind_a_tuned_one(names):
    tuned, frozen = tuning.split(params(), names)
    x, keys, target = batch(names[0])
    got = stages.loss_and_gradients(task(names[0]), tuned, frozen, x, keys, target)
    want = by_whole(tuned, frozen, x, names[0], keys, target)
    assert set(got[1]) == set(names)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, want)
    assert all(np.abs(leaf).max() > 1e-4 for leaf in jax.tree.leaves(got))


def test_a_further_depth_compiles_only_its_first_stage():
    parts = {stages._forward: (0,), stages._backward: (0, 1)}
    programs = [
        compilation.compiled(part, static=static, plain_loops=False)
        for part, static in parts.items()
    ]

    def train(first):
        tuned, frozen = tuning.split(params(), tuning.parse(NETWORK, first).tuned)
        x, keys, target = batch(first)
        for _ in range(2):
            stages.loss_and_gradients(task(first), tuned, frozen, x, keys, target)
        return np.array([program._cache_size() for program in programs])

    jax.clear_caches()
    one, two = train("three"), train("two")
    assert one.tolist() == [2, 2]
    # Forward of the new stage; backward of it and, now with a gradient for its input, of the one that was first.
    assert (two - one).tolist() == [1, 2]
    assert train("three").tolist() == two.tolist()


def test_what_a_stage_keeps_is_not_its_inputs():
    stage, own = NETWORK.stages[0], params()["one"]
    x, keys, _ = batch("one")
    y, residuals = compilation.compiled(stages._forward, static=(0,))(stage, own, x, keys, 0)
    kept = [array.shape for array in residuals.arrays]
    assert kept and x.shape not in kept and own["kernel"].shape not in kept
    gradients = residuals.backward((own, x))(jnp.ones_like(y))
    want = jax.vjp(stage, own, x)[1](jnp.ones_like(y))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), gradients, want)
