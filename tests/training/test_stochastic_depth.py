"""Stochastic depth in training: tuned and frozen stages, kept features, the forms of a step, stacks, repeats."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import linen as nn

from medtune_jax.networks.layers import Conv, Dense, residual
from medtune_jax.networks.pooling import global_average_pool
from medtune_jax.networks.stages import Stage
from medtune_jax.training import StageByStage, StepByStep, WholeEpoch, fit, predict
from tests.training import toy


class Added(nn.Module):
    @nn.compact
    def __call__(self, x, kept=None):
        return residual(x, Conv(3, 3, pad=1, std=0.3, name="conv")(x), kept)


NETWORK = dataclasses.replace(
    toy.NETWORK,
    stages=(
        Stage("first", Added(), stochastic_depth=0.3),
        Stage("second", Added(), (global_average_pool,), stochastic_depth=0.5),
        Stage("head", Dense(2, std=0.1, relu=False)),
    ),
)
FORMS = (WholeEpoch, StepByStep, StageByStage)
SETTINGS = dataclasses.replace(toy.SETTINGS, batch=16, epochs=2)  # 60 are three batches and 12


def trained(first="first", network=NETWORK, kind=WholeEpoch, seeds=(0,), budget=0, **more):
    """The fitted runs of some seeds, and a function that scores one."""
    start = toy.start(0, NETWORK)
    inputs = toy.cache(*toy.task(), budget, start, network).inputs(first)
    runner = toy.runner(inputs, first, kind, network=network, **more)
    runs = [toy.run(first, params=start, network=network, seed=seed) for seed in seeds]
    fitted = fit(runner, runs, inputs, SETTINGS, toy.CAPACITY, toy.auc)

    def scores(one):
        return predict(runner, {**start, **one.params}, inputs, np.arange(80), SETTINGS)

    return fitted, scores


def params(*arguments, **more):
    return [one.params for one in trained(*arguments, **more)[0]]


def equal(one, other, atol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol), one, other)


def differ(one, other):
    return any(
        np.abs(a - b).max() > 1e-4
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def test_it_changes_training_of_tuned_stages():
    assert differ(params(), params(network=NETWORK.at_full_depth()))


def test_frozen_stages_are_at_full_depth():
    """Those before the tuned ones, computed anew at every step; and, below, from kept features."""
    equal(params("head"), params("head", network=NETWORK.at_full_depth()))


def test_frozen_stages_behind_tuned_ones_too():
    """As when a block in the middle is tuned alone."""
    only_first = dataclasses.replace(NETWORK.stages[1], stochastic_depth=0.0)
    network = dataclasses.replace(
        NETWORK, stages=(NETWORK.stages[0], only_first, NETWORK.stages[2])
    )
    for kind in (WholeEpoch, StageByStage):
        results = []
        for one in (NETWORK, network):
            start = toy.start(0, NETWORK)
            inputs = toy.cache(*toy.task(), 0, start, one).inputs("first")
            task = dataclasses.replace(toy.task_of(inputs, network=one), tuned=("first", "head"))
            run = toy.run(params=start, network=one)
            run = dataclasses.replace(run, rates={n: run.rates[n] for n in task.tuned})
            fitted = fit(kind(task), [run], inputs, SETTINGS, toy.CAPACITY, toy.auc)
            results.append(fitted[0].params)
        equal(*results)


@pytest.mark.parametrize("first", ["second", "head"])
def test_kept_features_are_exact(first):
    equal(params(first), params(first, budget=2**30))


@pytest.mark.slow
def test_the_forms_of_a_step_agree():
    """A last batch of 12 with 4 rows of padding in each, and a batch in parts."""
    [one] = params()
    for kind in FORMS[1:]:
        equal(one, params(kind=kind)[0])
        equal(one, params(kind=kind, parts=3)[0])


def test_seeds_that_train_together_draw_as_each_alone():
    together = params(seeds=(0, 1))
    for seed, one in enumerate(together):
        equal(one, params(seeds=(seed,))[0])


@pytest.mark.parametrize("kind", FORMS)
def test_the_same_seed_gives_the_same_bytes(kind):
    one, again = params(kind=kind), params(kind=kind)
    jax.tree.map(np.testing.assert_array_equal, one, again)


def test_scores_are_of_full_depth():
    [one], scores = trained()
    _, full = trained(network=NETWORK.at_full_depth())
    np.testing.assert_array_equal(scores(one), full(one))
