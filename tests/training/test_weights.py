"""Class weights: an argument of every runner's step; at 1:200 the network learns the balanced mix."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy.special import logit

from medtune_jax.patches import Images
from medtune_jax.training import StageByStage, StepByStep, WholeEpoch, fit, predict
from medtune_jax.training.objectives import SOFTMAX
from tests.training import programs, toy

SETTINGS = dataclasses.replace(toy.SETTINGS, epochs=2)
KINDS = (WholeEpoch, StepByStep, StageByStage)


@pytest.fixture(scope="module")
def data():
    return toy.task()


def weighted(*weights, **more):
    return dataclasses.replace(toy.run(**more), weights=np.array(weights, np.float32))


def fitted(data, run, kind, first="first"):
    inputs = toy.cache(*data).inputs(first)
    return fit(toy.runner(inputs, first, kind), [run], inputs, SETTINGS, toy.CAPACITY, toy.auc)[0]


def test_weights_are_inverse_to_the_frequency_and_of_mean_1():
    labels = np.repeat([0, 1, 2], [200, 1, 19])
    weights = SOFTMAX.weights(labels, 3)
    assert weights == pytest.approx([220 / 600, 220 / 3, 220 / 57])
    assert weights[labels].mean() == pytest.approx(1)


def test_runners_agree_and_weights_matter(data):
    one = weighted(0.25, 1.75)
    losses = [[e.loss for e in fitted(data, one, kind).history] for kind in KINDS]
    np.testing.assert_allclose(losses[1:], losses[:1] * 2, rtol=1e-4)
    plain = [e.loss for e in fitted(data, toy.run(), WholeEpoch).history]
    assert np.abs(np.array(plain) - losses[0]).max() > 1e-3


def test_weights_of_1_are_no_weights(data):
    one, none = (fitted(data, run, WholeEpoch) for run in (weighted(1, 1), toy.run()))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), one.params, none.params)


@pytest.mark.parametrize("kind", KINDS)
def test_other_weights_compile_nothing(data, kind):
    inputs = toy.cache(*data).inputs("first")
    runner = toy.runner(inputs, kind=kind)
    jax.clear_caches()
    counts = []
    with programs.compiled() as names:
        for weights in ((0.5, 1.5), (0.1, 1.9), (1.0, 1.0)):
            fit(runner, [weighted(*weights)], inputs, SETTINGS, toy.CAPACITY, toy.auc)
            counts.append(len(names))
    assert counts[0] > 0 and counts[1:] == counts[:1] * 2


def test_a_stack_has_the_weights_of_each_run(data):
    runs = [weighted(0.2, 1.8), weighted(1.8, 0.2, seed=1)]
    inputs = toy.cache(*data).inputs("first")
    together = fit(toy.runner(inputs), runs, inputs, SETTINGS, toy.CAPACITY, toy.auc)
    for run, joined in zip(runs, together, strict=True):
        alone = fitted(data, run, WholeEpoch)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), joined.params, alone.params
        )


@pytest.mark.parametrize(("balanced", "share"), [(True, 1 / 2), (False, 1 / 201)])
def test_what_a_network_that_sees_nothing_says_at_1_to_200(balanced, share):
    """All patches look alike, so the best probability is the share of positives in the mix that counts."""
    labels = (np.arange(2010) % 201 == 0).astype(np.int32)
    images = Images(np.full((2010, toy.SIZE, toy.SIZE, 3), 120, np.uint8))
    settings = dataclasses.replace(toy.SETTINGS, batch=128, epochs=12, rate_decay=0.7, patience=12)
    capacity = type(toy.CAPACITY).of(2010, 20, settings)
    run = dataclasses.replace(
        toy.run("head", rate=0.05, index=np.arange(2010)),
        weights=SOFTMAX.weights(labels, 2) if balanced else None,
    )
    inputs = toy.cache(images, labels, 2**30).inputs("head")
    runner = toy.runner(inputs, "head")
    later = iter(range(100))  # the last epoch is kept
    (best,) = fit(runner, [run], inputs, settings, capacity, lambda *_: next(later))
    logits = predict(runner, {**run.params, **best.params}, inputs, np.arange(1), settings)
    assert SOFTMAX.log_odds(logits)[0, 1] == pytest.approx(logit(share), abs=0.3)
