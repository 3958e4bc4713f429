"""The compiled step: what it costs, and its loss."""

import re
from functools import partial

import jax
import numpy as np
import optax
import pytest

from medtune_jax import networks, tuning
from medtune_jax.networks.layers import row_keys
from medtune_jax.patches import Images
from medtune_jax.training import Batch, PrefixCache, Task, TrainState, scores, step
from medtune_jax.tuning import Optimizer
from tests.training import toy

NETWORK = networks.get("squeezenet", 2)


def compiled(task, params, rates, inputs, rows):
    """One step, and what it was given."""
    arguments = (
        TrainState.of(task, params),
        tuning.split(params, task.tuned)[1],
        rates,
        Batch(inputs.arrays, inputs.labels, np.asarray(rows, np.int32)),
        jax.random.key(0),
    )
    return jax.jit(partial(step, task), donate_argnums=0).lower(*arguments).compile(), arguments


def flops(first):
    """Of one step from the pixels, by the compiler's own count."""
    params = networks.initial_params(NETWORK, jax.random.key(0), "xavier", 63)
    images = Images(np.zeros((4, 63, 63, 3), np.uint8))
    inputs = PrefixCache(NETWORK, params, images, np.zeros(4, np.int32), 63).inputs(first)
    assert inputs.start == "conv1"
    depth = tuning.parse(NETWORK, first)
    task = Task(NETWORK, depth.tuned, inputs.start, inputs.take)
    rates = tuning.stage_rates(NETWORK, depth)
    cost = compiled(task, params, rates, inputs, np.zeros(4))[0].cost_analysis()
    return (cost[0] if isinstance(cost, list) else cost)["flops"]


def test_tuning_the_last_stage_costs_less_than_half_of_tuning_all():
    """Frozen stages are run forward only: no gradient, no momentum, no update."""
    last, everything = flops("conv10"), flops("conv1")
    assert 0 < last < everything / 2, f"{last / everything:.2f}"


def toy_step(first, rows, rate=0.02, **more):
    """One step of the toy from its pixels, all stages run."""
    inputs = toy.cache(*toy.task()).inputs(first)
    task = toy.task_of(inputs, first, **more)
    return compiled(task, toy.start(), toy.run(first, rate=rate).rates, inputs, rows)


def made_of_shape(program, kernel):
    """What the compiled program computes in the shape of a kernel: gradient, momentum, updated values."""
    shape = re.escape(f"f32[{','.join(map(str, kernel.shape))}]")
    found = re.findall(rf"= {shape}\S* ([\w-]+)\(", program.as_text())
    return [kind for kind in found if kind not in ("parameter", "copy", "bitcast", "transpose")]


@pytest.mark.parametrize("first", ["head", "second", "first"])
def test_the_compiled_step_holds_nothing_for_frozen_stages(first):
    program, (state, frozen, *_) = toy_step(first, np.arange(8))
    assert {name for name in toy.NETWORK.names if name not in state.params} == set(frozen)
    for stage in frozen:
        assert made_of_shape(program, frozen[stage]["kernel"]) == []
    for stage in state.params:
        assert made_of_shape(program, state.params[stage]["kernel"])
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    momentum = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    assert held == 2 * momentum
    outputs = program.memory_analysis().output_size_in_bytes
    assert held <= outputs < held + 1024, "tuned parameters, their momentum, the loss"


def test_padding_does_not_count_in_the_loss():
    labels, losses = toy.task()[1], []
    for rows in ([0, 1, 2], [0, 1, 2, -1, -1]):
        program, arguments = toy_step("first", rows)
        losses.append(float(program(*arguments)[1]))
    index = np.array([0, 1, 2, 0, 0])
    inputs = toy.cache(*toy.task()).inputs("first")
    x = inputs.take(inputs.arrays, index)
    logits = toy.NETWORK.apply(toy.start(), x, keys=row_keys(jax.random.key(0), np.arange(5)))
    want = -jax.nn.log_softmax(logits)[np.arange(3), labels[:3]].mean()
    assert losses == pytest.approx([float(want)] * 2, rel=1e-4)


def test_a_step_of_adamw_is_that_of_optax():
    """Alone, by hand: the gradient of the loss, then optax."""
    program, (state, frozen, rates, batch, key) = toy_step(
        "second", np.arange(8), 0.01, optimizer=Optimizer("adamw", weight_decay=0.1)
    )
    params = jax.tree.map(np.array, state.params)
    x = toy.NETWORK.apply({**params, **frozen}, pixels(batch.rows), stop="second")
    keys = row_keys(key, np.arange(8))

    def loss(params):
        logits = toy.NETWORK.apply(params, x, start="second", keys=keys)
        labels = batch.labels[batch.rows]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    loops = {
        "kernel": optax.adamw(0.01, weight_decay=0.1),
        "bias": optax.adamw(0.01, weight_decay=0.0),
    }
    value, gradients = jax.value_and_grad(loss)(params)
    moved, got = program(state, frozen, rates, batch, key)
    assert float(got) == pytest.approx(float(value), rel=1e-5)
    for stage, leaves in params.items():
        for kind, leaf in leaves.items():
            loop = loops[kind]
            update = loop.update(gradients[stage][kind], loop.init(leaf), leaf)[0]
            np.testing.assert_allclose(moved.params[stage][kind], leaf + update, atol=1e-5)


def pixels(rows):
    inputs = toy.cache(*toy.task()).inputs("first")
    return inputs.take(inputs.arrays, rows)


@pytest.mark.parametrize("parts", [1, 3])
def test_scores_are_the_networks_logits_and_need_nothing_else(parts):
    inputs = toy.cache(*toy.task()).inputs("first")
    task = toy.task_of(inputs, parts=parts)
    batch = Batch(inputs.arrays, inputs.labels, np.array([3, 1, 4, 1], np.int32))
    want = toy.NETWORK.apply(toy.start(), pixels(batch.rows))
    np.testing.assert_allclose(scores(task, toy.start(), batch), want, atol=1e-5)
