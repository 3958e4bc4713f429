"""The directory that `medtune export` makes, and what it refuses."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from medtune_jax import cli
from medtune_jax.errors import UserError
from medtune_jax.export import FORMATS, export
from medtune_jax.export.package import Difference
from medtune_jax.paths import damaged


def run_cli(capsys, *words):
    code = cli.run(["export", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_directory_for_others(run_dir, tmp_path, capsys):
    output = tmp_path / "out"
    code, said, _ = run_cli(capsys, run_dir, "--format=safetensors,orbax", f"--output={output}")
    assert code == 0
    assert re.search(r"safetensors: largest difference from the run on 64 images: .*\de-\d\d", said)
    names = {path.name for path in output.iterdir()}
    assert names == {"model.safetensors", "orbax", "model.json", "MODEL_CARD.md", "SHA256SUMS"}
    assert damaged(output) is None
    record = json.loads((output / "model.json").read_text())
    assert record["classes"] == ["bright", "dark"]
    assert record["input"] == {"shape": ["batch", 64, 64, 3], "dtype": "uint8", "channels": "RGB"}
    assert record["preprocessing"]["order"] == "BGR"
    assert max(record["formats"]["orbax"]["difference"].values()) <= 1e-4


def test_the_card_says_data_figures_limits_and_versions(run_dir, tmp_path):
    export(run_dir, ["safetensors"], tmp_path / "out")
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    result = json.loads((run_dir / "result.json").read_text())
    assert "In all 10 patients (8 to train on, 2 to test)" in card
    assert f"| AUC | {result['test']:.3f} | – |" in card
    assert "Where no interval is given: a class has 4 images of 1 patient" in card
    assert f"| {result['rate']}, {result['head_rate']} |" in card
    assert "channels as BGR" in card and "num_classes=2" in card
    for heading in ("Intended use", "Data", "Limits", "Training", "Versions"):
        assert f"\n## {heading}\n" in card


def test_a_format_that_differs_is_refused_and_leaves_nothing(run_dir, tmp_path, monkeypatch):
    def wrong(run, folder, images):
        probabilities, logits = run.outputs(images)
        return probabilities + np.float32(2e-4), logits

    off = SimpleNamespace(write=lambda run, folder: None, outputs=wrong, USE="")
    monkeypatch.setitem(FORMATS, "orbax", off)
    with pytest.raises(UserError, match=r"orbax differs from the run by 2\.0e-04"):
        export(run_dir, ["orbax"], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [2e-4, float("nan")])
def test_too_far(value):
    assert Difference(0.0, value).refused and Difference(value, 0.0).refused
    assert not Difference(1e-4, 0.0).refused


@pytest.mark.parametrize(
    ("format_", "said"),
    [("onxx", "did you mean 'onnx'"), ("", "no format given: add --format=stablehlo")],
)
def test_an_unknown_format(run_dir, tmp_path, capsys, format_, said):
    code, _, error = run_cli(capsys, run_dir, f"--format={format_}", f"--output={tmp_path / 'x'}")
    assert code == 2 and said in error and error.count("\n") == 1


def test_without_the_extra(run_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jax2onnx", None)
    code, _, error = run_cli(capsys, run_dir, "--format=onnx", f"--output={tmp_path / 'x'}")
    assert code == 2 and "pip install 'medtune-jax[onnx]'" in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def copied(study, tmp_path):
    """A study to spoil."""
    return shutil.copytree(study, tmp_path / "study")


def spoiled(copied, how):
    run = next((copied / "runs").glob("conv10-*"))
    if how == "no weights":
        shutil.rmtree(run / "weights")
    elif how == "damaged":
        (run / "result.json").write_text("{}")
    elif how == "damaged weights":
        next(path for path in (run / "weights" / "params").rglob("*") if path.is_file()).write_text(
            ""
        )
    elif how == "other version":
        manifest = json.loads((copied / "study.json").read_text())
        del manifest["checksum"]
        manifest["runs"] = ["a", "b"]
        (copied / "study.json").write_text(json.dumps(manifest))
    elif how == "no run":
        return copied
    elif how == "unknown run":
        return run.with_name("conv9")
    return run


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no weights", "kept no weights"),
        ("damaged", "is damaged"),
        ("damaged weights", "is damaged"),
        ("other version", "has a layout that medtune_jax"),
        ("no run", "is no run of a study: give STUDY/runs/NAME"),
        ("unknown run", "has no run 'conv9'"),
    ],
)
def test_bad_runs(copied, tmp_path, capsys, how, said):
    run = spoiled(copied, how)
    code, _, error = run_cli(capsys, run, "--format=orbax", f"--output={tmp_path / 'x'}")
    lines = 2 if how == "damaged" else 1  # which run it is stands on a line of its own
    assert code == 2 and said in error and error.count("\n") == lines
    assert not (tmp_path / "x").exists()


def test_a_directory_that_exists(run_dir, tmp_path, capsys):
    code, _, error = run_cli(capsys, run_dir, "--format=orbax", f"--output={tmp_path}")
    assert code == 2 and "exists already" in error
