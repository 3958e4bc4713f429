"""The compiled step: what it costs, and its loss."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medtune_jax import networks, tuning
from medtune_jax.networks.layers import row_keys
from medtune_jax.patches import Images
from medtune_jax.training import Program, Work
from medtune_jax.training.features import Features
from tests.training import toy

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
    inputs = Features(NETWORK, params, images, np.zeros(4, np.int32), 63).inputs(first)
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


def compiled_step(first):
    """One step of the toy from its pixels, all stages run."""
    images, labels = toy.task()
    inputs = toy.features(images, labels).inputs(first)
    program = toy.program(inputs, first)
    own = program.initial_state(toy.start())
    arguments = (*own, toy.run(first).rates, inputs.arrays, inputs.labels)
    more = (np.arange(8, dtype=np.int32), jax.random.key(0), np.int32(0))
    return program._one_step.lower(*arguments, *more).compile(), own


def made_of_shape(compiled, kernel):
    """What the compiled program computes in the shape of a kernel: gradient, momentum, updated values."""
    shape = re.escape(f"f32[{','.join(map(str, kernel.shape))}]")
    found = re.findall(rf"= {shape}\S* ([\w-]+)\(", compiled.as_text())
    return [kind for kind in found if kind not in ("parameter", "copy", "bitcast", "transpose")]


@pytest.mark.parametrize("first", ["head", "second", "first"])
def test_the_compiled_step_holds_nothing_for_frozen_stages(first):
    compiled, (tuned, state, frozen) = compiled_step(first)
    assert {name for name in toy.NETWORK.names if name not in tuned} == set(frozen)
    for stage in frozen:
        assert made_of_shape(compiled, frozen[stage]["kernel"]) == []
    for stage in tuned:
        assert made_of_shape(compiled, tuned[stage]["kernel"])
    held = sum(leaf.nbytes for leaf in jax.tree.leaves((tuned, state)))
    momentum = sum(leaf.nbytes for leaf in jax.tree.leaves(tuned))
    assert held == 2 * momentum
    outputs = compiled.memory_analysis().output_size_in_bytes
    assert held <= outputs < held + 1024, "tuned parameters, their momentum, the loss"


def test_the_state_begins_as_the_optimizer_would_begin_it():
    params, run = toy.start(), toy.run("second")
    program = toy.program(toy.features(*toy.task()).inputs("second"), "second")
    want = tuning.optimizer(params, program.tuned, run.rates).init(params)
    jax.tree.map(np.testing.assert_array_equal, program.initial_state(params)[1], want)


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
    index = np.array([0, 1, 2, 0, 0])
    x = inputs.fetch(inputs.arrays, index)
    key = jax.random.fold_in(jax.random.key(0), 0)
    logits = toy.NETWORK.apply(toy.start(), x, keys=row_keys(key, np.arange(5)))
    want = -jax.nn.log_softmax(logits)[np.arange(3), labels[:3]].mean()
    assert losses == pytest.approx([float(want)] * 2, rel=1e-4)
