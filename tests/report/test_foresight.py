"""The probe beside a study: shown, refused where it is another's, and how well it orders depths."""

import json

import pytest

from medtune_jax.evaluation.foresight import Known
from medtune_jax.paths import csv_bytes
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.foresight import agreement, section
from medtune_jax.report.load import load_study
from tests.report.fake_study import write_study

COLUMNS = ("stage", "features", "seed", "logme", "validation", "identity")


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path)


def made(study):
    return section(Evidence(load_study(study)))


def write(study, identity, stages=None):
    manifest = json.loads((study / "study.json").read_text())
    names = [stage["name"] for stage in manifest["network"]["stages"]]
    rows = [
        (name, 8, seed, -0.5 + 0.01 * number, 0.7 + 0.01 * number + 0.001 * seed, identity)
        for number, name in enumerate(stages or names[:-1])
        for seed in range(2)
    ]
    (study / "probe").mkdir(exist_ok=True)
    (study / "probe" / "probe.csv").write_bytes(csv_bytes([COLUMNS, *rows]))
    return manifest["identity"], names


def test_a_probe_stands_beside_the_depths_that_were_tuned(study):
    assert made(study) is None
    identity, names = write(study, "x")
    write(study, identity)
    found = made(study)
    assert found.title == "What each stage already knew"
    assert f"only {names[-1]}" in found.html and "0.700" in found.html
    assert [drawing.name for drawing in found.drawings] == ["probe"]


def test_another_studys_probe_and_a_damaged_one_are_not_shown(study):
    identity, names = write(study, "other")
    assert "is of another config" in made(study).html
    write(study, identity, names[:2])
    assert "is of another config" in made(study).html
    (study / "probe" / "probe.csv").write_text("stage,seed\nconv1,0\n")
    assert "cannot be read" in made(study).html and not made(study).drawings


def test_stages_without_weights_are_not_asked_of_a_probe(study):
    identity, names = write(study, "x")
    manifest = json.loads((study / "study.json").read_text())
    new = manifest["network"] | {"new_stages": names[-3:-1]}
    (study / "study.json").write_text(json.dumps(manifest | {"network": new}))
    write(study, identity, names[:-3])
    assert made(study).drawings
    (study / "study.json").write_text(json.dumps(manifest))
    assert "is of another config" in made(study).html


def test_how_well_a_probe_orders_depths():
    figures = (("a", 3.0, 0.7), ("b", 2.0, 0.8), ("c", 1.0, 0.9))
    stages = [Known(name, 2, (logme,), (value,)) for name, logme, value in figures]
    found = agreement(stages, {"a": 0.80, "b": 0.85, "c": 0.95})
    assert found["validation"] == (pytest.approx(1), "c", 0)
    assert found["logme"] == (pytest.approx(-1), "a", pytest.approx(0.15))
    part = agreement(stages, {"a": 0.8, "b": 0.7})  # of the depths behind a and b alone
    assert part["validation"] == (pytest.approx(-1), "b", pytest.approx(0.1))
