"""The search of a run's rates: chosen on validation data alone, one program for all, resumed to the same bytes."""

import csv
import json
import shutil
import signal
from importlib import import_module

import jax
import numpy as np
import pytest
from PIL import Image

from medtune_jax.errors import UserError
from medtune_jax.sharing.status import described, retry_failed, status
from medtune_jax.study import report, search, sweep
from medtune_jax.study.progress import Progress
from medtune_jax.study.search import Candidate
from medtune_jax.training import Epoch, Fitted, Partial, StageByStage, WholeEpoch
from medtune_jax.tuning import StageRates
from tests.sharing.launchers import command, finished, launch, leftovers, stopped
from tests.sharing.launchers import results as launched
from tests.study.test_sweep import FILES, config, results, stacking
from tests.training import programs, toy

MODULE = import_module("medtune_jax.study.runs")
SEARCH = {"rates.search": 3, "training.epochs": 2}


@pytest.fixture(scope="module")
def images(tmp_path_factory, write_images):
    """Every patient is on the side that its file says."""
    folder = write_images(tmp_path_factory.mktemp("images"), 10, 4, 64)
    head, *rows = (folder / "labels.csv").read_text().splitlines()
    sides = ["test" if row.endswith(("p0", "p1", "p2", "p3")) else "train" for row in rows]
    lines = [f"{head},split", *(f"{row},{side}" for row, side in zip(rows, sides, strict=True))]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def searched(images, tmp_path_factory):
    """A head alone, whose rates stack, and a depth that trains them one after another."""
    return sweep(
        config(images, "conv10,fire9", 2, **SEARCH), tmp_path_factory.mktemp("s"), quiet=True
    )


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_rate_that_is_kept_is_the_best_on_validation_data(searched):
    found = results(searched)
    assert len(found) == 4
    for result in found.values():
        tried = {rate["rate_factor"]: rate for rate in result["search"]}
        assert sorted(tried) == pytest.approx([1 / 3, 1, 3])
        best = tried[result["rate_factor"]]
        assert result["validation"] == max(rate["validation"] for rate in tried.values())
        for name in ("rate", "head_rate", "validation", "best_epoch", "epochs"):
            assert result[name] == best[name]
        default = tried[1.0]
        for factor, rate in tried.items():
            assert rate["rate"] == pytest.approx(factor * default["rate"])
            assert rate["head_rate"] == pytest.approx(factor * default["head_rate"])


def test_the_curves_of_all_rates_are_kept(searched):
    for name, result in results(searched).items():
        folder = searched / "runs" / name
        curves = rows_of(folder / "search.csv")
        assert len(curves) == 3 * 2
        own = [row for row in curves if float(row["rate"]) == pytest.approx(result["rate"])]
        history = rows_of(folder / "history.csv")
        assert [{key: row[key] for key in history[0]} for row in own] == history


@pytest.mark.parametrize("depth", ["conv10", "fire9"])
def test_a_run_without_search_is_the_middle_of_a_search(images, searched, tmp_path, depth):
    """Byte for byte, so that nothing has changed for those who do not search. A stack may round another way."""
    plain = sweep(config(images, depth, 2, **{"training.epochs": 2}), tmp_path, quiet=True)
    by_cell = {(r["depth"], r["seed"]): (name, r) for name, r in results(searched).items()}
    for name, result in results(plain).items():
        other, found = by_cell[depth, result["seed"]]
        assert "search" not in result and result["rate_factor"] == 1
        assert not (plain / "runs" / name / "search.csv").exists()
        curve = [
            {key: row[key] for key in ("epoch", "batches", "loss", "validation")}
            for row in rows_of(searched / "runs" / other / "search.csv")
            if row["rate_factor"] == "1"
        ]
        alone = rows_of(plain / "runs" / name / "history.csv")
        if depth == "fire9":
            assert curve == alone
            if found["rate_factor"] == 1:
                assert found["test"] == result["test"]
        else:
            for key in ("loss", "validation"):
                numbers = [[float(row[key]) for row in rows] for rows in (curve, alone)]
                np.testing.assert_allclose(*numbers, atol=1e-3)


@pytest.mark.slow
def test_the_search_compiles_nothing_more(images, tmp_path):
    """Rates are arguments of the programs: as many as without a search."""
    counts = []
    for number in (1, 3):
        wanted = config(images, "conv10,fire9", 1, **{"rates.search": number})
        jax.clear_caches()
        with pytest.MonkeyPatch.context() as patch, programs.compiled() as names:
            patch.setattr(MODULE, "runner_for", runner_by_kind)
            sweep(wanted, tmp_path / str(number), quiet=True)
        counts.append(sorted(names))
    assert counts[0] == counts[1]
    assert counts[0].count(programs.EPOCH) == 1


def runner_by_kind(task, *_):
    """Each run alone: a whole epoch for the head, stage by stage where there are convolutions."""
    return WholeEpoch(task) if len(task.tuned) == 1 else StageByStage(task)


def test_rates_stack_where_runs_stack(images, tmp_path, monkeypatch):
    sizes, fit = [], MODULE.fit

    def counted(runner, runs, *more):
        sizes.append((len(runs), len({float(run.rates["conv10"].weight) for run in runs})))
        return fit(runner, runs, *more)

    monkeypatch.setattr(MODULE, "fit", counted)
    for pays in (True, False):
        monkeypatch.setattr(MODULE, "runner_for", stacking(pays))
        sweep(config(images, "conv10", 2, **SEARCH), tmp_path / str(pays), quiet=True)
    assert sizes == [(6, 3)] + [(1, 1)] * 6


def test_the_runner_is_chosen_for_all_rates(images, tmp_path, monkeypatch):
    """A single seed still stacks: its rates do."""
    told, choose = [], MODULE.runner_for

    def seen(task, params, inputs, runs, batch):
        told.append(runs)
        return choose(task, params, inputs, runs, batch)

    monkeypatch.setattr(MODULE, "runner_for", seen)
    sweep(config(images, "conv10", 1, **SEARCH), tmp_path, quiet=True)
    assert told == [3]


def test_the_test_set_is_scored_once_a_run(images, tmp_path, monkeypatch):
    scored, predict = [], MODULE.predict

    def counted(runner, params, inputs, index, settings):
        scored.append(set(index))
        return predict(runner, params, inputs, index, settings)

    monkeypatch.setattr(MODULE, "predict", counted)
    sweep(config(images, "conv10", 2, **SEARCH), tmp_path, quiet=True)
    # Of each run the test set, and beside it its own validation set.
    assert [len(rows) for rows in scored] == [16, 8, 16, 8]


def test_test_data_play_no_part(images, searched, tmp_path):
    """Noise in place of the test images: other test figures, and the same choice, curves and validation."""
    noise = tmp_path / "images"
    shutil.copytree(images, noise)
    rng = np.random.default_rng(5)
    for row in rows_of(noise / "labels.csv"):
        if row["split"] == "test":
            pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
            Image.fromarray(pixels).save(noise / row["image"])
    other = sweep(config(noise, "conv10,fire9", 2, **SEARCH), tmp_path / "study", quiet=True)
    named = [
        {
            (r["depth"], r["seed"]): (folder / "runs" / name, r)
            for name, r in results(folder).items()
        }
        for folder in (searched, other)
    ]
    assert named[0].keys() == named[1].keys()
    for cell in named[0]:
        (one, first), (two, second) = named[0][cell], named[1][cell]
        assert (one / "search.csv").read_bytes() == (two / "search.csv").read_bytes()
        assert (one / "scores.csv").read_bytes() != (two / "scores.csv").read_bytes()
        assert first["search"] == second["search"]
        assert first["rate_factor"] == second["rate_factor"]


@pytest.mark.parametrize("pays", [True, False])
def test_an_interrupted_search_ends_in_the_same_bytes(images, tmp_path, monkeypatch, pays):
    """Stopped in the third epoch of its last rate; what the first ones had trained is not trained again, even if
    nothing but the end of the program made it write.
    """
    wanted = config(images, seeds=1, **{**SEARCH, "training.epochs": 4})
    monkeypatch.setattr(MODULE, "runner_for", stacking(pays))
    whole, folder = tmp_path / "whole", tmp_path / "resumed"
    sweep(wanted, whole, quiet=True)
    trained = []

    def stopping(at):
        def epoch(self, run, record, factor=1.0):
            trained.append((round(factor, 3), record.epoch))
            if (factor, record.epoch) == at:
                raise KeyboardInterrupt

        return epoch

    with monkeypatch.context() as patch:
        if pays:
            patch.setattr(MODULE, "Partial", lambda path, **own: Partial(path, interval=0, **own))
        patch.setattr(Progress, "epoch", stopping((3.0, 3)))
        with pytest.raises(KeyboardInterrupt):
            sweep(wanted, folder, quiet=True)
    (kept,) = (folder / "runs").iterdir()
    assert {path.name for path in kept.iterdir()} >= {"x0.333", "x1"}
    monkeypatch.setattr(Progress, "epoch", stopping(None))
    sweep(wanted, folder, quiet=True)
    tried = (0.333, 1, 3) if pays else (0.333, 1)
    epochs = [pair for pair in trained if pair[0] in tried]
    assert sorted(epochs) == [(factor, e) for factor in tried for e in (1, 2, 3, 4)]
    (run,) = (folder / "runs").iterdir()
    for file in (*FILES, "search.csv"):
        assert (run / file).read_bytes() == (whole / "runs" / run.name / file).read_bytes(), file


@pytest.mark.slow
def test_a_search_whose_launcher_is_stopped_ends_in_the_same_bytes(images, tmp_path):
    """By a signal, between two steps of some rate: fire9 convolves and takes single steps on a CPU."""
    fields = {
        "sweep__depths": "fire9", "sweep__fractions": "1.0", "sweep__seeds": 1, "rates__search": 3,
        "training__epochs": 40, "training__patience": 40, "training__batch": 4,
    }  # fmt: skip
    whole, study = tmp_path / "whole", tmp_path / "study"
    code, said = finished(launch(command(images, whole, **fields)))
    assert code == 0, said
    code, said = stopped(command(images, study, **fields), study, signal.SIGTERM, 1.5)
    assert code == 75, said
    assert "0 of 1 runs done, 0 failed, 1 to do" in described(status(study))
    code, said = finished(launch(command(images, study, **fields)))
    assert code == 0, said
    assert launched(study) == launched(whole)
    assert not leftovers(study)


def candidate(factor, validation=None, failure=None):
    rates = {"head": StageRates(0.01 * factor, 0.02 * factor)}
    run = MODULE.replace(toy.run("head"), rates=rates)
    best = None if validation is None else Epoch(1, 8, 0.5, validation)
    return Candidate(factor, run, Fitted({}, [best] if best else [], best, failure), 1.0)


@pytest.mark.parametrize(
    ("figures", "factor"),
    [
        ((0.7, 0.8, 0.9), 3),
        ((0.9, 0.8, 0.7), 1 / 3),
        ((0.9, 0.9, 0.9), 1),  # equal: the default
        ((0.9, 0.8, 0.9), 1 / 3),  # equal and as far from the default: the lower
    ],
)
def test_which_rate_is_chosen(figures, factor):
    tried = [candidate(f, v) for f, v in zip((1 / 3, 1, 3), figures, strict=True)]
    assert search.chosen(tried).factor == factor


def test_a_rate_that_diverged_drops_out_however_good_it_was():
    tried = [candidate(1 / 3, 0.6), candidate(1, 0.7), candidate(3, 0.99, "diverged at step 40")]
    assert search.chosen(tried).factor == 1
    assert search.failure(tried) is None
    told = search.record(tried)["search"]
    assert [rate["reason"] for rate in told] == [None, None, "diverged at step 40"]


def test_a_run_of_which_one_rate_diverges_keeps_another(images, tmp_path, monkeypatch):
    fit = MODULE.fit

    def broken(runner, runs, *more):
        fits = fit(runner, runs, *more)
        fits[-1].failure = "diverged at step 3: loss nan at a highest rate of 1"
        return fits

    monkeypatch.setattr(MODULE, "fit", broken)
    sweep(config(images, seeds=1, **SEARCH), tmp_path, quiet=True)
    (result,) = results(tmp_path).values()
    assert result["status"] == "done" and result["rate_factor"] < 3
    assert result["search"][-1]["reason"].startswith("diverged")
    assert "×3 1 diverged" in report(tmp_path).read_text()


def test_a_run_whose_rates_all_diverge_fails_with_a_sentence(images, tmp_path, monkeypatch):
    wanted = config(images, seeds=1, **{**SEARCH, "rates.head": 1e37})
    sweep(wanted, tmp_path, quiet=True)
    (result,) = results(tmp_path).values()
    assert result["status"] == "failed" and result["test"] is None
    assert result["reason"].startswith("diverged at all 3 rates that were tried; at the lowest: ")
    assert len(result["search"]) == 3
    monkeypatch.setattr(MODULE, "fit", None)
    sweep(wanted, tmp_path, quiet=True)  # as one rate that diverged, it is not tried again
    assert retry_failed(tmp_path) == 1


def test_scratch_has_its_own_epochs_and_patience(images, tmp_path):
    own = {"training.scratch.epochs": 3, "training.scratch.patience": 9}
    sweep(config(images, "conv10,scratch", 1, **own), tmp_path, quiet=True)
    epochs = {result["depth"]: result["epochs"] for result in results(tmp_path).values()}
    assert epochs == {"conv10": 1, "scratch": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rates.search": 2}, "rates.search is 2: give 1 .no search., 3 "),
        ({"rates.search": 0}, "rates.search is 0"),
        ({"rates.search": -3}, "rates.search is -3"),
        ({"rates.search": 11}, "odd number up to 9"),
        ({"training.scratch.epochs": -1}, "training.scratch.epochs is -1"),
        ({"training.scratch.patience": -1}, "training.scratch.patience is -1"),
    ],
)
def test_impossible_searches(images, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        sweep(config(images, **change), tmp_path / "study", quiet=True)
    assert not (tmp_path / "study").exists()


def test_the_report_names_the_rates(searched):
    page = report(searched).read_text()
    assert "Rates and epochs" in page and "×1/3" in page
    assert "still improving" in page  # of two epochs each best is among the last two
    rows = rows_of(searched / "results.csv")
    told = results(searched)
    for row in rows:
        assert float(row["rate_factor"]) == told[row["run"]]["rate_factor"]
        assert float(row["rate"]) == told[row["run"]]["rate"]
        assert row["still_improving"] == "1"
    assert json.loads((searched / "study.json").read_text())["config"]["rates"]["search"] == 3
