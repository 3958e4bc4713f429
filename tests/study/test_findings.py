"""A study of several findings an image, from CSV to report."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from medtune_jax.errors import UserError
from medtune_jax.study import default_config, report, sweep

SIDE, PATIENTS, EACH = 64, 60, 3
FINDINGS = ("Edema", "Mass")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Edema makes an image red, Mass blue; of some images Mass is uncertain."""
    folder, rng = tmp_path_factory.mktemp("findings"), np.random.default_rng(0)
    rows = ["image,patient,Edema,Mass"]
    for number in range(EACH * PATIENTS):
        edema, mass = rng.integers(0, 2, 2)
        pixels = rng.normal([90 + 50 * edema, 90, 90 + 50 * mass], 60, (SIDE, SIDE, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        told = "-1" if number % 7 == 0 else str(mass)
        rows.append(f"{number}.png,p{number // EACH},{edema},{told}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def config(images, balance="weights"):
    made = default_config()
    made.data.dir, made.data.findings, made.image_size = str(images), "Edema,Mass", SIDE
    made.data.test_fraction = 0.4
    made.sweep.depths, made.sweep.seeds = "conv10,fire9", 2
    made.training.epochs, made.training.balance = 3, balance
    return made


@pytest.fixture(scope="module")
def study(images, tmp_path_factory):
    folder = sweep(config(images), tmp_path_factory.mktemp("study"), quiet=True)
    report(folder)
    return folder


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def known(scores, finding):
    """(truth, log-odds) of the images of which the finding is known."""
    rows = [row for row in scores if finding not in row["uncertain"].split("|")]
    truth = np.array([finding in row["label"].split("|") for row in rows])
    return truth, np.array([float(row[f"logit_{finding}"]) for row in rows], np.float32)


def test_scores_and_results_say_the_same(study):
    results = rows_of(study / "results.csv")
    assert len(results) == 4
    for row in results:
        scores = rows_of(study / "runs" / row["run"] / "scores.csv")
        assert any(row["uncertain"] for row in scores)
        each = [known(scores, finding) for finding in FINDINGS]
        assert float(row["test"]) == pytest.approx(np.mean([roc_auc_score(*two) for two in each]))
        auprc = np.mean([average_precision_score(*two) for two in each])
        assert float(row["auprc"]) == pytest.approx(auprc)
        assert {"threshold_Edema", "threshold_Mass"} <= set(row)
        for one in scores:
            for finding in FINDINGS:
                odds = float(one[f"logit_{finding}"])
                assert float(one[finding]) == pytest.approx(1 / (1 + np.exp(-odds)), rel=1e-5)


def test_the_network_tells_the_findings_apart(study):
    assert max(float(row["test"]) for row in rows_of(study / "results.csv")) > 0.85


def test_figures_of_each_finding_and_their_mean_have_intervals(study):
    table = [row for row in rows_of(study / "classification.csv") if not row["column"]]
    withheld = 0
    for figure in ("auc", "auprc", "sensitivity", "specificity", "balanced_accuracy", "brier"):
        for name in ("", *FINDINGS):
            own = [r for r in table if (r["figure"], r["class"]) == (figure, name)]
            assert len(own) == 2, (figure, name)  # depths
            for row in own:
                if "leave no value out" in row["why"]:  # there are few patients
                    withheld += 1
                else:
                    assert float(row["low"]) <= float(row["estimate"]) <= float(row["high"])
    assert withheld <= 4  # of 36
    assert not [row for row in table if row["figure"] in ("recall", "precision")]
    scores = rows_of(next(study.glob("runs/*/scores.csv")))
    (mass,) = {row["positives"] for row in table if row["class"] == "Mass"}
    assert int(mass) == known(scores, "Mass")[0].sum()


def test_the_page_speaks_of_findings(study):
    page = (study / "report.html").read_text()
    assert "Means over the 2 findings, each for itself" in page
    assert "Each finding for itself, of" in page
    assert "against the rest" not in page and "Confusion matrix" not in page
    assert len((study / "confusion.csv").read_text().splitlines()) == 1
    manifest = json.loads((study / "study.json").read_text())
    assert manifest["findings"] is True
    by_class = manifest["data"]["by_class"]
    assert set(by_class) == set(FINDINGS)


def test_down_sampling_is_refused(images, tmp_path):
    with pytest.raises(UserError, match="several findings each: give weights or none"):
        sweep(config(images, "downsample"), tmp_path, quiet=True)
