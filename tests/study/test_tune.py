"""A depth chosen without training all, and its network: resumed, shared, scored once, loaded again."""

import csv
import json
from importlib import import_module

import numpy as np
import pytest

from medtune_jax import cli, signals, weights
from medtune_jax.applications.predict import load, predict
from medtune_jax.errors import UserError
from medtune_jax.study import compare, report, sweep, tune
from medtune_jax.study.progress import Progress
from medtune_jax.training import Fitted
from tests.sharing.launchers import command, finished, launch
from tests.study.test_sweep import config

RUNS = import_module("medtune_jax.study.runs")
PROBES = import_module("medtune_jax.study.probes")
DEPTHS = "conv10,fire9,fire8,scratch"


def wanted(images, **changes):
    return config(images, DEPTHS, 2, **{"training.epochs": 5, **changes})


@pytest.fixture(scope="module")
def tuned(images, tmp_path_factory):
    return tune(wanted(images), tmp_path_factory.mktemp("tuned"), quiet=True)


def table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def kept(folder):
    names = ("result.json", "history.csv", "scores.csv")
    return {name: (folder / name).read_bytes() for name in names}


def test_the_network_is_trained_on_all_that_is_no_test_data(tuned):
    result = json.loads((tuned.network / "result.json").read_text())
    assert result["status"] == "done"
    assert result["train_images"] == 32  # of 40, eight of them the test set
    assert result["val_images"] == 0 and result["validation"] is None
    history = table(tuned.network / "history.csv")
    assert len(history) == tuned.epochs
    assert {row["validation"] for row in history} == {""}
    assert len(table(tuned.network / "scores.csv")) == 8


def test_the_test_set_is_scored_for_the_final_network_alone(images, tmp_path, monkeypatch):
    scored, predict = [], RUNS.predict

    def counted(runner, params, inputs, index, settings):
        scored.append(len(index))
        return predict(runner, params, inputs, index, settings)

    monkeypatch.setattr(RUNS, "predict", counted)
    found = tune(wanted(images), tmp_path, quiet=True)
    assert scored == [8]
    assert [run.parent.name for run in tmp_path.glob("runs/*/scores.csv")] == [found.network.name]


def test_its_checkpoint_can_be_loaded(tuned):
    checkpoint = weights.load(tuned.network / "weights")
    assert checkpoint.params["conv10"]["kernel"].shape[-1] == 2
    assert load(tuned.network).config["application"] == "image_folder"


def test_it_predicts_without_a_threshold(tuned, images, tmp_path):
    """Nothing was held back to choose one on; figures that need none are there."""
    said = predict(tuned.directory, [images], tmp_path).summary
    assert "AUC: " in said and "Sensitivity: none" in said


def test_the_page_says_what_was_skipped_and_why(tuned):
    page = report(tuned.directory)
    said = (tuned.directory / "answer.txt").read_text()
    rows = {row["depth"]: row for row in table(tuned.directory / "tune.csv")}
    assert {*rows} == {"conv10", "fire9", "fire8"}
    for depth in tuned.search.skipped:
        assert rows[depth]["epochs"] == "0" and rows[depth]["reason"]
        assert "Skipped, not trained at all" in said
    assert rows[tuned.depth]["reason"] == ""
    assert "scored once" in said and "nan" not in page.read_text().lower().split()
    assert tuned.network.name in page.read_text()
    assert table(tuned.directory / "results.csv")[0]["status"] == "done"


def test_without_a_rival_one_seed_goes_on_alone(tuned):
    """Looks after 4 and 5 epochs: all seeds at the first, at the second one of the only depth that is left."""
    looks = {p.stem: json.loads(p.read_text()) for p in tuned.directory.glob("probes/*.json")}
    alone = looks.pop(f"{tuned.depth}-e5-s0")
    assert {name.rpartition("-")[2] for name in looks} == {"e4"}
    assert all([row["seed"] for row in look["tries"]] == [0, 1] for look in looks.values())
    [row] = alone["tries"]
    curve = row["curve"]
    assert curve[:4] == looks[f"{tuned.depth}-e4"]["tries"][0]["curve"] and len(curve) == 5
    assert tuned.epochs == curve.index(max(curve)) + 1
    record = json.loads((tuned.directory / "tune.json").read_text())["tried"][tuned.depth]
    assert (record["epochs"], record["judged_after"], record["trained"]) == (5, 4, 5 + 4)
    assert len(record["validation"]) == 2
    report(tuned.directory)
    said = (tuned.directory / "answer.txt").read_text()
    assert "after 4 epochs at most, mean of 2 seeds" in said


def test_a_seed_that_diverges_alone_is_replaced(images, tmp_path, monkeypatch):
    train = PROBES._row

    def diverging(seed, candidate):
        row = train(seed, candidate)
        lost = len(row["curve"]) == 5 and seed == 0
        return {**row, "reason": "diverged at step 9: loss nan"} if lost else row

    monkeypatch.setattr(PROBES, "_row", diverging)
    found = tune(wanted(images), tmp_path, quiet=True)
    names = sorted(path.stem for path in tmp_path.glob(f"probes/{found.depth}-e5-*"))
    assert names == [f"{found.depth}-e5-s0", f"{found.depth}-e5-s1"]
    [row] = json.loads((tmp_path / "probes" / f"{names[1]}.json").read_text())["tries"]
    assert found.epochs == row["curve"].index(max(row["curve"])) + 1


def test_the_same_command_trains_nothing_again(tuned, images, monkeypatch):
    monkeypatch.setattr(RUNS, "fit", None)
    again = tune(wanted(images), tuned.directory, quiet=True)
    assert again == tuned


def test_an_interrupted_search_ends_in_the_same_bytes(tuned, images, tmp_path, monkeypatch):
    """Stopped after every few epochs, at looks and in the final network alike."""
    record, count = Progress.epoch, 0

    def interrupting(self, *given):
        nonlocal count
        record(self, *given)
        count += 1
        if count % 7 == 0:
            raise signals.Stop

    monkeypatch.setattr(Progress, "epoch", interrupting)
    for _ in range(40):
        try:
            found = tune(wanted(images), tmp_path, quiet=True)
            break
        except signals.Stop:
            continue
    assert count >= 14
    assert (found.depth, found.epochs) == (tuned.depth, tuned.epochs)
    assert kept(found.network) == kept(tuned.network)
    assert not list(tmp_path.glob("runs/.*"))


def test_a_look_that_is_damaged_is_made_again(images, tmp_path):
    first = tune(wanted(images), tmp_path, quiet=True)
    look = next(tmp_path.glob("probes/conv10-*.json"))
    look.write_text(look.read_text()[:-20])
    assert tune(wanted(images), tmp_path, quiet=True).depth == first.depth
    assert json.loads(look.read_text())["depth"] == "conv10"


def test_a_search_of_rates_gives_the_network_its_rate(images, tmp_path):
    found = tune(wanted(images, **{"rates.search": 3, "training.epochs": 2}), tmp_path, quiet=True)
    result = json.loads((found.network / "result.json").read_text())
    assert result["rate_factor"] == pytest.approx(found.rate_factor)
    tries = json.loads(next(tmp_path.glob("probes/*.json")).read_text())["tries"]
    assert len(tries) == 6


def test_a_tuned_network_is_compared_with_a_sweep(tuned, images, tmp_path):
    other = sweep(config(images, "conv10", 2), tmp_path / "sweep", quiet=True)
    row = compare(tuned.directory, other).rows[0]
    assert row.runs == 1 and row.difference.p is None


def test_sweep_and_tune_do_not_share_a_directory(tuned, images, tmp_path):
    with pytest.raises(UserError, match="holds another study"):
        sweep(wanted(images), tuned.directory, quiet=True)
    with pytest.raises(UserError, match="holds another study"):
        tune(wanted(images, **{"sweep.seeds": 1}), tuned.directory, quiet=True)


def test_bad_input_is_one_sentence(images, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no depth that starts from pre-trained weights"):
        tune(config(images, "scratch", 1), tmp_path / "a", quiet=True)
    assert cli.run(["tune", "--output=x"]) == 2

    def diverged(runner, runs, *given):
        return [Fitted(failure="diverged at step 1: loss nan") for _ in runs]

    monkeypatch.setattr(RUNS, "fit", diverged)
    with pytest.raises(UserError, match="every depth that was tried diverged"):
        tune(wanted(images), tmp_path / "b", quiet=True)


def test_a_page_before_the_end_is_refused_in_a_sentence(tuned, tmp_path):
    record = tuned.directory / "tune.json"
    content = record.read_bytes()
    record.write_bytes(content[:-30])
    try:
        with pytest.raises(UserError, match="run the same `medtune tune` again"):
            report(tuned.directory)
    finally:
        record.write_bytes(content)
    assert np.isfinite(json.loads(content)["most_epochs"])


def test_launchers_share_a_search_and_do_nothing_twice(images, tmp_path):
    fields = {"sweep__depths": "conv10,fire9", "sweep__fractions": "1.0", "training__epochs": 5}
    words = ["tune", *command(images, tmp_path, **fields)[1:]]
    for code, said in map(finished, [launch(words), launch(words)]):
        assert code == 0, said
    claims = [path.name for path in (tmp_path / "claims").iterdir()]
    assert claims and all(name.endswith(".0001") for name in claims)
    assert len(list(tmp_path.glob("runs/*-final-*"))) == 1
    assert len(list(tmp_path.glob("report.html"))) == 1
