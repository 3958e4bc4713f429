"""Studies that ran apart, as one."""

import json
import shutil

import pytest

from medtune_jax import cli
from medtune_jax.errors import UserError
from medtune_jax.paths import json_by_sum, json_with_sum, seal
from medtune_jax.study import default_config, report, sweep
from medtune_jax.study.merge import merge
from tests.sharing.launchers import results


@pytest.fixture(scope="module")
def parts(images, tmp_path_factory):
    """Two halves of a study that share a run, and the whole of it."""
    folder = tmp_path_factory.mktemp("parts")
    for name, fractions in (("a", "1.0,0.75"), ("b", "0.75,0.5"), ("whole", "1.0,0.75,0.5")):
        sweep(config(images, fractions), folder / name, quiet=True)
    return folder


def config(images, fractions="1.0", **training):
    made = default_config()
    made.data.dir, made.image_size = str(images), 64
    made.sweep.depths, made.sweep.seeds, made.sweep.fractions = "conv10", 1, fractions
    made.training.epochs = 1
    made.training.update(training)
    return made


def test_the_parts_are_the_whole(parts, tmp_path, capsys):
    assert cli.run(["merge", str(parts / "a"), str(parts / "b"), f"--output={tmp_path / 'c'}"]) == 0
    said = capsys.readouterr().out
    assert f"3 runs (2 of {parts / 'a'}, 1 of {parts / 'b'}), 0 still to run" in said
    assert results(tmp_path / "c") == results(parts / "whole")
    one, other = (
        json_by_sum(folder / "study.json") for folder in (tmp_path / "c", parts / "whole")
    )
    assert {run["run"] for run in one.pop("runs")} == {run["run"] for run in other.pop("runs")}
    one.pop("config"), other.pop("config")  # the lists of its last sweep
    assert one == other
    report(tmp_path / "c")
    table = (tmp_path / "c" / "results.csv").read_text().splitlines()
    assert len(table) == 4 and all(",done," in row for row in table[1:])


def test_a_merged_study_goes_on(parts, images, tmp_path):
    shutil.copytree(parts / "b", tmp_path / "b")
    lost = next((tmp_path / "b" / "runs").glob("*f0.5*"))
    shutil.rmtree(lost)
    assert "1 still to run" in merge([parts / "a", tmp_path / "b"], tmp_path / "c")
    sweep(config(images, "1.0,0.75,0.5"), tmp_path / "c", quiet=True)
    assert results(tmp_path / "c") == results(parts / "whole")


@pytest.mark.parametrize(
    ("training", "field"),
    [({"batch": 8}, "config.training.batch is 32"), ({"epochs": 2}, "config.training.epochs is 1")],
)
def test_another_config_is_refused_by_the_field_that_differs(
    parts, images, tmp_path, training, field
):
    sweep(config(images, **training), tmp_path / "b", quiet=True)
    with pytest.raises(UserError, match=f"different studies: {field}"):
        merge([parts / "a", tmp_path / "b"], tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_other_data_are_refused(parts, tmp_path, write_images):
    other = tmp_path / "images"
    other.mkdir()
    sweep(config(write_images(other, 12, 4, 64)), tmp_path / "b", quiet=True)
    with pytest.raises(UserError, match=r"different studies: data\.fingerprint is"):
        merge([parts / "a", tmp_path / "b"], tmp_path / "c")


def test_contradicting_results_of_one_run_are_refused(parts, tmp_path):
    shutil.copytree(parts / "b", tmp_path / "b")
    run = next((tmp_path / "b" / "runs").glob("*f0.75*"))
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "test": 0.123}))
    seal(run)
    with pytest.raises(UserError, match="the same run has two results") as error:
        merge([parts / "a", tmp_path / "b"], tmp_path / "c")
    assert str(run / "result.json") in str(error.value)
    assert not list(tmp_path.glob("*c*"))


@pytest.mark.parametrize("status", ["failed", "damaged"])
def test_what_is_done_goes_before_what_failed_or_is_damaged(parts, tmp_path, status):
    shutil.copytree(parts / "a", tmp_path / "a")
    run = next((tmp_path / "a" / "runs").glob("*f0.75*"))
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "status": "failed", "reason": "x"}))
    if status == "failed":
        seal(run)
    merge([tmp_path / "a", parts / "b"], tmp_path / "c")
    assert results(tmp_path / "c") == results(parts / "whole")


def test_tables_of_the_application_have_the_rows_of_both(parts, tmp_path):
    for name, rows in (("a", "1.0,x\n0.5,x\n"), ("b", "0.5,x\n0.25,y\n")):
        shutil.copytree(parts / name, tmp_path / name)
        (tmp_path / name / "application").mkdir(exist_ok=True)
        (tmp_path / name / "application" / "baseline.csv").write_text(f"fraction,frame\n{rows}")
        seal(tmp_path / name / "application")
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    table = (tmp_path / "c" / "application" / "baseline.csv").read_text()
    assert table == "fraction,frame\n1.0,x\n0.5,x\n0.25,y\n"


def test_what_cannot_be_merged(parts, tmp_path):
    a, b = parts / "a", parts / "b"
    for studies, output, said in [
        ([a], tmp_path / "c", "two studies or more"),
        ([a, b], b, "exists"),
        ([a, tmp_path], tmp_path / "c", "holds no study.json"),
        ([a, b, a.parent / "b" / ".." / "a"], tmp_path / "c", "given twice"),
    ]:
        with pytest.raises(UserError, match=said):
            merge(studies, output)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "study.json").write_bytes(json_with_sum({"runs": []})[:-9])
    with pytest.raises(UserError, match=r"study\.json is damaged"):
        merge([a, tmp_path / "d"], tmp_path / "c")
    manifest = json_by_sum(a / "study.json")
    for runs in (manifest["runs"] * 2, [{**manifest["runs"][0], "seed": "0"}], {}, None):
        (tmp_path / "d" / "study.json").write_bytes(json_with_sum({**manifest, "runs": runs}))
        with pytest.raises(UserError, match=r"d/study\.json"):
            merge([a, tmp_path / "d"], tmp_path / "c")
