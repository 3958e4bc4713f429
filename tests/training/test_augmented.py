"""Augmentation in the step: of (seed, epoch, patch) and nothing else, and of training patches only."""

import dataclasses

import jax
import numpy as np
import pytest

from medtune_jax.patches import Augment, Views
from medtune_jax.training import (
    EpochPlan,
    Memory,
    StageByStage,
    StepByStep,
    WholeEpoch,
    fit,
    predict,
)
from tests.training import toy

SETTINGS = dataclasses.replace(toy.SETTINGS, epochs=2)
AUGMENT = Augment("both", 20.0, 0.2, 0.1, 0.1, 0.1)


@pytest.fixture(scope="module")
def data():
    return toy.task()


def cache(data, memory=None):
    return dataclasses.replace(toy.cache(*data, memory or Memory()), augment=AUGMENT)


def task(made):
    return toy.task_of(made.inputs("first"), augmented=made.augmented)


def read(made, rows, epoch=1):
    """What the first stage reads of a batch of training patches."""
    inputs, one = made.inputs("first"), task(made)
    draw = one.draw(jax.random.fold_in(jax.random.key(0), epoch))
    (batch,) = inputs.batches(np.array([rows], np.int32))
    return np.asarray(one.inputs(batch._replace(draw=draw)))


def test_the_same_patch_is_changed_alike_wherever_it_stands(data):
    made = cache(data)
    found = read(made, [7, 3, 50, 3])
    np.testing.assert_array_equal(found[1], found[3])
    moved = [found[1], *read(made, [0]), found[0]]
    np.testing.assert_allclose(read(made, [3, -1, 7]), moved, atol=1e-3)
    assert np.abs(read(made, [3], epoch=2)[0] - found[1]).mean() > 0.1


def test_streamed_patches_are_changed_as_those_on_the_device(data):
    streamed = cache(data, Memory(patches=0))
    found = read(streamed, [7, 3, 50, -1])[:3]
    np.testing.assert_allclose(found, read(cache(data), [7, 3, 50]), atol=1e-3)


def test_scores_are_of_patches_as_they_are(data):
    made = cache(data)
    inputs, rows = made.inputs("first"), np.arange(6, dtype=np.int32)
    (batch,) = inputs.batches(rows[None])
    plain = np.asarray(toy.task_of(inputs).inputs(batch))
    np.testing.assert_array_equal(task(made).inputs(batch), plain)
    assert np.abs(read(made, rows) - plain).mean() > 0.1
    params = toy.start()
    logits = [
        predict(WholeEpoch(one), params, inputs, rows, SETTINGS)
        for one in (task(made), toy.task_of(inputs))
    ]
    np.testing.assert_array_equal(*logits)


def trained(made, kind, divided=False):
    inputs = made.inputs("first")
    runner = kind(task(made))
    if divided:
        runner.divide()
    (fitted,) = fit(runner, [toy.run("first")], inputs, SETTINGS, toy.CAPACITY, toy.auc)
    assert fitted.failure is None
    return fitted


@pytest.mark.parametrize(
    ("kind", "memory", "divided"),
    [
        (StepByStep, Memory(), False),
        (StageByStage, Memory(), False),
        (StepByStep, Memory(patches=0), False),
        (StageByStage, Memory(patches=0), True),
        (WholeEpoch, Memory(), True),
    ],
)
def test_every_runner_trains_on_the_same(data, kind, memory, divided):
    plain, found = trained(cache(data), WholeEpoch), trained(cache(data, memory), kind, divided)
    losses = ([epoch.loss for epoch in fitted.history] for fitted in (plain, found))
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_the_same_seed_gives_the_same_bytes_and_augmentation_matters(data):
    one, again = (trained(cache(data), WholeEpoch) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, one.params, again.params)
    made = cache(data)
    (plain,) = fit(
        toy.runner(made.inputs("first")),
        [toy.run("first")],
        made.inputs("first"),
        SETTINGS,
        toy.CAPACITY,
        toy.auc,
    )
    assert plain.history[0].loss != one.history[0].loss


def test_stacked_runs_have_draws_of_their_own(data):
    made = cache(data)
    runs = [toy.run("first", seed=seed) for seed in (0, 1)]
    runner = WholeEpoch(task(made), stacks=True)
    together = fit(runner, runs, made.inputs("first"), SETTINGS, toy.CAPACITY, toy.auc)
    for run, fitted in zip(runs, together, strict=True):
        (alone,) = fit(
            WholeEpoch(task(made)), [run], made.inputs("first"), SETTINGS, toy.CAPACITY, toy.auc
        )
        losses = ([epoch.loss for epoch in f.history] for f in (alone, fitted))
        np.testing.assert_allclose(*losses, rtol=1e-4)


def test_an_epoch_takes_one_view_of_each_patch():
    run = dataclasses.replace(toy.run("second"), views=4, patches=80)
    orders = [run.order(epoch) for epoch in (1, 2)]
    for order, epoch in zip(orders, (1, 2), strict=True):
        assert sorted(order % 80) == list(range(60))
        assert set(order // 80) == {0, 1, 2, 3}
        plain = toy.run("second").order(epoch)
        np.testing.assert_array_equal(order % 80, plain)
        fewer = dataclasses.replace(run, train=np.arange(30)).order(epoch)
        views = dict(zip(order % 80, order // 80, strict=True))
        assert all(
            views[patch] == view for patch, view in zip(fewer % 80, fewer // 80, strict=True)
        )
    assert {*orders[0]} != {*orders[1]}
    plan = EpochPlan.of(run, 1, SETTINGS, toy.CAPACITY, jax.random.key(0))
    assert plan.score.max() < 80


@pytest.mark.parametrize("memory", [Memory(device=2**30), Memory(host=2**30), Memory()])
def test_a_frozen_prefix_is_computed_for_every_view(data, memory):
    """Wherever its features lie, and where there is no room for them."""
    images, labels = data
    inputs = toy.cache(Views(images, AUGMENT, 3), np.tile(labels, 3), memory).inputs("second")
    kind = StepByStep if inputs.streamed else WholeEpoch
    run = dataclasses.replace(toy.run("second"), views=3, patches=80)
    (found,) = fit(
        toy.runner(inputs, "second", kind), [run], inputs, SETTINGS, toy.CAPACITY, toy.auc
    )
    fresh = toy.cache(Views(images, AUGMENT, 3), np.tile(labels, 3), Memory()).inputs("second")
    (plain,) = fit(toy.runner(fresh, "second"), [run], fresh, SETTINGS, toy.CAPACITY, toy.auc)
    losses = ([epoch.loss for epoch in fitted.history] for fitted in (plain, found))
    np.testing.assert_allclose(*losses, rtol=1e-4)
