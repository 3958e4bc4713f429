"""An interrupted run goes on from its last epoch as if nothing had happened."""

import dataclasses
from contextlib import suppress

import jax
import numpy as np
import pytest

from medtune_jax import signals
from medtune_jax.training import Partial, StepByStep, WholeEpoch, fit
from medtune_jax.training.step import TrainState
from tests.training import toy

SETTINGS = dataclasses.replace(toy.SETTINGS, epochs=5)


@pytest.fixture(scope="module")
def study():
    images, labels = toy.task()
    inputs = toy.cache(images, labels).inputs("first")
    return toy.runner(inputs), inputs


def train(study, partials=(), progress=lambda *_: None, runs=None):
    runner, inputs = study
    runs = runs or [toy.run()]
    return fit(runner, runs, inputs, SETTINGS, toy.CAPACITY, toy.auc, progress, partials)


def stop_after(epoch):
    def progress(_, record):
        if record.epoch == epoch:
            raise KeyboardInterrupt

    return progress


def interrupted(study, folders, epoch=3, **more):
    with pytest.raises(KeyboardInterrupt):
        partials = [Partial(folder, interval=0) for folder in folders]
        train(study, partials, stop_after(epoch), **more)


def same(one, other):
    assert one.history == other.history
    assert one.best == other.best
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)


def test_a_resumed_run_ends_in_the_same_bytes(study, tmp_path):
    (whole,) = train(study)
    interrupted(study, [tmp_path])
    epochs = []
    (resumed,) = train(study, [Partial(tmp_path)], lambda _, e: epochs.append(e.epoch))
    assert epochs == [4, 5]
    same(resumed, whole)


def test_the_kept_best_snapshot_may_be_an_earlier_one(study, tmp_path, monkeypatch):
    figures = [0.6, 0.9, 0.7, 0.8, 0.7]
    monkeypatch.setattr(toy, "auc", lambda *_: left.pop(0))
    left = list(figures)
    (whole,) = train(study)
    left = list(figures)
    interrupted(study, [tmp_path])
    (resumed,) = train(study, [Partial(tmp_path)])
    assert resumed.best.epoch == 2
    same(resumed, whole)


def test_members_of_a_stack_resume_from_their_own_epochs(study, tmp_path):
    """One was two epochs further than the other when they were interrupted."""
    runs = [toy.run(seed=0), toy.run(seed=1, params=toy.start(1))]
    folders = [tmp_path / "0", tmp_path / "1"]
    whole = [train(study, runs=[run])[0] for run in runs]
    for folder, run, epoch in zip(folders, runs, (3, 1), strict=True):
        interrupted(study, [folder], epoch, runs=[run])
    resumed = train(study, [Partial(folder) for folder in folders], runs=runs)
    for one, other in zip(resumed, whole, strict=True):
        assert [e.batches for e in one.history] == [e.batches for e in other.history]
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one.params, other.params
        )


def test_a_finished_run_is_not_trained_again(study, tmp_path):
    (whole,) = train(study, [Partial(tmp_path, interval=0)])
    (again,) = train(study, [Partial(tmp_path)], stop_after(1))
    same(again, whole)


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_state_starts_the_run_anew(study, tmp_path, damage):
    interrupted(study, [tmp_path])
    path = tmp_path / "state.npz"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-500])
    else:
        np.savez(path, record="{}", state0=np.zeros(3))
    epochs = []
    (fitted,) = train(study, [Partial(tmp_path)], lambda _, e: epochs.append(e.epoch))
    assert epochs == [1, 2, 3, 4, 5]
    same(fitted, train(study)[0])


def test_flipped_bits_resume_from_what_was_written_or_anew(study, tmp_path):
    interrupted(study, [tmp_path])
    path, (runner, _) = tmp_path / "state.npz", study
    fresh = TrainState.of(runner.task, toy.run().params)
    content, draw = path.read_bytes(), np.random.default_rng(0)
    whole = Partial(tmp_path).load(fresh)
    for number in range(200):
        at = int(draw.integers(len(content)))
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << number % 8]) + content[at + 1 :])
        kept = Partial(tmp_path).load(fresh)
        if kept:  # a bit that says nothing, such as a file's date
            jax.tree.map(np.testing.assert_array_equal, kept[0], whole[0])
            assert kept[1].history == whole[1].history


@pytest.mark.parametrize("kind", [WholeEpoch, StepByStep])
def test_a_signal_keeps_the_state_at_once_and_costs_no_bit(study, tmp_path, monkeypatch, kind):
    """Whether it comes while steps are taken, while they are validated or between epochs."""
    runner, inputs = study
    chosen = kind(runner.task), inputs
    (whole,) = train(chosen)
    stopped = 0
    for moment in range(60):
        calls, folder = iter(range(10000)), tmp_path / str(moment)
        with monkeypatch.context() as patch:
            patch.setattr(signals, "asked", lambda c=calls, m=moment: next(c) >= m)
            with suppress(signals.Stop):
                (fitted,) = train(chosen, [Partial(folder)])
                same(fitted, whole)  # it was done before
                break
        assert (folder / "state.npz").exists()
        stopped += 1
        (resumed,) = train(chosen, [Partial(folder)])
        same(resumed, whole)
    assert stopped >= SETTINGS.epochs


def test_a_short_run_writes_nothing(study, tmp_path):
    train(study, [Partial(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_a_slow_disk_is_written_to_less_often(tmp_path):
    partial = Partial(tmp_path, interval=1e-9)
    assert partial.due()
    partial._pause = 60.0
    assert not partial.due()


def test_a_disk_that_refuses_costs_no_result(study, tmp_path):
    (tmp_path / "file").write_text("in the way")
    (fitted,) = train(study, [Partial(tmp_path / "file" / "run", interval=0)])
    assert len(fitted.history) == 5
