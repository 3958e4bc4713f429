"""Batch norms in training: frozen and tuned stages, padding, the forms of a step, stacks, snapshots."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import linen as nn

from medtune_jax.networks.layers import Conv, Dense, relu
from medtune_jax.networks.norms import BatchNorm
from medtune_jax.networks.pooling import global_average_pool
from medtune_jax.networks.stages import Stage
from medtune_jax.training import (
    BATCH,
    STORED,
    Batch,
    Partial,
    StageByStage,
    StepByStep,
    TrainState,
    WholeEpoch,
    fit,
    predict,
)
from tests.training import toy


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x, counts=None):
        x = Conv(5, 3, std=0.3, bias=None, relu=False, name="conv")(x)
        return relu(BatchNorm(name="bn")(x, counts))


NETWORK = dataclasses.replace(
    toy.NETWORK,
    stages=(
        Stage("first", Normed()),
        Stage("second", Normed(), (global_average_pool,)),
        Stage("head", Dense(2, std=0.1, relu=False)),
    ),
)
FORMS = (WholeEpoch, StepByStep, StageByStage)
SETTINGS = dataclasses.replace(toy.SETTINGS, batch=16, epochs=3)  # 60 are three batches and 12


def start(seed=0):
    return toy.start(seed, NETWORK)


def inputs_of(first="first", budget=0):
    return toy.cache(*toy.task(), budget, start(), NETWORK).inputs(first)


def run(first="first", **more):
    return toy.run(first, params=start(), network=NETWORK, **more)


def trained(first="first", norm=BATCH, kind=WholeEpoch, seeds=(0,), budget=0, count=60, **more):
    """The fitted runs of some seeds, and a function that scores one."""
    inputs = inputs_of(first, budget)
    runner = toy.runner(inputs, first, kind, network=NETWORK, norm=norm)
    runs = [run(first, count=count, seed=seed) for seed in seeds]
    fitted = fit(runner, runs, inputs, SETTINGS, toy.CAPACITY, toy.auc, **more)

    def scores(one, settings=SETTINGS):
        return predict(runner, {**start(), **one.params}, inputs, np.arange(80), settings)

    return fitted, scores


def statistics(params, stage):
    return np.concatenate([params[stage]["bn"][name] for name in ("mean", "variance")])


def equal(one, other, atol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol), one, other)


@pytest.mark.parametrize(("norm", "moves"), [(STORED, False), (BATCH, True)])
def test_stored_statistics_stay_and_the_batches_move_them(norm, moves):
    [one], _ = trained(norm=norm)
    for stage in ("first", "second"):
        same = np.array_equal(statistics(one.params, stage), statistics(start(), stage))
        assert same != moves


@pytest.mark.parametrize("norm", [STORED, BATCH])
def test_the_forms_of_a_step_agree(norm):
    """A last batch of 12 with 4 rows of padding in each."""
    first, *others = (trained(norm=norm, kind=kind)[0][0] for kind in FORMS)
    for other in others:
        equal(other.params, first.params)


def test_a_frozen_stage_uses_stored_statistics_while_another_uses_the_batches():
    """Trained on its kept features, which are made once with the stored statistics, it is the same run."""
    [kept], _ = trained("second", budget=2**30)
    [whole], _ = trained("second", budget=0)
    assert set(whole.params) == {"second", "head"}
    assert not np.array_equal(statistics(whole.params, "second"), statistics(start(), "second"))
    equal(kept.params, whole.params)


@pytest.mark.parametrize("kind", [StepByStep, StageByStage])
def test_padding_does_not_count(kind):
    inputs, moved = inputs_of(), []
    runner = toy.runner(inputs, kind=kind, network=NETWORK, norm=BATCH)
    for rows in (np.arange(6), np.r_[np.arange(6), [-1] * 7]):
        state = TrainState.of(runner.task, jax.tree.map(np.array, start()))
        batch = Batch(inputs.arrays, inputs.labels, rows.astype(np.int32))
        state, _ = runner._step(state, {}, run().rates_at(1.0), batch, jax.random.key(0))
        moved.append(state.params)
    equal(*moved, atol=1e-6)


def test_runs_of_a_stack_keep_averages_of_their_own():
    stacked, _ = trained(seeds=(0, 1))
    for seed, one in enumerate(stacked):
        [alone], _ = trained(seeds=(seed,))
        equal(one.params, alone.params)
    assert not np.allclose(*(statistics(one.params, "first") for one in stacked))


def test_averages_are_kept_between_epochs_and_go_on(tmp_path):
    [whole], _ = trained()
    inputs, short = inputs_of(), dataclasses.replace(SETTINGS, epochs=2)
    runner = toy.runner(inputs, network=NETWORK, norm=BATCH)
    partials = [Partial(tmp_path / "run", interval=0)]
    fit(runner, [run()], inputs, short, toy.CAPACITY, toy.auc, partials=partials)
    kept, fitted, _ = partials[0].load(TrainState.of(runner.task, start()))
    assert len(fitted.history) == 2
    assert not np.array_equal(statistics(kept.params, "first"), statistics(start(), "first"))
    [resumed], _ = trained(partials=[Partial(tmp_path / "run", interval=0)])
    equal(resumed.params, whole.params, atol=0)


def test_scores_use_the_averages_and_do_not_depend_on_the_batch():
    [one], scores = trained()
    alone = scores(one, dataclasses.replace(SETTINGS, score_batch=1))
    np.testing.assert_allclose(alone, scores(one), atol=1e-5)


def test_a_last_batch_of_one_patch_is_harmless():
    [one], scores = trained(count=49)
    assert one.failure is None and np.isfinite(scores(one)).all()


def test_batches_whose_statistics_count_are_not_divided():
    """A part's statistics are not the batch's, so a divided runner takes batches whole where it trains."""
    for norm, parts in ((STORED, 2), (BATCH, 1)):
        runner = toy.runner(inputs_of(), network=NETWORK, norm=norm)
        runner.divide()
        assert (runner.task.parts, runner.task.training_parts) == (2, parts)
