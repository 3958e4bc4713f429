"""Training: it learns, keeps the best, stops, reports divergence, compiles once."""

import dataclasses

import jax
import numpy as np
import pytest

from medtune_jax.training import StageByStage, StepByStep, TrainState, WholeEpoch, fit, predict
from medtune_jax.training.inputs.prefix import Boundary
from medtune_jax.training.stack import Stack
from medtune_jax.tuning import Optimizer
from tests.training import programs, toy


@pytest.fixture(scope="module")
def data():
    return toy.task()


def train(
    data,
    runs,
    first="first",
    settings=toy.SETTINGS,
    monitor=toy.auc,
    budget=0,
    kind=WholeEpoch,
    **more,
):
    inputs = toy.cache(*data, budget).inputs(first)
    runner = toy.runner(inputs, first, kind, **more)
    return fit(runner, runs, inputs, settings, toy.CAPACITY, monitor), runner, inputs


def equal(one, other, **tolerance):
    check = np.testing.assert_allclose if tolerance else np.testing.assert_array_equal
    jax.tree.map(lambda a, b: check(a, b, **tolerance), one, other)


def test_it_learns_a_separable_task(data):
    (fitted,), _, _ = train(data, [toy.run()])
    assert fitted.failure is None
    assert fitted.history[-1].loss < 0.5 * fitted.history[0].loss
    assert fitted.best.validation > 0.95
    assert [epoch.batches for epoch in fitted.history][:3] == [8, 16, 24]


def test_nothing_is_learnt_from_shuffled_labels(data):
    """The validation figure measures something: with random labels it stays near one half."""
    images, labels = data
    shuffled = np.random.default_rng(3).permutation(labels)
    (fitted,), _, _ = train((images, shuffled), [toy.run()])
    assert np.mean([epoch.validation for epoch in fitted.history]) < 0.8


def test_the_best_snapshot_is_kept(data):
    """The monitor is scripted; the snapshot must be that of its best epoch, told by its predictions."""
    figures = iter([0.6, 0.9, 0.7, 0.8, 0.7])
    seen = []

    def monitor(_, logits):
        seen.append(logits)
        return next(figures)

    settings = dataclasses.replace(toy.SETTINGS, epochs=5)
    one = toy.run()
    (fitted,), runner, inputs = train(data, [one], settings=settings, monitor=monitor)
    assert fitted.best.epoch == 2
    assert fitted.best.validation == max(epoch.validation for epoch in fitted.history) == 0.9
    got = predict(runner, fitted.params, inputs, one.valid, settings)
    np.testing.assert_allclose(got, seen[1], atol=1e-5)
    assert np.abs(got - seen[4]).max() > 1e-3


def test_patience_counts_epochs_without_improvement(data):
    figures = iter([0.5, 0.8, 0.8, 0.7, 0.6, 0.9])
    settings = dataclasses.replace(toy.SETTINGS, epochs=20, patience=3)
    (fitted,), _, _ = train(data, [toy.run()], settings=settings, monitor=lambda *_: next(figures))
    assert [epoch.epoch for epoch in fitted.history] == [1, 2, 3, 4, 5]
    assert fitted.best.epoch == 2


def test_divergence_is_recorded_with_step_and_rate(data):
    (fitted,), _, _ = train(data, [toy.run(rate=1e9)])
    assert fitted.history == []
    assert fitted.params is None
    assert "diverged at step " in fitted.failure
    assert int(fitted.failure.split("step ")[1].split(":")[0]) in range(1, 9)
    assert "rate of 1e+09" in fitted.failure


@pytest.mark.parametrize(
    ("kind", "own"),
    [(WholeEpoch, [programs.EPOCH]), (StepByStep, [programs.STEP]), (StageByStage, [])],
)
def test_a_depth_compiles_once(data, kind, own):
    """Seeds, rates and subset sizes are arguments of one program, or of those of the stages."""
    inputs = toy.cache(*data).inputs("first")
    runner = toy.runner(inputs, kind=kind)
    settings = dataclasses.replace(toy.SETTINGS, epochs=2)
    jax.clear_caches()
    counts = []
    with programs.compiled() as names:
        for seed, rate, count in ((0, 0.02, 60), (1, 0.01, 32), (2, 0.005, 9)):
            run = toy.run(rate=rate, count=count, seed=seed)
            (fitted,) = fit(runner, [run], inputs, settings, toy.CAPACITY, toy.auc)
            predict(runner, fitted.params, inputs, np.arange(80), settings)
            counts.append(len(names))
    assert counts[0] > 0 and counts[1:] == counts[:1] * 2
    assert [name for name in names if name in (programs.EPOCH, programs.STEP)] == own


def test_a_stack_of_runs_equals_each_alone(data):
    runs = [
        toy.run(rate=0.02, count=60, seed=0),
        toy.run(rate=0.01, count=30, seed=1, params=toy.start(1)),
    ]
    settings = dataclasses.replace(toy.SETTINGS, epochs=3)
    together, _, _ = train(data, runs, settings=settings)
    for run, joined in zip(runs, together, strict=True):
        (alone,), _, _ = train(data, [run], settings=settings)
        equal(joined.params, alone.params, atol=1e-5)
        assert [e.batches for e in joined.history] == [e.batches for e in alone.history]
        np.testing.assert_allclose(
            [e.loss for e in joined.history], [e.loss for e in alone.history], atol=1e-5
        )


def scripted(figures):
    """A monitor that gives each run, known by its validation labels, its own figures."""
    left = {count: iter(own) for count, own in figures.items()}
    return lambda labels, _: next(left[len(labels)])


def test_members_stop_on_their_own_and_leave_the_stack(data, monkeypatch):
    """Patience, divergence and a good member side by side; the result of each is as alone."""
    good = toy.run(seed=0)
    tired = dataclasses.replace(toy.run(seed=1), valid=np.arange(62, 80))
    broken = dataclasses.replace(toy.run(rate=1e9, seed=2), valid=np.arange(64, 80))
    settings = dataclasses.replace(toy.SETTINGS, epochs=6, patience=2)
    figures = {20: [0.5, 0.6, 0.7, 0.8, 0.9, 1.0], 18: [0.9, 0.5, 0.5], 16: []}
    widths = []
    epoch = Stack.epoch

    def counted(self, *given):
        widths.append(self.width)
        return epoch(self, *given)

    monkeypatch.setattr(Stack, "epoch", counted)
    together, _, _ = train(
        data, [good, tired, broken], settings=settings, monitor=scripted(figures)
    )
    assert widths == [3, 3, 3, 1, 1, 1]
    assert [len(fitted.history) for fitted in together] == [6, 3, 0]
    assert together[2].failure.startswith("diverged at step ")
    for run, joined in zip((good, tired), together, strict=False):
        (alone,), _, _ = train(data, [run], settings=settings, monitor=scripted(figures))
        assert joined.best.epoch == alone.best.epoch
        equal(joined.params, alone.params, atol=1e-5)


def test_one_seed_is_one_result_and_another_seed_another(data):
    settings = dataclasses.replace(toy.SETTINGS, epochs=2)
    results = [train(data, [toy.run(seed=seed)], settings=settings)[0][0] for seed in (0, 0, 1)]
    assert results[0].history == results[1].history
    equal(results[0].params, results[1].params)
    assert results[0].history != results[2].history


def test_frozen_stages_are_untouched(data):
    start = toy.start()
    before = jax.tree.map(np.array, start)
    (fitted,), runner, _ = train(data, [toy.run("second", params=start)], "second")
    assert set(fitted.params) == {"second", "head"}
    equal(start, before)
    assert not np.array_equal(fitted.params["second"]["kernel"], before["second"]["kernel"])
    state = TrainState.of(runner.task, start)
    assert set(state.params) == set(state.optimizer) == {"second", "head"}


@pytest.mark.parametrize("first", ["second", "head"])
def test_cached_features_give_the_result_of_recomputing(data, first):
    one = toy.run(first)
    settings = dataclasses.replace(toy.SETTINGS, epochs=3)
    (plain,), runner, inputs = train(data, [one], first, settings)
    (cached,), other, cached_inputs = train(data, [one], first, settings, budget=2**30)
    assert (inputs.start, cached_inputs.start) == ("first", first)
    np.testing.assert_allclose(
        [e.loss for e in cached.history], [e.loss for e in plain.history], rtol=1e-4
    )
    equal(cached.params, plain.params, rtol=1e-3, atol=1e-5)
    scores = [
        predict(r, {**one.params, **fitted.params}, i, one.valid, settings)
        for r, fitted, i in ((runner, plain, inputs), (other, cached, cached_inputs))
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-4)


def test_features_of_a_deeper_boundary_are_made_from_the_shallower(data):
    images, labels = data
    cache = toy.cache(images, labels, 2**30)
    shallow = cache.inputs("second").arrays["features"]
    deep = cache.inputs("head").arrays["features"]
    pixels = network_input(images)
    np.testing.assert_allclose(
        shallow, toy.NETWORK.apply(cache.params, pixels, stop="second"), atol=1e-4
    )
    np.testing.assert_allclose(
        deep, toy.NETWORK.apply(cache.params, pixels, stop="head"), atol=1e-4
    )


def test_a_tight_budget_falls_back_to_a_boundary_that_fits(data):
    images, labels = data
    fits = 80 * 5 * 5 * 4 * 4
    head = Boundary("head", "device", 80 * 3 * 3 * 6 * 4)
    assert toy.cache(images, labels, fits - 1).boundary("head") == head
    assert toy.cache(images, labels, fits - 1).boundary("second") == Boundary("first")
    assert toy.cache(images, labels, fits).boundary("second").bytes == fits


def test_predict_covers_more_patches_than_one_call(data):
    """Scores come in the order of the index, also when it takes several dispatches."""
    one = toy.run()
    (fitted,), runner, inputs = train(
        data, [one], settings=dataclasses.replace(toy.SETTINGS, epochs=1)
    )
    index = np.random.default_rng(0).permutation(80)[:75]
    got = predict(runner, fitted.params, inputs, index, toy.SETTINGS)
    logits = toy.NETWORK.apply(fitted.params, network_input(data[0])[index])
    np.testing.assert_allclose(got, logits, atol=1e-5)


def network_input(images):
    return toy.NETWORK.preprocessing(jax.numpy.asarray(images.pixels))


@pytest.mark.parametrize(
    ("first", "name"),
    [
        ("first", "caffe_sgd"),
        ("first", "sgd"),
        ("first", "adamw"),
        ("second", "caffe_sgd"),
        ("head", "adamw"),
    ],
)
def test_every_runner_gives_the_same_result(data, first, name):
    """At every depth and with every optimizer, within rounding."""
    settings = dataclasses.replace(toy.SETTINGS, epochs=2)
    more = {"optimizer": Optimizer(name, weight_decay=0.01)}
    one = toy.run(first, rate=0.002 if name == "adamw" else 0.02)
    whole, *others = (
        train(data, [one], first, settings, kind=kind, **more)[0][0]
        for kind in (WholeEpoch, StepByStep, StageByStage)
    )
    assert whole.failure is None
    assert np.abs(whole.params["head"]["kernel"] - one.params["head"]["kernel"]).max() > 1e-3
    for other in others:
        # AdamW divides by the root of a mean square: where gradients are near zero, rounding is blown up.
        equal(other.params, whole.params, atol=1e-3 if name == "adamw" else 1e-5)
        np.testing.assert_allclose(
            [(e.loss, e.validation) for e in other.history],
            [(e.loss, e.validation) for e in whole.history],
            atol=1e-3 if name == "adamw" else 1e-5,
        )
