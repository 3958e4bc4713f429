"""A small study's networks on new volumes, and on the volumes of its own test set."""

import csv
import shutil
from functools import partial

import numpy as np
import pytest
from PIL import Image

from medtune_jax.applications.embolism import baseline
from medtune_jax.applications.embolism.baseline import MultiInstanceForest
from medtune_jax.applications.predict import predict
from medtune_jax.datasets.ct.cases import find_cases, load_case
from medtune_jax.errors import UserError
from medtune_jax.evaluation.froc import PER_VOLUME, Detections, sensitivity_at
from medtune_jax.phantoms.ctpa.files import write_dicom_study, write_nifti
from medtune_jax.study import sweep
from tests.applications.embolism.test_study import SHAPE, SPACING, config


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patients")
    write_dicom_study(folder, 5, seed=3, shape=SHAPE, spacing=SPACING, emboli=3, healthy=0)
    return folder


@pytest.fixture(scope="module")
def study(source, tmp_path_factory):
    small = config()
    small.data.dir, small.data.widths_mm, small.image_size = str(source), "15", 63
    small.sweep.update(depths="conv10", fractions="1.0", seeds=2)
    small.training.epochs, small.training.keep_weights = 2, True
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(baseline, "MultiInstanceForest", partial(MultiInstanceForest, 50, rounds=2))
        return sweep(small, tmp_path_factory.mktemp("study"), quiet=True)


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_test_set_s_own_volumes_get_the_scores_of_the_study(study, source, tmp_path):
    run = next(path.parent for path in study.glob("runs/*/weights"))
    wanted = {row["image"]: row for row in rows_of(run / "scores.csv")}
    test = tmp_path / "test"
    for patient in {row["patient"] for row in wanted.values()}:
        shutil.copytree(source / patient, test / patient)
    predict(run, [test], tmp_path / "out")
    got = {row["image"]: row for row in rows_of(tmp_path / "out" / "predictions.csv")}
    assert set(wanted) == set(got) and len(got) > 5
    for name, row in wanted.items():
        assert float(got[name]["embolus"]) == pytest.approx(float(row["embolus"]), abs=1e-6)
        assert (got[name]["hits"] == "1") == (row["label"] == "embolus")


def test_figures_on_new_volumes_are_those_of_a_direct_evaluation(study, tmp_path):
    """A hit is measured here from the written millimetres to the nearest voxel of an embolus."""
    new = tmp_path / "new"
    write_dicom_study(new, 2, seed=11, shape=SHAPE, spacing=SPACING, emboli=3, healthy=0)
    (new / "p9" / "dicom").mkdir(parents=True)
    (new / "p9" / "dicom" / "1.dcm").write_bytes(b"no DICOM")
    found = predict(study, [new], tmp_path / "all")
    assert "1 of 3 could not be used" in found.unreadable
    table, cases = rows_of(tmp_path / "all" / "predictions.csv"), find_cases(new)[:2]
    single = []
    for number, run in enumerate(sorted(p.parent for p in study.glob("runs/*/weights"))):
        predict(run, [new], tmp_path / str(number))
        rows = rows_of(tmp_path / str(number) / "predictions.csv")
        single.append([float(row["logit_embolus"]) for row in rows])
    lesion_image, image, row_of, lesion = [], [], [], []
    for number, case in enumerate(cases):
        volume, mask = load_case(case)
        first, values = len(lesion_image), np.unique(mask[mask > 0])
        lesion_image += [number] * len(values)
        for k, row in enumerate(table):
            if row["patient"] != case.patient:
                continue
            place = np.array([float(row[f"{axis}_mm"]) for axis in "zyx"])
            near = [
                np.linalg.norm(
                    np.argwhere(mask == v) * volume.spacing + volume.origin - place, axis=1
                ).min()
                for v in values
            ]
            own = [first + n for n, distance in enumerate(near) if distance <= 5.0]
            for hit in own or [-1]:
                image.append(number), row_of.append(k), lesion.append(hit)
    runs = [
        Detections(
            len(cases),
            np.array(lesion_image),
            np.array(image),
            np.array(s)[row_of],
            np.array(lesion),
        )
        for s in single
    ]
    direct = sensitivity_at(runs, PER_VOLUME, [case.patient for case in cases])
    for row, figure in zip(rows_of(tmp_path / "all" / "metrics.csv"), direct, strict=True):
        assert row["estimate"] == f"{figure.estimate:.6g}" and row["why"] == figure.why
    assert Image.open(tmp_path / "all" / f"{cases[0].patient}.png").width > 90
    # The same volume alone, without its mask: as NIfTI it has no truth, and the same candidates.
    volume = load_case(cases[0])[0]
    write_nifti(tmp_path / "alone.nii.gz", volume.hu, volume.spacing, volume.origin)
    predict(study, [tmp_path / "alone.nii.gz"], tmp_path / "alone")
    alone = rows_of(tmp_path / "alone" / "predictions.csv")
    own = [row for row in table if row["patient"] == cases[0].patient]
    assert [r["x_mm"] for r in alone] == [r["x_mm"] for r in own] and "hits" not in alone[0]
    assert not (tmp_path / "alone" / "metrics.csv").exists()


@pytest.mark.slow
def test_explain_draws_the_best_candidates_of_a_volume(study, tmp_path):
    write_dicom_study(tmp_path / "new", 1, seed=5, shape=SHAPE, spacing=SPACING, emboli=2)
    run = next(path.parent for path in study.glob("runs/*/weights"))
    predict(run, [tmp_path / "new"], tmp_path / "out", explain=True)
    (volume,) = rows_of(tmp_path / "out" / "volumes.csv")
    shown = min(12, int(volume["candidates"]))
    sheet = Image.open(tmp_path / "out" / f"{volume['patient']}.maps.png")
    side = 63 * (160 // 63)  # each patch enlarged, beside its map, three pairs in a row
    assert shown > 3 and sheet.size == (3 * (2 * side + 3), -(-shown // 3) * (side + 3))
    first = np.asarray(sheet)[:side, : 2 * side]
    assert (first[:, :side] != first[:, side:]).any() and np.ptp(first[:, :side]) > 100


def test_inputs_of_another_kind_are_refused(study, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.mp4 is no CT volume"):
        predict(study, [tmp_path / "a.mp4"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no CT volume"):
        predict(study, [tmp_path / "empty"], tmp_path / "out")
    (tmp_path / "empty" / "a.png").write_bytes(b"no slice")
    with pytest.raises(UserError, match="empty holds no CT volume"):
        predict(study, [tmp_path / "empty"], tmp_path / "out")
    (tmp_path / "b.nii").write_bytes(b"no volume")
    with pytest.raises(UserError, match=r"1 of 1 could not be used(.|\n)*b\.nii"):
        predict(study, [tmp_path / "b.nii"], tmp_path / "out")
