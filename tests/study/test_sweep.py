"""A whole sweep on generated images: resumed, reproduced, interrupted, with failures."""

import json
from importlib import import_module

import jax
import numpy as np
import pytest

from medtune_jax.errors import UserError
from medtune_jax.study import default_config, sweep
from medtune_jax.study.progress import Progress
from medtune_jax.training import Partial, WholeEpoch
from tests.training import programs

MODULE = import_module("medtune_jax.study.runs")  # to patch its `fit`


def config(images, depths="conv10", seeds=2, **changes):
    made = default_config()
    made.data.dir = str(images)
    made.image_size = 64
    made.sweep.depths, made.sweep.seeds = depths, seeds
    made.training.epochs = 1
    made.update_from_flattened_dict(changes)
    return made


def results(folder):
    found = (json.loads(p.read_text()) for p in sorted(folder.glob("runs/*/result.json")))
    return {result["run"]: result for result in found}


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
    return sweep(config(images, "conv10,scratch", 1), tmp_path_factory.mktemp("one"), quiet=True)


def test_every_run_leaves_its_result_and_scores(finished):
    found = results(finished)
    assert sorted(result["depth"] for result in found.values()) == ["conv10", "scratch"]
    for name, result in found.items():
        assert result["status"] == "done", result["reason"]
        assert 0 <= result["test"] <= 1
        assert result["train_images"] + result["val_images"] <= 32
        header, *rows = (finished / "runs" / name / "scores.csv").read_text().splitlines()
        assert header == "image,patient,label,bright,dark,logit_bright,logit_dark"
        for row in rows:
            assert sum(map(float, row.split(",")[3:5])) == pytest.approx(1, abs=1e-5)
    manifest = json.loads((finished / "study.json").read_text())
    assert {run["run"] for run in manifest["runs"]} == set(found)
    assert manifest["data"]["patients"] == 10


@pytest.fixture
def runners(monkeypatch):
    """Those that a sweep makes."""
    made, choose = [], MODULE.runner_for

    def counted(*given):
        made.append(choose(*given))
        return made[-1]

    monkeypatch.setattr(MODULE, "runner_for", counted)
    return made


def test_a_sweep_compiles_each_depth_once(images, tmp_path, runners):
    """Seeds, training-set sizes, rates: no further program. fire9 holds convolutions and takes the programs of its
    stages on a CPU."""
    wanted = config(images, "conv10,fire9", 2, **{"sweep.fractions": "1.0,0.5"})
    wanted.training.epochs = 2
    with programs.compiled() as names:
        sweep(wanted, tmp_path, quiet=True)
    assert len(results(tmp_path)) == 8
    stacked, _ = runners
    assert stacked.stacks
    epochs = [name for name in names if name in (programs.EPOCH, programs.STEP)]
    assert epochs == [programs.EPOCH] * (1 if jax.default_backend() == "cpu" else 2)


def test_the_deepest_depth_and_scratch_share_a_runner(images, tmp_path, runners):
    sweep(config(images, "conv1,scratch", 1), tmp_path, quiet=True)
    assert {result["status"] for result in results(tmp_path).values()} == {"done"}
    assert len(runners) == 1


def test_adamw_at_a_shallow_and_a_deep_depth(images, tmp_path, runners):
    """On both of a CPU's runners."""
    sweep(config(images, "conv10,fire9", 1, **ADAMW), tmp_path, quiet=True)
    assert {result["status"] for result in results(tmp_path).values()} == {"done"}
    assert {runner.task.optimizer.name for runner in runners} == {"adamw"}
    for path in tmp_path.glob("runs/*/config.json"):
        assert json.loads(path.read_text())["optimizer"]["name"] == "adamw"


ADAMW = {"optimizer.name": "adamw", "rates.tuned": 1e-4, "rates.head": 1e-3}


def test_the_same_seed_gives_the_same_bytes(images, finished, tmp_path):
    sweep(config(images, "conv10,scratch", 1), tmp_path, quiet=True)
    for name in results(finished):
        for file in FILES:
            one, other = (folder / "runs" / name / file for folder in (finished, tmp_path))
            assert one.read_bytes() == other.read_bytes(), file


def test_augmentation_changes_the_depths_that_it_names_and_no_other(images, finished, tmp_path):
    """Down to the bytes; `copies` the others."""

    def files_of(folder, depth):
        (run,) = (name for name in results(folder) if name.startswith(depth))
        return {file: (folder / "runs" / run / file).read_bytes() for file in FILES[1:]}

    plain, views = tmp_path / "plain", tmp_path / "views"
    sweep(config(images, "conv10,scratch", 1, **{"augment.depths": "none"}), plain, quiet=True)
    sweep(config(images, "conv10,scratch", 1, **{"augment.copies": 4}), views, quiet=True)
    assert files_of(plain, "conv10") == files_of(finished, "conv10") != files_of(views, "conv10")
    assert files_of(plain, "scratch") != files_of(finished, "scratch") == files_of(views, "scratch")


def test_a_second_sweep_skips_what_is_done(images, finished, monkeypatch):
    def never(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(MODULE, "fit", never)
    before = {path: path.stat().st_mtime_ns for path in finished.glob("runs/*/*")}
    sweep(config(images, "conv10,scratch", 1), finished, quiet=True)
    assert before == {path: path.stat().st_mtime_ns for path in finished.glob("runs/*/*")}


def test_another_study_is_refused(images, finished):
    with pytest.raises(UserError, match=r"training\.epochs is 1 there and 2 here"):
        sweep(config(images, seeds=1, **{"training.epochs": 2}), finished, quiet=True)


def test_a_diverged_run_is_recorded_and_not_tried_again(images, tmp_path, monkeypatch):
    diverging = config(images, seeds=1, **{"rates.head": 1e37})
    sweep(diverging, tmp_path, quiet=True)
    (result,) = results(tmp_path).values()
    assert result["status"] == "failed"
    assert result["reason"].startswith("diverged at step")
    assert "rate of 2e+37" in result["reason"]  # the bias of the head
    assert result["test"] is None
    assert not list(tmp_path.glob("runs/*/scores.csv"))
    monkeypatch.setattr(MODULE, "fit", None)
    sweep(diverging, tmp_path, quiet=True)


def stacking(pays):
    """An epoch in one dispatch, of the seeds together or of each alone."""
    return lambda task, *_: WholeEpoch(task, stacks=pays)


def failing_once(error, at):
    """`fit` that raises `error` on its call number `at`."""
    calls, fit = [], MODULE.fit

    def wrapped(*given, **named):
        calls.append(None)
        if len(calls) == at:
            raise error
        return fit(*given, **named)

    return wrapped


def test_a_failed_run_is_recorded_the_others_go_on_and_it_gets_another_try(
    images, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(MODULE, "runner_for", stacking(False))
        patch.setattr(MODULE, "fit", failing_once(RuntimeError("out of memory\nmore"), 1))
        sweep(config(images), tmp_path, quiet=True)
    found = {result["seed"]: result for result in results(tmp_path).values()}
    assert found[0]["reason"] == "RuntimeError: out of memory"
    assert (found[0]["status"], found[1]["status"]) == ("failed", "done")
    sweep(config(images), tmp_path, quiet=True)
    assert [result["status"] for result in results(tmp_path).values()] == ["done", "done"]


def test_an_interrupt_keeps_what_is_finished(images, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(MODULE, "runner_for", stacking(False))
        patch.setattr(MODULE, "fit", failing_once(KeyboardInterrupt(), 2))
        with pytest.raises(KeyboardInterrupt):
            sweep(config(images), tmp_path, quiet=True)
    assert [result["seed"] for result in results(tmp_path).values()] == [0]
    assert len(list((tmp_path / "runs").iterdir())) == 1  # no half-written folder
    kept = next((tmp_path / "runs").glob("*/result.json"))
    stamp = kept.stat().st_mtime_ns
    sweep(config(images), tmp_path, quiet=True)
    assert len(results(tmp_path)) == 2
    assert kept.stat().st_mtime_ns == stamp


FILES = ("result.json", "scores.csv", "validation.csv", "history.csv")


def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(images, tmp_path, monkeypatch):
    """Its state waits under runs/, and is gone when the run is done."""
    wanted = config(images, seeds=1, **{"training.epochs": 4})
    whole, folder = tmp_path / "whole", tmp_path / "resumed"
    sweep(wanted, whole, quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr(MODULE, "Partial", lambda path, **own: Partial(path, interval=0, **own))
        patch.setattr(Progress, "epoch", interrupted_after(2))
        with pytest.raises(KeyboardInterrupt):
            sweep(wanted, folder, quiet=True)
    (kept,) = (folder / "runs").iterdir()
    assert kept.name.endswith(".partial")
    monkeypatch.setattr(Progress, "epoch", interrupted_after(2))  # it goes on at epoch 3
    sweep(wanted, folder, quiet=True)
    (run,) = (folder / "runs").iterdir()
    for file in FILES:
        assert (run / file).read_bytes() == (whole / "runs" / run.name / file).read_bytes(), file


def interrupted_after(epoch):
    def check(self, run, record, factor=1.0):
        if record.epoch == epoch:
            raise KeyboardInterrupt

    return check


def test_a_stacked_sweep_gives_the_results_of_each_run_alone(images, tmp_path, monkeypatch):
    wanted = config(images, seeds=3, **{"training.epochs": 3})
    together, alone = tmp_path / "together", tmp_path / "alone"
    sizes, fit = [], MODULE.fit

    def counted(runner, runs, *more):
        sizes.append(len(runs))
        return fit(runner, runs, *more)

    monkeypatch.setattr(MODULE, "fit", counted)
    for folder, pays in ((together, True), (alone, False)):
        monkeypatch.setattr(MODULE, "runner_for", stacking(pays))
        sweep(wanted, folder, quiet=True)
    assert sizes == [3, 1, 1, 1]
    for name, result in results(together).items():
        assert result["status"] == "done"
        scores = [
            np.loadtxt(
                folder / "runs" / name / "scores.csv",
                delimiter=",",
                skiprows=1,
                usecols=(3, 4),
            )
            for folder in (together, alone)
        ]
        np.testing.assert_allclose(*scores, atol=1e-5)


def test_a_stack_that_fails_is_tried_run_by_run(images, tmp_path, monkeypatch):
    monkeypatch.setattr(MODULE, "runner_for", stacking(True))
    monkeypatch.setattr(MODULE, "fit", failing_once(RuntimeError("out of memory"), 1))
    sweep(config(images), tmp_path, quiet=True)
    assert [result["status"] for result in results(tmp_path).values()] == ["done", "done"]


def test_nothing_is_written_when_an_image_is_missing(images, tmp_path):
    broken = tmp_path / "images"
    broken.mkdir()
    (broken / "labels.csv").write_bytes((images / "labels.csv").read_bytes())
    with pytest.raises(UserError, match=r"40 of 40 images of .* are not there"):
        sweep(config(broken), tmp_path / "study", quiet=True)
    assert not (tmp_path / "study").exists()


def test_a_fraction_too_small_is_refused_before_the_first_run(images, tmp_path):
    with pytest.raises(UserError, match=r"fraction 0\.1 leaves no patch of class"):
        sweep(config(images, **{"sweep.fractions": "1.0,0.1"}), tmp_path / "study", quiet=True)
    assert not (tmp_path / "study").exists()
