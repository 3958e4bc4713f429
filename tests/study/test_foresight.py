"""`medtune probe`: every stage in one pass, patients apart, the test set not read."""

import csv

import numpy as np
import pytest

from medtune_jax import cli
from medtune_jax.study import foresight as module
from medtune_jax.study import probe
from medtune_jax.study.prepare import read_study
from medtune_jax.training.inputs.pooled import pooled_features
from tests.study.test_sweep import config


@pytest.fixture(scope="module")
def found(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    return probe(config(images), folder), folder


def test_every_stage_but_the_head_has_both_figures_by_seed(found):
    known, folder = found
    names = ["conv1", *(f"fire{n}" for n in range(2, 10))]
    assert [stage.stage for stage in known.stages] == names
    assert [stage.features for stage in known.stages][-1] == 512
    with (folder / module.TABLE).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["stage"], row["seed"]) for row in rows] == [(n, s) for n in names for s in "01"]
    assert all(0 <= float(row["validation"]) <= 1 for row in rows)
    assert all(np.isfinite(float(row["logme"])) for row in rows)
    assert sorted(path.name for path in folder.iterdir()) == ["probe.csv", "probe.svg"]
    assert "fire9" in known.text and "2 seeds" in known.text


def test_features_are_the_means_of_what_the_network_computes(images):
    study = read_study(config(images), "unwritten")
    patches = np.array([5, 3, 8])
    got = pooled_features(study.cache, patches)
    inputs = study.cache.inputs("conv1")
    x = inputs.take(inputs.arrays, patches)
    for stage in ("conv1", "fire5"):
        behind = study.network.names[study.network.index(stage) + 1]
        want = study.network.apply(study.source.params, x, stop=behind).mean(axis=(1, 2))
        np.testing.assert_allclose(got[stage], want, rtol=1e-4, atol=1e-4)


def test_patients_stay_apart_and_test_images_are_not_read(images, monkeypatch):
    read, judged, study = [], [], read_study(config(images), "unwritten")
    groups, test = study.dataset.groups, study.dataset.test

    def seen(cache, patches):
        read.extend(patches)
        return {
            "conv1": patches[:, None].astype(float)
        }  # so that a probe's features are the patches' numbers

    def probed(train, labels, valid, classes, balanced):
        judged.append((train[:, 0].astype(int), valid[:, 0].astype(int)))
        return np.zeros((len(valid), classes))

    monkeypatch.setattr(module, "pooled_features", seen)
    monkeypatch.setattr(module, "linear_probe", probed)
    probe(config(images))
    assert read and not test[read].any()
    assert len(judged) == 2
    for train, valid in judged:
        assert not set(groups[train]) & set(groups[valid])


def test_on_the_command_line(images, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(
        module,
        "probe",
        lambda *given: (
            given and module.Foresight("n", "AUC", 1.0, (module.Known("a", 3, (0.1,), (0.7,)),))
        ),
    )
    arguments = ["probe", "--config=configs/image_folder.py", f"--config.data.dir={images}"]
    assert cli.run(arguments) == 0
    assert "0.700" in capsys.readouterr().out
    assert cli.run(["probe"]) == 2
    assert "no config given" in capsys.readouterr().err


def test_a_probe_names_the_studies_it_belongs_to(images, found):
    """Those of other depths and as many seeds as may be, but of no other rates."""
    identity = read_study(config(images, "conv10,fire9", 3), "unwritten").plan.identity
    other = read_study(config(images, **{"rates.head": 0.5}), "unwritten").plan.identity
    with (found[1] / module.TABLE).open(newline="") as stream:
        assert {row["identity"] for row in csv.DictReader(stream)} == {identity} != {other}
