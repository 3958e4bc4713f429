"""The report's sections on a study written by hand, whose errors are known."""

import csv
import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from medtune_jax.applications.intima_media.patches import BACKGROUND, CLASSES, LI, MA
from medtune_jax.applications.intima_media.report import PAPER
from medtune_jax.applications.intima_media.results import BoundaryResults
from medtune_jax.applications.intima_media.task import INTIMA_MEDIA
from medtune_jax.evaluation import log_odds
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.load import load_study

DATA = {
    "dir": "", "subjects": 6, "rois": 1, "phantom_seed": 0, "test_fraction": 0.5, "split_seed": 0,
    "patch": 32.0, "patch_seed": 0, "train_patches": 60, "background_distance": 3.0,
    "column_step": 12,
}  # fmt: skip
OFFSETS = {"conv10": 2.0, "fire9": 0.5}  # by how much each depth's confidence lies too deep


def scores_of(dataset, shift):
    pixels, rois = dataset.extra["pixels"], dataset.extra["rois"]
    found = np.zeros((len(pixels.row), 3))
    for label, which in ((LI, "li"), (MA, "ma")):
        truth = np.array(
            [getattr(rois[r], which)[c] for r, c in zip(pixels.roi, pixels.column, strict=True)]
        )
        found[:, label] = 0.9 * np.exp(-((pixels.row - truth - shift) ** 2) / 2)
    found[:, BACKGROUND] = 1 - found.sum(1).clip(max=1)
    return found


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    dataset = INTIMA_MEDIA.load(ConfigDict({"data": DATA}), 67)
    runs = []
    for depth, shift in OFFSETS.items():
        scores = scores_of(dataset, shift)
        run = {"run": depth, "depth": depth, "fraction": 1.0, "seed": 0}
        result = {**run, "status": "done", "val_auc": 0.9 - 0.1 * shift}
        result |= INTIMA_MEDIA.evaluate(dataset, log_odds.of_probabilities(scores))
        (folder / "runs" / depth).mkdir(parents=True)
        (folder / "runs" / depth / "result.json").write_text(json.dumps(result))
        with (folder / "runs" / depth / "scores.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("image", "patient", "label", *CLASSES))
            index = np.flatnonzero(dataset.test)
            for i, row in zip(index[::-1], scores[::-1], strict=True):  # any order
                label = CLASSES[dataset.labels[i]]
                writer.writerow((dataset.names[i], dataset.groups[i], label, *row))
        runs.append(run)
    for name, content in dataset.files.items():
        (folder / "application").mkdir(exist_ok=True)
        (folder / "application" / name).write_bytes(content)
    stages = [{"name": name} for name in ("conv1", "fire9", "conv10")]
    manifest = {
        "network": {"name": "squeezenet", "stages": stages},
        "depths": list(OFFSETS),
        "fractions": [1.0],
        "classes": list(CLASSES),
        "runs": runs,
    }
    (folder / "study.json").write_text(json.dumps(manifest))
    return load_study(folder)


@pytest.fixture(scope="module")
def sections(study):
    evidence = Evidence(study)
    return {
        section.title: section for make in INTIMA_MEDIA.sections() if (section := make(evidence))
    }


def test_every_section_is_made(sections):
    assert list(sections) == [
        "Boundary error",
        "Network against baselines",
        "From confidence to contours",
        "Intima-media thickness",
        "Beside the paper (another data set)",
    ]
    assert [d.name for s in sections.values() for d in s.drawings] == [
        "boundary_error",
        "contours",
        "thickness_agreement",
    ]


def test_the_answer_is_the_error_of_both_interfaces_in_micrometres(study):
    found = INTIMA_MEDIA.merit(Evidence(study))
    (result,) = (run.result for run in study.cell("fire9", 1.0))
    expected = (result["li_error_um"] + result["ma_error_um"]) / 2
    figure = found.mean(("fire9", 1.0))
    assert figure.estimate == pytest.approx(expected) and found.unit == "µm" and found.sign == -1
    assert figure.low is None and "3 test subjects" in figure.why


def test_scores_on_disk_give_back_the_contours_of_the_run(study):
    results = BoundaryResults(study)
    for (_, contours), roi in zip(results.contours("fire9", 1.0), results.rois, strict=True):
        assert (contours.li - roi.li).mean() == pytest.approx(0.5, abs=0.15)
        assert (contours.ma - roi.ma).mean() == pytest.approx(0.5, abs=0.15)


def test_errors_are_in_micrometres_where_calibrated(study):
    results = BoundaryResults(study)
    assert results.unit == "µm"
    error = results.of_depth("conv10", 1.0, "li_px")
    assert error.mean() == pytest.approx(2 * 1000 / 15, abs=10)
    assert len(results.baselines) == 4


def test_baselines_are_shown_with_and_without_calibration(sections):
    page = str(sections["Network against baselines"].html)
    for name in (
        "Hough + dual snake, LI",
        "Hough + dual snake, calibrated, LI",
        "dynamic programming, MA",
    ):
        assert name in page
    assert "its own step lines, LI" in page


def test_the_papers_table_is_marked_as_another_data_set(sections):
    page = str(sections["Beside the paper (another data set)"].html)
    assert "must not be compared" in page
    assert all(name in page for name in PAPER)
    assert "24.74 (11.42)" in page
    assert "only conv10" in page
