"""A small study's networks on images that it never saw, and on its own test set."""

import csv
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from medtune_jax import cli
from medtune_jax.applications import parts
from medtune_jax.applications.kinds import KINDS, Kinds
from medtune_jax.applications.mapping import Mapper
from medtune_jax.applications.predict import load_all, predict
from medtune_jax.errors import UserError
from medtune_jax.evaluation import figures
from medtune_jax.explanation import overlay
from medtune_jax.study import default_config, sweep
from tests.applications.test_kinds import write_dicom

SIDE = 64


@pytest.fixture(scope="module")
def images(tmp_path_factory, write_images):
    return write_images(tmp_path_factory.mktemp("images"), patients=14, each=3, side=SIDE)


@pytest.fixture(scope="module")
def study(images, tmp_path_factory):
    made = default_config()
    made.data.dir, made.image_size = str(images), SIDE
    made.sweep.depths, made.sweep.seeds, made.sweep.fractions = "conv10", 2, "1.0"
    made.training.epochs, made.training.keep_weights = 3, True
    return sweep(made, tmp_path_factory.mktemp("study"), quiet=True)


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """Images of 12 other patients, harder ones, and two files that are none."""
    folder, rng = tmp_path_factory.mktemp("new"), np.random.default_rng(5)
    rows = ["image,label,patient"]
    for number in range(48):
        bright = number // 4 % 2
        pixels = rng.normal(105 + 50 * bright + 15 * rng.normal(), 30, (SIDE, SIDE, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{'bright' if bright else 'dark'},n{number // 4}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def runs_of(study):
    return sorted(path.parent for path in study.glob("runs/*/weights"))


def logits(rows):
    return np.array([[float(row[f"logit_{c}"]) for c in ("bright", "dark")] for row in rows])


def test_the_test_set_s_own_files_get_the_scores_of_the_study(study, images, tmp_path):
    run = runs_of(study)[0]
    wanted = {row["image"]: row for row in rows_of(run / "scores.csv")}
    predict(run, [images], tmp_path)
    got = {row["image"]: row for row in rows_of(tmp_path / "predictions.csv")}
    assert set(wanted) < set(got)
    for name, row in wanted.items():
        for column in ("bright", "dark"):
            assert float(got[name][column]) == pytest.approx(float(row[column]), abs=1e-6)
        assert got[name]["label"] == row["label"]


def test_figures_on_new_images_are_those_of_a_direct_evaluation(study, new, tmp_path):
    single = []
    for number, run in enumerate(runs_of(study)):
        predict(run, [new], tmp_path / str(number))
        single.append(logits(rows_of(tmp_path / str(number) / "predictions.csv")))
    found = predict(study, [new], tmp_path / "all")
    ensemble = load_all([study])
    thresholds = np.stack([run.thresholds for run in ensemble.runs])
    table = rows_of(tmp_path / "all" / "predictions.csv")
    labels = np.array([row["label"] == "dark" for row in table], int)
    patients = [row["patient"] for row in table]
    direct = figures(labels, np.stack(single), patients, thresholds)
    written = {row["figure"]: row for row in rows_of(tmp_path / "all" / "metrics.csv")}
    assert set(written) == set(direct)
    assert 0.4 < direct["auc"].low < direct["auc"].high < 1
    for name, estimate in direct.items():
        for column in ("estimate", "low", "high"):
            value = getattr(estimate, column)
            assert written[name][column] == ("" if value is None else f"{value:.6g}")
    assert f"AUC: {direct['auc'].estimate:.3f}" in found.summary
    # An ensemble: the mean of the probabilities, and how far the seeds lie apart.
    probability = 1 / (1 + np.exp(-np.stack(single)[..., 1]))
    got = np.array([[float(row["dark"]), float(row["spread_dark"])] for row in table])
    np.testing.assert_allclose(got[:, 0], probability.mean(0), atol=1e-6)
    np.testing.assert_allclose(got[:, 1], probability.std(0, ddof=1), rtol=1e-3, atol=1e-7)
    limit = thresholds.mean()
    assert [row["called"] == "dark" for row in table] == [
        float(row["logit_dark"]) >= limit for row in table
    ]


def test_class_folders_and_a_table_elsewhere_are_labels_too(study, new, tmp_path):
    moved = tmp_path / "by_class"
    for row in rows_of(new / "labels.csv"):
        place = moved / row["label"] / row["patient"]
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(new / row["image"], place)
    run = runs_of(study)[0]
    predict(run, [moved], tmp_path / "a", labels="none")
    assert not (tmp_path / "a" / "metrics.csv").exists()
    predict(run, [moved], tmp_path / "b")
    table = tmp_path / "truth.csv"
    table.write_text((new / "labels.csv").read_text().replace("image,label,", "file,what,"))
    options = {"labels": str(table), "columns": "file,what,patient"}
    predict(run, [new], tmp_path / "c", **options)
    b, c = (rows_of(tmp_path / name / "metrics.csv") for name in "bc")
    assert [row["estimate"] for row in b] == [row["estimate"] for row in c]


def test_unreadable_files_are_listed_and_the_others_done(study, new, tmp_path, capsys):
    mixed = tmp_path / "mixed"
    shutil.copytree(new, mixed)
    (mixed / "broken.png").write_bytes(b"\x89PNG no more")
    (mixed / "notes.txt").write_text("no image")
    (mixed / "0.png").rename(mixed / os.fsdecode(b"\xe9.png"))  # a name that is not UTF-8
    table = mixed / "labels.csv"
    table.write_text(re.sub(r"\n0\.png.*", "", table.read_text()))
    command = ["predict", f"--run={study}", str(mixed), f"--output={tmp_path / 'out'}"]
    assert cli.run(command) == cli.BAD_INPUT
    said = capsys.readouterr()
    assert "48 images" in said.out and "AUC" in said.out and "passed over 1 .txt" in said.out
    assert "1 of 49 could not be used" in said.err and "broken.png" in said.err
    names = [row["image"] for row in rows_of(tmp_path / "out" / "predictions.csv")]
    assert len(names) == 48 and names[-1] == r"\udce9.png"


def test_an_interrupted_prediction_goes_on(study, new, tmp_path, monkeypatch):
    """Parts that are done are read, not computed again, and nothing is left behind."""
    module = "medtune_jax.applications.image_folder.predict"
    monkeypatch.setattr(f"{module}._PART", 16)
    run, computed = runs_of(study)[0], []
    kept = parts.keep

    def stop_after_two(path, **arrays):
        if len(computed) == 2:
            raise KeyboardInterrupt
        computed.append(path)
        kept(path, **arrays)

    monkeypatch.setattr(parts, "keep", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        predict(run, [new], tmp_path / "a")
    monkeypatch.setattr(parts, "keep", lambda path, **arrays: computed.append(path))
    predict(run, [new], tmp_path / "a")
    assert [path.stem for path in computed] == ["000000", "000001", "000002"]
    predict(run, [new], tmp_path / "b")
    tables = [(tmp_path / name / "predictions.csv").read_text() for name in "ab"]
    assert tables[0] == tables[1]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "metrics.csv",
        "predictions.csv",
    ]


def test_tables_are_of_the_last_prediction_and_no_output_becomes_an_input(study, new, tmp_path):
    run, out = runs_of(study)[0], tmp_path / "out"
    predict(run, [new], out)
    predict(run, [new / "0.png"], out)  # without labels
    assert [path.name for path in out.iterdir()] == ["predictions.csv"]
    with pytest.raises(UserError, match="would be inputs the next time"):
        predict(run, [new], new / "out")
    with pytest.raises(UserError, match="is a study, or a run of one"):
        predict(run, [new], study)


def test_another_modality_is_refused_and_the_others_are_done(study, tmp_path):
    """The study's own record is replaced by that of one of radiographs."""
    other = tmp_path / "study"
    shutil.copytree(study, other)
    record = Kinds.of(["DX"], [False]).file[KINDS]
    (other / "application" / KINDS).write_bytes(record)
    given = tmp_path / "new"
    given.mkdir()
    for modality in ("CR", "CT"):
        write_dicom(given / f"{modality}.dcm", modality)
    Image.effect_noise((SIDE, SIDE), 50).save(given / "gray.png")
    out = tmp_path / "out"
    found = predict(runs_of(other)[0], [given], out)
    assert [row["image"] for row in rows_of(out / "predictions.csv")] == ["CR.dcm", "gray.png"]
    assert "CT.dcm: its DICOM Modality is CT, and the study learned from DX" in found.unreadable
    assert "1 of 2 images is without a DICOM Modality" in found.summary
    assert "note: 3 of 3 images are gray" in predict(study, [given], out).summary
    (other / "application" / KINDS).unlink()
    assert "no record says" in predict(runs_of(other)[0], [given], out).summary


def test_without_a_threshold_it_is_said_that_nothing_is_called(study, new, tmp_path):
    other = tmp_path / "study"
    shutil.copytree(study, other)
    run = runs_of(other)[0]
    (run / "result.json").write_text("{}")
    found = predict(run, [new / "0.png"], tmp_path / "out")
    assert "nothing is called, since no threshold is known" in found.summary


def write(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_inputs_of_another_kind_are_refused(study, new, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"scan\.nii\.gz is no image"):
        predict(study, [write(tmp_path / "scan.nii.gz")], out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no image: give"):
        predict(study, [tmp_path / "empty"], out)
    film = write(tmp_path / "films" / "a.mp4")
    with pytest.raises(UserError, match=r"holds no image \(found: 1 .mp4\)"):
        predict(study, [film.parent], out)
    with pytest.raises(UserError, match="1 of 1 could not be used"):
        predict(study, [write(tmp_path / "no.png", b"no")], out)
    table = write(tmp_path / "t.csv", b"image,label,patient\n0.png,drak,p\n")
    with pytest.raises(UserError, match="'drak', none of the study's classes"):
        predict(study, [new], out, labels=str(table))
    with pytest.raises(UserError, match="there is no table"):
        predict(study, [new], out, labels="nowhere.csv")
    with pytest.raises(UserError, match="--columns is 'a': name the columns"):
        predict(study, [new], out, columns="a")
    with pytest.raises(UserError, match="an input is ''"):
        predict(study, [""], out)
    with pytest.raises(UserError, match="add --explain"):
        predict(study, [new], out, explain_by="occlusion")


def test_runs_that_are_no_ensemble_are_refused(study, new, tmp_path):
    run = runs_of(study)[0]
    other = tmp_path / "other"
    shutil.copytree(study, other)
    assert load_all([run / "weights"]).study == study  # by its checkpoint it is the same run
    with pytest.raises(UserError, match="not runs of one study"):
        load_all([run, other / "runs" / run.name])
    (tmp_path / "link").symlink_to(study)
    both = load_all([run, tmp_path / "link" / "runs" / runs_of(study)[1].name])
    assert len(both.members) == 2  # one study by two names
    shutil.copytree(run, other / "runs" / "renamed")
    with pytest.raises(UserError, match=r"no run 'renamed' \(was its folder renamed\?\)"):
        load_all([other / "runs" / "renamed"])
    for folder in (other / "runs").glob("*/weights"):
        shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"no run of .* kept weights"):
        load_all([other])
    with pytest.raises(UserError, match="naming its depth"):
        load_all([other / "runs" / run.name])


def test_explain_draws_a_map_of_each_image_for_what_it_is_called(study, new, tmp_path):
    run, one = runs_of(study)[0], tmp_path / "one"
    said = predict(run, [new], one, explain=True).summary
    assert str(one / "maps") in said
    rows = rows_of(one / "predictions.csv")
    files = [one / row["map"] for row in rows]
    assert len(set(files)) == len(rows) == len(list((one / "maps").iterdir()))
    drawn = np.asarray(Image.open(files[0]))
    assert drawn.shape == (SIDE, 2 * SIDE, 3)
    image = np.asarray(Image.open(new / rows[0]["image"]))
    np.testing.assert_array_equal(drawn[:, :SIDE], image)
    mapper, of = Mapper(load_all([run])), ("bright", "dark").index(rows[0]["called"])
    np.testing.assert_array_equal(drawn[:, SIDE:], overlay(image, mapper(image[None], of)[0]))
    # The scores are those of a prediction without maps, and a stage may be chosen.
    predict(run, [new], tmp_path / "plain")
    plain = rows_of(tmp_path / "plain" / "predictions.csv")
    assert plain == [{k: v for k, v in row.items() if k != "map"} for row in rows]
    deep, image = tmp_path / "deep", new / rows[0]["image"]
    given = [f"--run={run}", str(image), f"--output={deep}", "--explain", "--explain_stage=fire5"]
    assert cli.run(["predict", *given]) == 0
    (other,) = (deep / "maps").iterdir()
    assert (np.asarray(Image.open(other)) != drawn).any()


def test_the_map_of_an_ensemble_is_the_mean_and_occlusion_is_another_method(study, new):
    ensemble = load_all([study])
    images = np.stack([np.asarray(Image.open(new / f"{k}.png")) for k in range(2)])
    of = np.array([0, 1])
    single = [Mapper(load_all([run]))(images, of) for run in runs_of(study)]
    np.testing.assert_allclose(Mapper(ensemble)(images, of), np.mean(single, axis=0), atol=1e-5)
    covered = Mapper(load_all(runs_of(study)[:1]), "occlusion")(images, of)
    assert covered.shape == single[0].shape and not np.allclose(covered, single[0], atol=0.1)


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"explain_by": "gradcam"}, "did you mean 'grad_cam'"),
        ({"explain_stage": "fire10"}, "did you mean 'fire"),
        ({"explain_stage": "conv10"}, "has no map: give one of conv1"),
        ({"explain_by": "occlusion", "explain_stage": "fire9"}, "leave it out"),
    ],
)
def test_explanations_that_there_are_not_are_refused(study, new, tmp_path, options, sentence):
    with pytest.raises(UserError, match=sentence):
        predict(study, [new], tmp_path, explain=True, **options)
    assert not (tmp_path / "predictions.csv").exists()
