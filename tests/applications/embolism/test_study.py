"""The application from DICOM files to a report, and what it does with bad patients and settings."""

import csv
import importlib.util
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from medtune_jax import applications
from medtune_jax.applications.embolism import baseline, compare
from medtune_jax.applications.embolism.baseline import MultiInstanceForest
from medtune_jax.applications.embolism.cases import phantoms_on_disk
from medtune_jax.applications.embolism.show import show
from medtune_jax.applications.embolism.task import EMBOLISM
from medtune_jax.applications.show import picture_of
from medtune_jax.applications.splits import training_subset
from medtune_jax.errors import UserError
from medtune_jax.evaluation.log_odds import two_sided
from medtune_jax.paths import seal
from medtune_jax.phantoms.ctpa.files import write_dicom_study, write_nifti
from medtune_jax.report import SECTIONS, write_report
from medtune_jax.study import sweep

ROOT = Path(__file__).resolve().parents[3]
SHAPE, SPACING = (48, 96, 96), (2.4, 1.8, 1.8)


def config(preset="small"):
    spec = importlib.util.spec_from_file_location("embolism_config", ROOT / "configs/embolism.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(preset)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Seven patients on disk as DICOM, the last of them healthy."""
    folder = tmp_path_factory.mktemp("patients")
    write_dicom_study(folder, 7, seed=3, shape=SHAPE, spacing=SPACING, emboli=3, healthy=1)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", autouse=True)
def _cached(cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        # The baseline has tests of its own; a small forest keeps these fast.
        patch.setattr(baseline, "MultiInstanceForest", partial(MultiInstanceForest, 50, rounds=2))
        yield


@pytest.fixture
def settings(source):
    settings = config()
    settings.data.dir = str(source)
    settings.data.widths_mm = "15"
    return settings


@pytest.fixture
def copied(source, tmp_path, settings):
    shutil.copytree(source, tmp_path / "copy")
    settings.data.dir = str(tmp_path / "copy")
    return tmp_path / "copy"


def test_patches_are_whole_and_patients_do_not_cross(settings):
    dataset = EMBOLISM.load(settings, 32)
    variants = 2  # one width, one shift, two rotations
    names, counts = np.unique(dataset.names, return_counts=True)
    assert set(counts) == {variants} and len(dataset.patches) == variants * len(names)
    assert set(dataset.groups) == {f"p{k:03d}" for k in range(7)}
    assert not set(dataset.groups[dataset.test]) & set(dataset.groups[~dataset.test])
    assert 2 <= len(set(dataset.groups[dataset.test])) <= 4
    truth = dataset.extra["truth"]
    assert set(truth.candidates) == set(dataset.names[dataset.test])
    pixels = np.asarray(dataset.patches.take(dataset.patches.arrays(), np.arange(3)))
    assert pixels.shape == (3, 32, 32, 3) and (pixels[..., 1] == pixels[..., 2]).all()
    assert pixels.min() >= 0 and pixels.max() <= 255 and pixels.std() > 10


def test_smaller_sets_drop_whole_emboli(settings):
    dataset = EMBOLISM.load(settings, 32)
    positive = dataset.labels == 1
    assert all("/embolus" in unit for unit in dataset.units[positive])
    kept = {}
    for fraction in (1.0, 0.5):
        subset = training_subset(dataset, fraction, 0, 0.2)
        kept[fraction] = set(dataset.units[subset.train][dataset.labels[subset.train] == 1])
    assert kept[0.5] < kept[1.0] and len(kept[0.5]) == round(len(kept[1.0]) / 2)
    settings.data.reduce = "patients"
    assert set(EMBOLISM.load(settings, 32).units) == set(dataset.groups)


def test_evaluation_of_a_perfect_and_a_blind_network(settings):
    dataset = EMBOLISM.load(settings, 32)
    right = np.where(dataset.test_set[0].labels == 1, 3.0, -3.0)
    perfect = EMBOLISM.evaluate(dataset, two_sided(right))
    assert perfect["sensitivity_at_1"] == dataset.extra["truth"].reachable
    blind = EMBOLISM.evaluate(dataset, two_sided(np.zeros(len(right))))
    assert blind["sensitivity_at_5"] == 0


def test_orthogonal_slices_see_the_same_candidates(settings):
    vessel = EMBOLISM.load(settings, 32)
    settings.data.representation = "orthogonal"
    orthogonal = EMBOLISM.load(settings, 32)
    np.testing.assert_array_equal(vessel.names, orthogonal.names)
    np.testing.assert_array_equal(vessel.patches.sources, orthogonal.patches.sources)
    assert vessel.patches.affines.shape[1:] == (2, 3, 3)
    assert orthogonal.patches.affines.shape[1:] == (3, 3, 3)
    assert vessel.fingerprint() != orthogonal.fingerprint()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("widths_mm", "10,wide", "data.widths_mm is '10,wide'"),
        ("widths_mm", "-5", "data.widths_mm"),
        ("shifts", "", "data.shifts"),
        ("representation", "axial", "use vessel or orthogonal"),
        ("rotations", -1, "data.rotations is -1"),
        ("window", (500.0, -200.0), r"give \(black, white\)"),
        ("reduce", "slices", "use emboli or patients"),
    ],
)
def test_bad_settings(settings, field, value, message):
    settings.data[field] = value
    with pytest.raises(UserError, match=message):
        EMBOLISM.load(settings, 32)


def test_a_bad_patient_is_named_and_left_out(copied, settings, capsys):
    sorted((copied / "p002" / "dicom").iterdir())[20].unlink()
    dataset = EMBOLISM.load(settings, 32)
    assert set(dataset.groups) == {f"p{k:03d}" for k in range(7)} - {"p002"}
    message = capsys.readouterr().err
    assert "1 of 7 patients are left out" in message and "slice(s) are missing" in message
    cohort = json.loads(dataset.files["cohort.json"])
    assert "p002" in cohort["left_out"]["p002"]


def test_a_file_that_breaks_its_library_is_one_bad_patient(copied, settings):
    mask = copied / "p002" / "emboli.nii.gz"
    mask.write_bytes(mask.read_bytes()[:-30])
    dataset = EMBOLISM.load(settings, 32)
    assert set(dataset.groups) == {f"p{k:03d}" for k in range(7)} - {"p002"}
    assert "cannot be read" in json.loads(dataset.files["cohort.json"])["left_out"]["p002"]


def test_a_binary_mask_is_numbered_and_said(copied, settings, capsys):
    mask = np.zeros(SHAPE, np.uint8)
    mask[20:22, 40:44, 40:44] = mask[30:32, 50:54, 50:54] = 1
    write_nifti(copied / "p000" / "emboli.nii.gz", mask, SPACING)
    for _ in range(2):  # read, and from what was kept
        cohort = json.loads(EMBOLISM.load(settings, 32).files["cohort.json"])
        assert next(r for r in cohort["patients"] if r["patient"] == "p000")["emboli"] == 2
        assert "2 connected clots count as emboli" in cohort["notes"]["p000"][0]
        assert "note: patient p000: emboli.nii.gz: marks clots" in capsys.readouterr().err


def test_a_bad_patient_does_not_end_the_contact_sheet(copied, capsys):
    whole = show(copied)
    for folder in sorted(copied.iterdir())[1:4]:
        (folder / "emboli.nii.gz").write_bytes(b"nothing")
    fewer = show(copied)  # four to a row: the second row is gone
    assert fewer.height < whole.height
    message = capsys.readouterr().err
    assert "not shown" in message and "Patient p001" in message and "Patient p004" not in message


def test_many_bad_patients_are_refused(copied, settings):
    write_nifti(copied / "p001" / "emboli.nii.gz", np.zeros((4, 5, 6), np.uint8), SPACING)
    write_nifti(copied / "p004" / "emboli.nii.gz", np.zeros(SHAPE, np.uint8), (1.0, 1.8, 1.8))
    with pytest.raises(UserError, match=r"2 of 7 patients .* cannot be used") as error:
        EMBOLISM.load(settings, 32)
    assert "p001" in str(error.value) and "another grid" in str(error.value)


def test_a_patient_without_mask_counts_false_positives_only(copied, settings):
    (copied / "p006" / "emboli.nii.gz").unlink()
    rows = json.loads(EMBOLISM.load(settings, 32).files["cohort.json"])["patients"]
    assert [row["patient"] for row in rows if row["emboli"] == 0] == ["p006"]


def test_no_truth_at_all(copied, settings):
    for mask in copied.glob("*/emboli.nii.gz"):
        mask.unlink()
    with pytest.raises(UserError, match="no mask of emboli"):
        EMBOLISM.load(settings, 32)


def test_emboli_on_one_side_only(copied, settings):
    for k in range(1, 7):
        write_nifti(copied / f"p{k:03d}" / "emboli.nii.gz", np.zeros(SHAPE, np.uint8), SPACING)
    with pytest.raises(UserError, match="1 of 7 patients have emboli"):
        EMBOLISM.load(settings, 32)


def test_phantoms_are_written_once(cache):
    wanted = config().data.phantoms
    wanted.update(patients=1, healthy=0, emboli=2, shape=SHAPE, spacing=SPACING)
    folder = phantoms_on_disk(wanted)
    first = next((folder / "p000" / "dicom").iterdir())
    written = first.stat().st_mtime_ns
    assert phantoms_on_disk(wanted) == folder and first.stat().st_mtime_ns == written
    assert folder.is_relative_to(cache)


def test_show_marks_emboli_and_candidates(source):
    picture = np.asarray(show(source))
    np.testing.assert_array_equal(picture_of(source), picture)  # as `medtune data show`
    for colour in ((60, 255, 90), (80, 200, 255), (255, 190, 40)):
        assert (picture == colour).all(-1).sum() > 20


@pytest.fixture(scope="module")
def study(source, tmp_path_factory, _cached):
    """A study of the last stage only, two seeds."""
    small = config()
    small.data.dir = str(source)
    small.data.widths_mm = "15"
    small.image_size = 63
    small.sweep.update(depths="conv10", fractions="1.0", seeds=2)
    small.training.epochs = 2
    return sweep(small, tmp_path_factory.mktemp("study"), quiet=True)


def results_of(directory):
    return [json.loads(path.read_text()) for path in directory.glob("runs/*/result.json")]


def test_from_dicom_to_report(study):
    page = write_report(study, (*SECTIONS, *applications.get("embolism").sections()))
    text = page.read_text()
    for title in ("Emboli and candidates", "FROC: sensitivity", "hand-crafted"):
        assert title in text
    for name in ("froc", "true_candidates", "false_candidates"):
        assert (study / "figures" / f"{name}.svg").stat().st_size > 5000
    results = results_of(study)
    assert [r["status"] for r in results] == ["done"] * 2
    assert all(0 <= r["sensitivity_at_1"] <= r["sensitivity_at_5"] <= 1 for r in results)


def test_two_studies_are_compared_on_the_same_candidates(study, tmp_path, capsys):
    other = shutil.copytree(study, tmp_path / "other")
    for path in other.glob("runs/*/scores.csv"):  # a network that is wrong where the first is right
        head, *rows = csv.reader(path.read_text().splitlines())
        wrong = [[*row[:3], row[4], row[3], row[6], row[5]] for row in rows]
        path.write_text("\n".join(",".join(row) for row in (head, *wrong)) + "\n")
        seal(path.parent)
    (gain,) = compare.compare(study, other)
    auc = np.mean([r["test"] for r in results_of(study)])
    assert gain.auc.estimate == pytest.approx(2 * auc - 1, abs=1e-6)
    (back,) = compare.compare(other, study)
    assert gain.auc.estimate == pytest.approx(-back.auc.estimate)
    assert gain.auc.low is gain.auc.p is None and "5 patients" in gain.auc.why
    assert compare.main([str(study), str(other)]) == 0
    assert "| conv10 | 100% |" in capsys.readouterr().out
    (other / "application" / "truth.json").unlink()
    assert compare.main([str(study), str(other)]) == 2
    assert "run the same sweep again" in capsys.readouterr().err
