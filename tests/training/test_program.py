"""The compiled step: what it costs, and its loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from medtune_jax import networks, tuning
from medtune_jax.patches import Images
from medtune_jax.training import Program, Work
from medtune_jax.training.features import Features

NETWORK = networks.get("squeezenet", 2)


def work(order, score=((0,),)):
    return Work(
        np.asarray(order, np.int32),
        np.int32(len(order)),
        np.asarray(score, np.int32),
        np.int32(0),
        jax.random.key(0),
    )


def flops(first):
    """Of one step from the pixels, by the compiler's own count (a loop's body counts once)."""
    params = networks.initial_params(NETWORK, jax.random.key(0), "xavier", 63)
    images = Images(np.zeros((4, 63, 63, 3), np.uint8))
    inputs = Features(NETWORK, params, images, np.zeros(4, np.int32), 63, budget=0).inputs(first)
    assert inputs.start == "conv1"
    depth = tuning.parse(NETWORK, first)
    program = Program(NETWORK, depth.tuned, inputs.start, inputs.fetch)
    rates = tuning.group_rates(NETWORK, depth)
    lowered = program._epoch.lower(
        *program.initial_state(params)[:2],
        program.initial_state(params)[2],
        rates,
        inputs.arrays,
        inputs.labels,
        work(np.zeros((1, 4))),
    )
    cost = lowered.compile().cost_analysis()
    return (cost[0] if isinstance(cost, list) else cost)["flops"]


def test_tuning_the_last_stage_costs_less_than_half_of_tuning_all():
    """Frozen stages are run forward only: no gradient, no momentum, no update."""
    last, everything = flops("conv10"), flops("conv1")
    assert 0 < last < everything / 2, f"{last / everything:.2f}"


def test_padding_does_not_count_in_the_loss():
    images, labels = toy.task()
    inputs = toy.features(images, labels).inputs("first")
    program = toy.program(inputs)
    losses = []
    for order in ([[0, 1, 2]], [[0, 1, 2, -1, -1]]):
        tuned, state, frozen = jax.tree.map(jnp.array, program.initial_state(toy.start()))
        zero = dict.fromkeys(toy.run().rates, 0.0)
        out = program.advance(tuned, state, frozen, zero, inputs.arrays, inputs.labels, work(order))
        losses.append(float(out[2][0]))
    # Dropout draws differ with the batch's shape, so only the padded one is checked against its definition.
    index = np.array([0, 1, 2, 0, 0])
    x = inputs.fetch(inputs.arrays, index)
    key = jax.random.fold_in(jax.random.key(0), 0)
    logits = toy.NETWORK.apply(toy.start(), x, key=key)
    want = -jax.nn.log_softmax(logits)[np.arange(3), labels[:3]].mean()
    assert losses[1] == pytest.approx(float(want), rel=1e-4)
    assert np.isfinite(losses[0])
