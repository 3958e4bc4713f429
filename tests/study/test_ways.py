"""Ways to tune beside the depths: what moves, what stays bit-equal, phases, resuming, and the page."""

import csv
import json

import jax
import numpy as np
import pytest

from medtune_jax import networks, weights
from medtune_jax.errors import UserError
from medtune_jax.networks.norms import STATISTICS
from medtune_jax.report.load import load_study
from medtune_jax.study import make_plan, report, sweep, tune
from medtune_jax.study.augmentation import decides
from medtune_jax.study.progress import Progress
from medtune_jax.training import Partial
from medtune_jax.tuning import parse
from tests.study.test_sweep import FILES, MODULE, config, results, stacking

DEPTHS = "conv10,fire9,lpft:fire9,only:fire7"
KEPT = {"training.keep_weights": True, "training.keep": "all"}


@pytest.fixture(scope="module")
def study(images, tmp_path_factory):
    fields = {"training.epochs": 2, **KEPT}
    return sweep(config(images, DEPTHS, 2, **fields), tmp_path_factory.mktemp("s"), quiet=True)


def of_depth(folder, depth):
    """{seed: (run's folder, its result)}."""
    found = results(folder).items()
    return {r["seed"]: (folder / "runs" / name, r) for name, r in found if r["depth"] == depth}


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def moved(folder):
    """{stage: names of the parameters that are not bit-equal to the released weights}, without the head."""
    released = weights.pretrained("squeezenet", "", True).params
    kept = weights.load(folder / "weights").params
    found = {}
    for stage in released.keys() & kept.keys() - {"conv10"}:
        pairs = zip(
            *map(jax.tree_util.tree_leaves_with_path, (released[stage], kept[stage])), strict=True
        )
        names = {path[-1].key for (path, a), (_, b) in pairs if not np.array_equal(a, b)}
        if names:
            found[stage] = names
    return found


def test_only_a_block_moves_and_the_frozen_stages_are_bit_equal(study):
    for folder, result in of_depth(study, "only:fire7").values():
        assert result["status"] == "done", result["reason"]
        assert folder.name.startswith("only-fire7-f1-s")
        assert moved(folder) == {"fire7": {"kernel", "bias"}}


def test_lpft_begins_with_the_very_run_of_the_head(study):
    """Its first epochs are those of 'only conv10', then it trains what its depth trains; both count."""
    probes, tuned = of_depth(study, "conv10"), of_depth(study, "lpft:fire9")
    assert sorted(tuned) == [0, 1]
    for seed, (folder, result) in tuned.items():
        probe, _ = probes[seed]
        history, first = rows_of(folder / "history.csv"), rows_of(probe / "history.csv")
        assert history[: len(first)] == first
        assert [int(row["epoch"]) for row in history] == [1, 2, 3, 4]
        steps = [int(row["batches"]) for row in history]
        assert steps == [steps[0] * n for n in (1, 2, 3, 4)]
        assert (result["epochs"], result["epochs_before"], result["steps"]) == (4, 2, steps[-1])
        # The best snapshot is one of the second phase, whatever the first one reached.
        second = [float(row["validation"]) for row in history[2:]]
        assert result["validation"] == pytest.approx(max(second), abs=1e-6)
        assert result["best_epoch"] == 3 + second.index(max(second))
        assert set(moved(folder)) == {"fire9"}


def test_lpft_starts_from_the_best_head_and_the_test_set_is_scored_once(
    images, tmp_path, monkeypatch
):
    starts, fit = [], MODULE.fit
    scored, predict = [], MODULE.predict

    def seen(runner, runs, *more):
        found = fit(runner, runs, *more)
        starts.append((runs[0].params["conv10"], found[0].params["conv10"]))
        return found

    def counted(runner, params, inputs, index, settings):
        scored.append(len(index))
        return predict(runner, params, inputs, index, settings)

    monkeypatch.setattr(MODULE, "fit", seen)
    monkeypatch.setattr(MODULE, "predict", counted)
    sweep(config(images, "lpft:fire9", 1), tmp_path, quiet=True)
    (_, probed), (start, _) = starts
    jax.tree.map(np.testing.assert_array_equal, probed, start)
    assert len(scored) == 2  # the test set, and beside it the run's own validation set


def lpft(images, seeds):
    return config(
        images, "lpft:fire9", seeds, **{"training.epochs": 2, "training.keep_weights": False}
    )


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    """{stacked: a study of two seeds}."""
    found = {}
    for pays in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MODULE, "runner_for", stacking(pays))
            found[pays] = sweep(lpft(images, 2), tmp_path_factory.mktemp("whole"), quiet=True)
    return found


@pytest.mark.parametrize("at", [2, 4])
@pytest.mark.parametrize("pays", [True, False])
def test_interrupted_in_either_phase_it_ends_in_the_same_bytes(
    images, whole, tmp_path, monkeypatch, pays, at
):
    """After the last epoch of the head, so between the phases, and in the second phase; nothing is trained twice."""
    wanted = lpft(images, 2 if pays else 1)
    monkeypatch.setattr(MODULE, "runner_for", stacking(pays))
    told = []

    def epoch(self, run, record, factor=1.0):
        told.append((run.seed, record.epoch))
        if len(told) == at * wanted.sweep.seeds - (at == 4):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(
            MODULE, "Partial", lambda path, **own: Partial(path, **{**own, "interval": 0})
        )
        patch.setattr(Progress, "epoch", epoch)
        with pytest.raises(KeyboardInterrupt):
            sweep(wanted, tmp_path, quiet=True)
        sweep(wanted, tmp_path, quiet=True)
    assert max(told.count(pair) for pair in told) <= 2  # once in each phase
    runs = list((tmp_path / "runs").iterdir())
    assert len(runs) == wanted.sweep.seeds
    for run in runs:
        for file in FILES:
            assert (whole[pays] / "runs" / run.name / file).read_bytes() == (
                run / file
            ).read_bytes()


def test_seeds_of_lpft_that_stack_end_as_alone(whole):
    curves = []
    for study in whole.values():
        histories = [
            rows_of(folder / "history.csv") for folder, _ in of_depth(study, "lpft:fire9").values()
        ]
        curves.append([[float(row["loss"]) for row in rows] for rows in histories])
    np.testing.assert_allclose(*curves, atol=1e-3)


def test_a_probe_that_diverges_is_not_tuned_further(images, tmp_path):
    sweep(config(images, "lpft:fire9", 1, **{"rates.head": 1e37}), tmp_path, quiet=True)
    (result,) = results(tmp_path).values()
    assert result["status"] == "failed" and result["reason"].startswith("diverged at step")
    assert result["test"] is None


def test_each_rate_of_a_search_goes_through_both_phases(images, tmp_path):
    sweep(config(images, "lpft:fire9", 1, **{"rates.search": 3}), tmp_path, quiet=True)
    (result,) = results(tmp_path).values()
    assert [rate["epochs"] for rate in result["search"]] == [2, 2, 2]
    assert all(rate["best_epoch"] == 2 for rate in result["search"])
    (run,) = (tmp_path / "runs").iterdir()
    assert len(rows_of(run / "search.csv")) == 6


@pytest.mark.slow
def test_bitfit_moves_biases_alone(images, tmp_path):
    sweep(config(images, "bitfit", 1, **KEPT), tmp_path, quiet=True)
    ((folder, result),) = of_depth(tmp_path, "bitfit").values()
    assert result["status"] == "done", result["reason"]
    network = networks.get("squeezenet", 2)
    assert moved(folder) == {stage: {"bias"} for stage in network.names[:-1]}
    (entry,) = json.loads((tmp_path / "study.json").read_text())["depths"]
    released = networks.get("squeezenet", 2).abstract_params(64)
    biases = [
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(released)
        if path[-1].key not in (*STATISTICS, "kernel") or path[0].key == "conv10"
    ]
    assert entry["parameters"] == sum(biases)


def test_the_page_and_the_table_have_the_ways_beside_the_depths(study):
    page = report(study).read_text()
    assert "Other ways to tune" in page and "LP-FT fire9-conv10" in page
    assert "fire7 and conv10" in page
    loaded = load_study(study)
    assert loaded.tuned_depths == ["conv10", "fire9"]
    assert loaded.way_depths == ["lpft:fire9", "only:fire7"]
    answer = (study / "answer.txt").read_text()
    assert "LP-FT" not in answer and "fire7" not in answer
    rows = rows_of(study / "results.csv")
    assert [row["depth"] for row in rows][::2] == ["conv10", "fire9", "lpft:fire9", "only:fire7"]
    assert {row["epochs_before"] for row in rows if row["depth"] == "lpft:fire9"} == {"2"}


def test_a_study_of_depths_says_nothing_of_ways(images, tmp_path):
    """Its manifest is what it was, so that it goes on where an older version began it."""
    sweep(config(images, "conv10", 1), tmp_path, quiet=True)
    (entry,) = json.loads((tmp_path / "study.json").read_text())["depths"]
    assert sorted(entry) == ["label", "name", "scratch", "tuned"]
    assert "Other ways to tune" not in report(tmp_path).read_text()


def test_depths_added_later_stand_before_the_ways(images, tmp_path):
    for depths in ("only:fire7", "conv10"):
        sweep(config(images, depths, 1), tmp_path, quiet=True)
    manifest = json.loads((tmp_path / "study.json").read_text())
    assert [depth["name"] for depth in manifest["depths"]] == ["conv10", "only:fire7"]


def test_tune_looks_at_depths_alone(images, tmp_path):
    with pytest.raises(UserError, match="names no depth"):
        tune(config(images, "bitfit,only:fire7", 1), tmp_path, quiet=True)


def test_views_count_for_the_phase_that_reads_features(images):
    """LP-FT from the first stage reads pixels in its second phase only: its name says how many views the first had."""
    wanted = config(images, **{"augment.depths": "pixels", "augment.copies": 3})
    network = networks.get("squeezenet", 2)
    said = {
        name: decides(wanted, network, parse(network, name)) for name in ("conv1", "lpft:conv1")
    }
    assert "copies" not in said["conv1"]["augment"]
    assert said["lpft:conv1"]["augment"]["copies"] == 3


def test_l2_sp_keeps_stages_near_and_leaves_names_and_the_head_alone(images, tmp_path, monkeypatch):
    """Without it a run is called what it was before there was the field; a strong pull leaves fire9 nearer."""
    tasks, of = [], MODULE.task_of

    def seen(*given):
        tasks.append(of(*given))
        return tasks[-1]

    monkeypatch.setattr(MODULE, "task_of", seen)
    released = weights.pretrained("squeezenet", "", True).params["fire9"]
    names, away = [], []
    for strength in (0.0, 30.0):
        wanted = config(
            images, "fire9", 1, **{"optimizer.l2_sp": strength, "training.batch": 4, **KEPT}
        )
        study = sweep(wanted, tmp_path / str(strength), quiet=True)
        ((folder, result),) = of_depth(study, "fire9").values()
        assert result["status"] == "done", result["reason"]
        kept = weights.load(folder / "weights").params["fire9"]
        gaps = jax.tree.map(lambda a, b: float(np.square(a - b).sum()), kept, released)
        names.append(folder.name)
        away.append(sum(jax.tree.leaves(gaps)))
    assert away[1] < away[0]
    assert names[0] != names[1]
    with wanted.unlocked():
        del wanted.optimizer.l2_sp  # as of a study from before the field
    plain = config(images, "fire9", 1, **{"training.batch": 4, **KEPT})
    assert make_plan(wanted, 2, "", "").runs[0].name == make_plan(plain, 2, "", "").runs[0].name
    assert [task.optimizer.anchored for task in tasks] == [(), ("fire9",)]


def test_gradual_unfreezes_a_stage_an_epoch_and_resumes_to_the_same_bytes(
    images, tmp_path, monkeypatch
):
    wanted = config(images, "gradual:fire8", 1, **{"training.epochs": 2, "training.batch": 8})
    trained, of, told = [], MODULE.fit, []

    def fit(runner, runs, inputs, settings, *more):
        trained.append((runner.task.tuned, settings.epochs, inputs.start))
        return of(runner, runs, inputs, settings, *more)

    def epoch(self, run, record, factor=1.0):
        told.append(record)
        if len(told) == 2:  # in the second phase
            raise KeyboardInterrupt

    monkeypatch.setattr(MODULE, "fit", fit)
    whole = sweep(wanted, tmp_path / "whole", quiet=True)
    names = ("fire8", "fire9", "conv10")
    assert trained == [(names[2:], 1, "fire8"), (names[1:], 1, "fire8"), (names, 2, "fire8")]
    ((run, result),) = of_depth(whole, "gradual:fire8").values()
    assert (result["epochs"], result["epochs_before"]) == (4, 2)
    assert result["best_epoch"] >= 3
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "epoch", epoch)
        with pytest.raises(KeyboardInterrupt):
            sweep(wanted, tmp_path / "resumed", quiet=True)
    sweep(wanted, tmp_path / "resumed", quiet=True)
    for file in FILES:
        assert (tmp_path / "resumed" / "runs" / run.name / file).read_bytes() == (
            run / file
        ).read_bytes()
