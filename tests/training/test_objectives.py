"""The sigmoid objective: its cost by hand, what is not known, and the runners that use it."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_expit

from medtune_jax.evaluation.metric import AUC, of_findings
from medtune_jax.training import Batch, StageByStage, StepByStep, WholeEpoch, fit, predict
from medtune_jax.training.objectives import SIGMOID, Target, loss
from tests.training import toy

LABELS = np.array([[1, 0, -1], [0, 1, 1], [1, 1, 0]])
OUTPUTS = np.array([[2.0, -1.0, 5.0], [0.5, 0.0, -3.0], [-2.0, 1.0, 0.3]], np.float32)


def by_hand(weights=None):
    """Over rows 0 and 2, the other being padding."""
    weights = np.ones((3, 2)) if weights is None else weights
    total = 0.0
    for row, finding in itertools.product((0, 2), range(3)):
        there, x = LABELS[row, finding], OUTPUTS[row, finding]
        if there >= 0:
            total -= weights[finding, there] * (log_expit(x) if there else log_expit(-x)) / 3
    return total / 2


@pytest.mark.parametrize("weights", [None, np.array([[0.5, 2.0], [1.0, 1.0], [0.7, 1.3]])])
def test_the_cost_is_the_mean_over_the_known_findings(weights):
    batch = Batch({}, LABELS, np.array([0, 2, -1]), weights=weights)
    outputs = jnp.asarray(OUTPUTS[[0, 2, 1]])
    got = loss(SIGMOID, outputs, Target.of(batch, jnp.array(2)))
    assert float(got) == pytest.approx(by_hand(weights), rel=1e-5)


def test_what_is_not_known_has_no_gradient():
    batch = Batch({}, LABELS, np.arange(3))

    def cost(outputs):
        return loss(SIGMOID, outputs, Target.of(batch, jnp.array(3)))

    gradient = np.asarray(jax.grad(cost)(jnp.asarray(OUTPUTS)))
    assert ((gradient == 0) == (LABELS == -1)).all()


def test_weights_make_with_and_without_weigh_the_same():
    labels = np.array([[1, 0]] + [[0, 1]] * 9 + [[0, -1]] * 10)
    weights = SIGMOID.weights(labels, 2)
    assert weights == pytest.approx(np.array([[20 / 38, 20 / 2], [10 / 2, 10 / 18]]))


@pytest.fixture(scope="module")
def data():
    """Two findings: bright, which pixels show, and one that is its opposite and not known of every third patch."""
    images, bright = toy.task()
    labels = np.stack([bright, 1 - bright], axis=1)
    labels[::3, 1] = -1
    return images, labels.astype(np.int32)


@pytest.mark.parametrize("kind", [WholeEpoch, StepByStep, StageByStage])
def test_every_runner_learns_findings(data, kind):
    images, labels = data
    inputs, metric = toy.cache(images, labels).inputs("first"), of_findings(AUC)
    runner = toy.runner(inputs, kind=kind, objective=SIGMOID)
    run = dataclasses.replace(toy.run(), weights=SIGMOID.weights(labels[:60], 2))
    settings = dataclasses.replace(toy.SETTINGS, epochs=6)
    (fitted,) = fit(runner, [run], inputs, settings, toy.CAPACITY, metric)
    assert fitted.best.validation > 0.95
    logits = predict(runner, {**run.params, **fitted.params}, inputs, run.valid, settings)
    assert metric(labels[run.valid], SIGMOID.log_odds(logits)) == fitted.best.validation
