"""A finished study keeps the weights of its answer, and those that are named."""

import json
import shutil

import pytest

from medtune_jax import cli
from medtune_jax.errors import UserError
from medtune_jax.study import default_config, sweep
from medtune_jax.study import prune as prune_module
from medtune_jax.study.prune import prune
from tests.report.fake_study import write_study


def with_weights(folder, **study):
    """A study whose runs have each a file of 1 MiB as weights."""
    write_study(folder, depths=("conv10", "fire9", "scratch"), seeds=3, **study)
    for run in (folder / "runs").iterdir():
        (run / "weights").mkdir()
        (run / "weights" / "params").write_bytes(bytes(2**20))
    return folder


def kept(folder):
    return {path.parent.name for path in (folder / "runs").glob("*/weights")}


def of(folder, depth, fraction=None):
    runs = json.loads((folder / "study.json").read_text())["runs"]
    return {r["run"] for r in runs if r["depth"] == depth and fraction in (None, r["fraction"])}


def skill(depth, fraction):
    return {"conv10": 0.2, "fire9": 3.0, "scratch": 1.0}[depth]


@pytest.fixture
def study(tmp_path):
    return with_weights(tmp_path / "study", skill=skill)


def test_the_recommended_runs_stay_with_their_figures(study):
    found = prune(study)
    (depth,) = {run.split("-")[0] for run in found.kept}
    assert kept(study) == of(study, depth, 1.0) == set(found.kept)
    assert (found.size, found.freed) == (3 * 2**20, 15 * 2**20)
    assert len(list(study.glob("runs/*/scores.csv"))) == 18
    assert f"3 runs kept, 3.0 MiB (recommended: {depth}); 15 removed" in str(found)
    assert not list(study.glob("runs/.*")), "nothing is left behind"


def test_depths_and_runs_that_are_named_stay_too(study):
    one = min(of(study, "conv10", 0.25))
    found = prune(study, f"scratch,{one}")
    assert of(study, "scratch") | {one} <= kept(study)
    assert kept(study) - of(study, "scratch") - {one} <= set(found.kept)


def test_all_removes_nothing(study):
    assert prune(study, "all").removed == ()
    assert len(kept(study)) == 18


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_budget_takes_no_more_than_it_needs_and_the_least_worth_first(study):
    """4 MiB too much: scratch, the worse one, at the smaller training set, then one network of fire9 there."""
    budget = size_of(study) - 4 * 2**20
    found = prune(study, "conv10", budget)
    assert size_of(study) == budget and found.freed == 4 * 2**20
    small = of(study, "fire9", 0.25)
    assert of(study, "scratch", 0.25) < set(found.removed)
    assert set(found.removed) <= of(study, "scratch", 0.25) | small
    assert len(kept(study) & small) == 2
    assert "all of the study within" in str(found) and prune(study, "all", budget).removed == ()


def test_a_budget_that_the_kept_runs_exceed_removes_nothing(study, capsys):
    needed = (size_of(study) - 15 * 2**20) / 2**30
    assert cli.run(["prune", str(study), f"--budget={needed - 1e-4}"]) == 2
    error = capsys.readouterr().err
    assert "without any weights that may go" in error and error.count("\n") == 1
    assert len(kept(study)) == 18
    assert cli.run(["prune", str(study), f"--budget={needed + 1e-6}"]) == 0
    assert kept(study) == of(study, "fire9", 1.0)


@pytest.mark.parametrize("budget", ["0", "-1", "nan", "inf", "much"])
def test_a_budget_that_is_no_size(study, budget, capsys):
    assert cli.run(["prune", str(study), f"--budget={budget}"]) == 2
    assert f"--budget={budget} is no" in capsys.readouterr().err
    assert len(kept(study)) == 18


def test_two_launchers_that_prune_at_once(study, monkeypatch):
    """The other one removes what we were about to remove."""
    remove = prune_module._remove
    monkeypatch.setattr(prune_module, "_remove", lambda path: (shutil.rmtree(path), remove(path)))
    assert len(prune(study).removed) == 15
    assert len(kept(study)) == 3


def test_pruning_again_says_what_the_answer_lacks(study):
    first = prune(study)
    shutil.rmtree(study / "runs" / first.kept[0] / "weights")
    assert f"1 recommended runs have no weights ({first.kept[0]})" in str(prune(study))


def test_a_study_from_scratch_alone_keeps_all(tmp_path):
    write_study(tmp_path, depths=("scratch",), fractions=(1.0,), seeds=1)
    (run,) = (tmp_path / "runs").iterdir()
    (run / "weights").mkdir()
    assert prune(tmp_path).removed == () and (run / "weights").is_dir()


def test_an_unfinished_study_is_left_alone(tmp_path, capsys):
    folder = with_weights(tmp_path / "study", missing=[("fire9", 1.0, 0)])
    assert cli.run(["prune", str(folder)]) == 2
    error = capsys.readouterr().err
    assert "is not finished (1 of 18 runs are missing)" in error and error.count("\n") == 1
    assert len(kept(folder)) == 17


@pytest.mark.parametrize(("name", "near"), [("fire8", "fire9"), ("al", "all")])
def test_an_unknown_name(study, name, near):
    with pytest.raises(UserError, match=f"no depth or run '{name}' to keep; did you mean '{near}'"):
        prune(study, name)
    assert len(kept(study)) == 18


def test_no_study(tmp_path, capsys):
    assert cli.run(["prune", str(tmp_path)]) == 2
    assert "holds no study.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keep", "fractions"), [("recommended", [1.0]), ("conv10", [0.5, 1.0]), ("all", [0.5, 1.0])]
)
def test_a_sweep_prunes_when_it_is_done(tmp_path, write_images, keep, fractions):
    (tmp_path / "images").mkdir()
    config = default_config()
    config.data.dir = str(write_images(tmp_path / "images", 10, 4, 64))
    config.image_size, config.training.epochs, config.training.keep = 64, 1, keep
    config.sweep.depths, config.sweep.seeds, config.sweep.fractions = "conv10", 1, "1.0,0.5"
    study = sweep(config, tmp_path / "study", quiet=True)
    left = [json.loads((study / "runs" / run / "result.json").read_text()) for run in kept(study)]
    assert sorted(result["fraction"] for result in left) == fractions


def test_a_sweep_refuses_an_unknown_name_before_it_trains(tmp_path, write_images):
    (tmp_path / "images").mkdir()
    config = default_config()
    config.data.dir = str(write_images(tmp_path / "images", 10, 4, 64))
    config.image_size, config.sweep.depths, config.training.keep = 64, "conv10", "conv1"
    with pytest.raises(UserError, match="no depth or run 'conv1' to keep; did you mean 'conv10'"):
        sweep(config, tmp_path / "study", quiet=True)
    assert not list((tmp_path / "study").glob("runs/*"))
