"""What the page says of generated studies whose answer is known."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medtune_jax.report import write_report
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.load import load_study
from tests.report.fake_study import middle_is_best, write_study
from tests.report.reading import table_rows, text_of


def test_answer_comes_first_and_names_the_best_depth(page):
    text = text_of(page)
    assert "Tune from fire6 (fire6-conv10)" in text
    assert text.index("Tune from fire6") < text.index("AUC by depth")
    assert "Runs planned: 66; 63 done, 1 failed, 2 not run yet." in text


def test_same_directory_gives_the_same_bytes(tmp_path, monkeypatch):
    """Figures of every kind, too."""
    monkeypatch.setattr("medtune_jax.report.figures.KINDS", ("svg", "png", "pdf"))
    directory = write_study(
        tmp_path,
        depths=("conv10", "fire9", "scratch"),
        fractions=(1.0, 0.5),
        seeds=2,
        failed=[("fire9", 1.0, 1)],
        validation=20,
    )

    def written():
        write_report(directory)
        files = (path for path in directory.rglob("*") if path.is_file())
        return {path.relative_to(directory): path.read_bytes() for path in files}

    first = written()
    assert {Path("report.html"), Path("results.csv"), Path("figures/map.pdf")} < first.keys()
    assert written() == first


def test_numbers_on_the_page_are_those_of_the_scores(study_dir, page):
    """The cell of fire6 at 100%, recomputed from the files alone."""
    values = []
    for row in table_rows(study_dir):
        if (row["depth"], row["fraction"]) == ("fire6", "1.0"):
            with (study_dir / "runs" / row["run"] / "scores.csv").open(newline="") as stream:
                scores = list(csv.DictReader(stream))
            labels = [s["label"] == "pos" for s in scores]
            values.append(roc_auc_score(labels, [float(s["pos"]) for s in scores]))
    assert len(values) == 3
    assert f'fire6-conv10</th><td>{np.mean(values):.3f} <span class="interval">' in page


def test_test_data_do_not_choose_the_depth(tmp_path):
    """Spoiling the test figures of the chosen depth must not change the choice."""
    directory = write_study(tmp_path, skill=middle_is_best, seeds=2, fractions=(1.0,))
    chosen = Evidence(load_study(directory)).recommendations
    for folder in (directory / "runs").glob("fire6-*"):
        path = folder / "result.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "test": 0.01}))
    assert Evidence(load_study(directory)).recommendations == chosen


def test_scratch_is_named_when_it_wins(tmp_path):
    directory = write_study(
        tmp_path,
        skill=lambda depth, fraction: 4.0 if depth == "scratch" else 0.8,
        depths=("conv10", "fire9", "scratch"),
        fractions=(1.0,),
    )
    text = text_of(write_report(directory).read_text())
    assert "Train from scratch. On validation data" in text
    assert "not supported" in text


def test_collapsed_runs_are_called_out(tmp_path, page):
    directory = write_study(
        tmp_path,
        depths=("conv10", "fire9", "scratch"),
        fractions=(1.0, 0.5),
        seeds=2,
        collapsed=[("fire9", 0.5, 1)],
    )
    text = text_of(write_report(directory).read_text())
    assert "training collapsed" in text and "(50%: fire9-conv10)" in text
    assert text.index("training collapsed") < text.index("AUC by depth")
    assert "training collapsed" not in text_of(page)


def test_one_run_of_one_depth(tmp_path):
    directory = write_study(
        tmp_path, depths=("conv10",), fractions=(1.0,), seeds=1, groups_known=False
    )
    text = text_of(write_report(directory).read_text())
    assert "Tune only the last stage, conv10" in text
    assert "name no patients: every image counts as its own patient" in text
    assert "squeezenet on neg / pos: 800 images" in text and "Paired tests" not in text


def test_more_than_two_classes(tmp_path):
    directory = write_study(
        tmp_path,
        classes=("normal", "bacterial", "viral"),
        depths=("conv10", "conv1", "scratch"),
        seeds=2,
    )
    text = text_of(write_report(directory).read_text())
    assert "one against the rest" in text and "FPR 0.10" not in text


def test_nothing_done_yet(tmp_path):
    keys = [("conv10", 1.0, 0), ("scratch", 1.0, 0)]
    options = {"depths": ("conv10", "scratch"), "fractions": (1.0,), "seeds": 1}
    for name, state in (("failed", {"failed": keys}), ("missing", {"missing": keys})):
        (tmp_path / name).mkdir()
        directory = write_study(tmp_path / name, **options, **state)
        assert "no depth to recommend" in text_of(write_report(directory).read_text())
        assert [row["status"] for row in table_rows(directory)] == [name, name]


def test_only_scratch_is_shown_without_advice(tmp_path):
    directory = write_study(tmp_path, depths=("scratch",), fractions=(1.0,), seeds=2)
    text = text_of(write_report(directory).read_text())
    assert "no depth to recommend" in text and "AUC by depth" in text


def test_the_page_speaks_the_applications_words(tmp_path):
    directory = write_study(
        tmp_path, depths=("conv10", "scratch"), fractions=(1.0,), words=("video", "frame")
    )
    text = text_of(write_report(directory).read_text())
    assert "on neg / pos: 400 videos (320 to train on, 80 to test), 800 frames (640, 160)" in text
    assert "3,200 patches (2,560, 640)" in text
    assert "95% interval by video" in text and "Paired by video" in text
    assert not re.search("patient|images", text)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_few_patients_or_seeds_give_sentences_and_no_numbers(tmp_path):
    options = {"depths": ("conv10", "fire9", "scratch"), "fractions": (1.0,)}
    few = write_study(tmp_path / "few", patients=8, seeds=3, **options)
    text = text_of(write_report(few).read_text())
    assert "No interval and no p can be given" in text
    assert "at least 20 images of 5 patients of every class" in text
    assert "Holm-corrected p <" not in text and not re.search(r"\bnan\b|None|95% interval by", text)
    one = write_study(tmp_path / "one", seeds=1, **options)
    text = text_of(write_report(one).read_text())
    assert "how far another training run would differ is not known" in text
    assert "95% interval by patient" in text and not re.search(r"\bnan\b|None", text)
    assert "cannot say" in text and "not supported" not in text.lower()
