"""The page, the table and the figures of generated studies whose answer is known."""

import csv
import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from medtune_jax.errors import UserError
from medtune_jax.evaluation import AUC, AUPRC, log_odds
from medtune_jax.evaluation.log_odds import two_sided
from medtune_jax.evaluation.roc import sensitivity_at
from medtune_jax.paths import seal
from medtune_jax.report import SECTIONS, Section, write_report
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import PRECISION_RECALL, ROC, by_depth, curves
from medtune_jax.report.load import load_study
from medtune_jax.report.pairs import section
from medtune_jax.report.results import COLUMNS, write_results
from medtune_jax.words import count
from tests.report.fake_study import DEPTHS, SQUEEZENET, write_study


def middle_is_best(depth, fraction):
    """fire6-conv10 is best; scratch needs data more than tuning does."""
    if depth == "scratch":
        return 1.2 * fraction
    return (1.0, 1.6, 2.1, 2.6, 3.2, 2.4, 2.4, 2.2, 2.0, 1.6)[DEPTHS.index(depth)] * fraction**0.1


@pytest.fixture(scope="module")
def study_dir(tmp_path_factory):
    """With its pictures as PNG."""
    directory = write_study(
        tmp_path_factory.mktemp("study"),
        skill=middle_is_best,
        failed=[("conv1", 1.0, 1)],
        missing=[("fire2", 0.25, 2), ("scratch", 0.25, 0)],
        validation=60,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medtune_jax.report.figures.KINDS", ("png",))
        write_report(directory)
    return directory


@pytest.fixture(scope="module")
def evidence(study_dir):
    return Evidence(load_study(study_dir))


@pytest.fixture(scope="module")
def page(study_dir):
    return (study_dir / "report.html").read_text()


def text_of(html):
    """What a reader sees, whitespace folded."""
    body = re.sub(r"<(style|svg).*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def table_rows(directory):
    with (directory / "results.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_results_has_a_row_for_every_planned_run(study_dir):
    rows = table_rows(study_dir)
    assert len(rows) == 11 * 2 * 3
    by_status = {s: [r for r in rows if r["status"] == s] for s in ("done", "failed", "missing")}
    assert [len(found) for found in by_status.values()] == [63, 1, 2]
    done = by_status["done"][0]
    result = json.loads((study_dir / "runs" / done["run"] / "result.json").read_text())
    assert float(done["test"]) == result["test"] and done["metric"] == "auc"
    assert float(done["validation"]) == result["validation"] and float(done["seconds"]) > 0
    failed = by_status["failed"][0]
    assert failed["reason"] == "diverged at step 12 <rate 0.001>" and failed["test"] == ""


def test_results_order_is_shallow_to_deep_large_to_small(study_dir):
    keys = [
        (DEPTHS.index(r["depth"]), -float(r["fraction"]), int(r["seed"]))
        for r in table_rows(study_dir)
    ]
    assert keys == sorted(keys)


def test_answer_comes_first_and_names_the_best_depth(page):
    text = text_of(page)
    assert "Tune from fire6 (fire6-conv10)" in text
    assert text.index("Tune from fire6") < text.index("AUC by depth")
    assert "Runs planned: 66; 63 done, 1 failed, 2 not run yet." in text


class _Outline(HTMLParser):
    """Collects what a browser would fetch or run, ids, and unbalanced tags."""

    void = frozenset({"meta", "br", "img", "link", "hr"})

    def __init__(self):
        super().__init__()
        self.tags, self.ids, self.references, self.open = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        self.references += [v for k, v in attributes if k in ("src", "href", "xlink:href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()


def test_page_needs_nothing_from_outside(page):
    outline = _Outline()
    outline.feed(page)
    assert not outline.open
    assert outline.tags.count("svg") == 6
    assert "script" not in outline.tags and "link" not in outline.tags
    assert all(reference.startswith("#") for reference in outline.references)
    assert {r[1:] for r in outline.references} <= set(outline.ids)
    assert len(outline.ids) == len(set(outline.ids))
    assert not re.search(r"url\((?!#)|@import", page)


def test_text_from_the_data_is_escaped(page):
    assert "&lt;rate 0.001&gt;" in page and "<rate" not in page


def test_figures_are_saved_as_png(study_dir):
    names = sorted(path.name for path in (study_dir / "figures").glob("*.png"))
    wanted = ("confusion", "convergence", "map", "metric_by_depth", "reliability", "roc")
    assert names == [f"{name}.png" for name in wanted]
    for name in names:
        with Image.open(study_dir / "figures" / name) as picture:
            assert picture.width > 900 and np.asarray(picture.convert("L")).std() > 5


def test_same_directory_gives_the_same_bytes(tmp_path):
    depths = ("conv10", "fire9", "scratch")
    failed = [("fire9", 1.0, 1)]
    directory = write_study(tmp_path, depths=depths, fractions=(1.0,), seeds=2, failed=failed)
    files = ("report.html", "results.csv", "figures/roc.svg")

    def written():
        write_report(directory)
        return [(directory / name).read_bytes() for name in files]

    assert written() == written()


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


def test_test_data_do_not_choose_the_depth(study_dir, tmp_path):
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


def test_many_depths_do_not_overlap(tmp_path):
    stages = [f"inception_{i}{c}" for i in range(3, 8) for c in "abcd"]
    directory = write_study(
        tmp_path,
        stages=stages,
        depths=(*reversed(stages), "scratch-gaussian", "scratch-xavier", "scratch-msra"),
        fractions=(1.0, 0.5, 0.25, 0.1, 0.05, 0.01),
        seeds=1,
        patients=40,
    )
    evidence = Evidence(load_study(directory))
    figure = by_depth(evidence).figure
    figure.canvas.draw()
    labels = figure.axes[0].get_xticklabels()
    assert [t.get_text() for t in labels][-3:] == [
        "scratch (gaussian)",
        "scratch (xavier)",
        "scratch (msra)",
    ]
    # Parallel slanted lines of text are clear of each other if their anchors are far enough apart.
    anchors = np.array([t.get_window_extent().x1 for t in labels])
    height = labels[0].get_fontsize() * figure.dpi / 72
    assert np.diff(anchors).min() * np.sin(np.pi / 4) > height


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


def test_the_applications_figures_are_columns(tmp_path):
    """Of any run, in the order they appear, after the fixed ones."""
    directory = write_study(
        tmp_path,
        depths=("conv10",),
        fractions=(1.0,),
        figures=lambda seed: {"sensitivity_at_1": 0.5, "regions": [1]} if seed else {"error_um": 7},
    )
    table = write_results(load_study(directory)).read_text().splitlines()
    assert table[0] == ",".join((*COLUMNS, "error_um", "sensitivity_at_1"))
    assert [row.split(",")[-2:] for row in table[1:]] == [["7", ""], ["", "0.5"], ["", "0.5"]]


@pytest.mark.parametrize("options", [{}, {"scale": 100.0}, {"doubtful": 41, "metric": AUPRC}])
def test_a_result_is_the_metric_of_its_scores(tmp_path, options):
    """Also where probabilities saturate and where some images are not judged."""
    directory = write_study(tmp_path, depths=("conv10", "scratch"), fractions=(1.0,), **options)
    study = load_study(directory)
    assert not any(run.differs for run in study.runs)
    metric, judged = options.get("metric", AUC), study.test.judged
    for run in study.runs:
        probabilities = log_odds.probabilities(run.scores[judged])[:, 1].astype(np.float32)
        assert run.result["test"] == pytest.approx(
            metric(study.test.labels[judged], run.scores[judged]), abs=1e-12
        )
        if options.get("scale"):  # what ranking by probabilities would give
            tied = metric(study.test.labels, two_sided(probabilities))
            assert abs(tied - run.result["test"]) > 1e-3
    evidence = Evidence(study)
    mean = np.mean([run.result["test"] for run in study.cell("conv10", 1.0)])
    assert evidence.test("conv10", 1.0).estimate == pytest.approx(mean)


def test_a_figure_that_is_not_of_its_scores_is_said(tmp_path):
    directory = write_study(tmp_path, depths=("conv10",), fractions=(1.0,), seeds=2)
    assert "is not that of scores.csv" not in text_of(write_report(directory).read_text())
    damage(directory, "result.json", lambda t: re.sub(r'"test": [\d.]+', '"test": 0.25', t))
    text = text_of(write_report(directory).read_text())
    assert "test AUC that result.json records is not that of scores.csv in 1 run" in text
    assert "0.2500 recorded" in text and table_rows(directory)[0]["test"] != "0.25"


def test_curve_legend_and_table_are_one_definition(tmp_path):
    """Three classes of which the metric tells one pair from the third, and images in doubt."""
    metric = replace(AUC, tasks=lambda classes: [(1, 2)])
    directory = write_study(
        tmp_path,
        classes=("wall", "intima", "media"),
        depths=("conv10", "conv1"),
        fractions=(1.0,),
        doubtful=30,
        metric=metric,
    )
    text = text_of(write_report(directory, metric=metric).read_text())
    assert "intima or media against wall" in text and "FPR 0.10" in text
    evidence = Evidence(load_study(directory, metric))
    ax = curves(evidence, ROC).figure.axes[0]
    drawn = [line for line in ax.lines if ":" in str(line.get_label())]
    assert drawn
    for line in drawn:
        x, y = line.get_xdata(), line.get_ydata()
        area = np.trapezoid(np.append(y, 1), np.append(x, 1))
        assert area == pytest.approx(float(line.get_label().split(": ")[1]), abs=5e-3)
    figure = evidence.test("conv1", 1.0).estimate
    assert any(line.get_label().endswith(f": {figure:.3f}") for line in drawn)


def test_auprc_has_its_own_curves(tmp_path):
    """No ROC curve is labelled with the area under another curve."""
    directory = write_study(
        tmp_path, depths=("conv10", "conv1"), fractions=(1.0,), metric=AUPRC, skill=lambda *_: 0.8
    )
    text = text_of(write_report(directory).read_text())
    assert text.index("Precision-recall curves") < text.index("ROC curves")
    assert "Test AUPRC" in text and "test AUC" not in text
    evidence = Evidence(load_study(directory))
    labels = [t.get_text() for t in curves(evidence, ROC).figure.axes[0].get_legend().texts]
    assert labels and not any(re.search(r"0\.\d", label) for label in labels)
    for line in curves(evidence, PRECISION_RECALL).figure.axes[0].lines:
        shown = float(line.get_label().split(": ")[1])
        assert line.get_ydata().mean() == pytest.approx(shown, abs=3e-3)


def test_the_page_speaks_the_applications_words(tmp_path):
    directory = write_study(
        tmp_path, depths=("conv10", "scratch"), fractions=(1.0,), words=("video", "frame")
    )
    text = text_of(write_report(directory).read_text())
    assert "on neg / pos: 400 videos (320 to train on, 80 to test), 800 frames (640, 160)" in text
    assert "3,200 patches (2,560, 640)" in text
    assert "95% interval by video" in text and "Paired by video" in text
    assert not re.search("patient|images", text)


def test_numbers_and_nouns_agree():
    assert [count(n, noun) for n, noun in ((1, "patches"), (2, "patches"), (1, "videos"))] == [
        "1 patch",
        "2 patches",
        "1 video",
    ]
    assert count(12345, "images") == "12,345 images"


def test_applications_add_sections(study_dir, tmp_path):
    directory = write_study(tmp_path, depths=("conv10",), fractions=(1.0,), seeds=1)

    def froc(evidence):
        return Section("FROC per frame", f"<p>{len(evidence.cells)} cells</p>")

    page = write_report(directory, [*SECTIONS, froc, lambda _: None]).read_text()
    assert "<h2>FROC per frame</h2>" in page


def test_stage_table_marks_frozen_and_tuned(page):
    row = page[page.index('<th scope="row">fire9-conv10</th><td><span class="cell') :]
    marks = re.findall(r'class="cell (\w+)"', row[: row.index("</tr>")])
    assert marks == ["frozen"] * (len(SQUEEZENET) - 2) + ["tuned", "fresh"]


def damage(directory, name, change, run="conv10*"):
    path = next(iter(sorted((directory / "runs").glob(run)))) / name
    path.write_text(change(path.read_text()))
    return path.parent.name


DAMAGES = [
    ("result.json", lambda t: t[:20], "result.json is damaged"),
    ("result.json", lambda t: f"[{t}]", "result.json is damaged"),
    ("scores.csv", lambda t: t.replace(",pos,", ",positive,", 1), "no column 'pos'"),
    ("scores.csv", lambda t: t.replace("P000,neg", "P000,odd"), "unknown class"),
    ("scores.csv", lambda t: t.replace("P001", "P999"), "test images are not those of"),
    ("history.csv", lambda t: t.replace("batches", "steps"), "no column 'batches'"),
    ("history.csv", lambda t: re.sub(r"(?m)^1,\d+", "1,many", t), "history.csv is damaged"),
]


@pytest.mark.parametrize(("name", "change", "message"), DAMAGES)
def test_a_run_that_cannot_be_read_is_named_and_the_others_have_their_rows(
    tmp_path, caplog, name, change, message
):
    directory = write_study(tmp_path, depths=("conv10",), fractions=(1.0,), seeds=3)
    run = damage(directory, name, change)
    write_results(load_study(directory))
    rows = {row["run"]: row for row in table_rows(directory)}
    assert rows[run]["status"] == "failed" and message in rows[run]["reason"]
    assert [row["status"] for row in rows.values()].count("done") == 2
    assert f"run {run} is left out of the report" in caplog.text and message in caplog.text


def test_the_page_is_written_of_the_runs_that_can_be_read(tmp_path):
    directory = write_study(tmp_path, depths=("conv10",), fractions=(1.0,), seeds=3)
    damage(directory, "result.json", lambda text: text[:20])
    assert "2 done, 1 failed" in text_of(write_report(directory).read_text())


def test_where_no_run_can_be_read_all_are_named(tmp_path):
    directory = write_study(tmp_path, depths=("conv10",), fractions=(1.0,), seeds=1)
    run = damage(directory, "scores.csv", lambda text: text.replace(",pos,", ",positive,", 1))
    with pytest.raises(UserError, match=rf"no run of .* can be reported:\n  {run}: .*no column"):
        write_report(directory)


def test_a_sealed_run_that_is_damaged_runs_again(tmp_path, caplog):
    directory = write_study(tmp_path, depths=("conv10",), fractions=(1.0,), seeds=2)
    seal(next(iter(sorted((directory / "runs").glob("conv10*")))))
    run = damage(directory, "scores.csv", lambda text: text + " ")
    assert "1 done, 0 failed, 1 not run yet" in text_of(write_report(directory).read_text())
    rows = {row["run"]: row for row in csv.DictReader((directory / "results.csv").open())}
    assert rows[run]["status"] == "missing"
    assert "scores.csv is damaged, or SHA256SUMS beside it: the next sweep" in rows[run]["reason"]


def test_no_study_there(tmp_path):
    with pytest.raises(UserError, match=r"no study\.json"):
        write_report(tmp_path)


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


def test_a_diverged_run_is_left_out_and_named(tmp_path):
    directory = write_study(tmp_path, depths=("conv10", "scratch"), fractions=(1.0,), seeds=3)
    path = sorted(directory.glob("runs/conv10-*/scores.csv"))[0]
    head, *rows = list(csv.reader(path.read_text().splitlines()))
    rows = [[*row[:3], *["nan"] * (len(row) - 3)] for row in rows]
    path.write_text("\n".join(",".join(row) for row in (head, *rows)) + "\n")
    text = text_of(write_report(directory).read_text())
    assert "2 done" not in text and "1 failed" in text and "training diverged" in text


def test_depths_without_a_common_seed_are_not_compared(tmp_path):
    cells = [("conv10", 1.0, 0), ("scratch", 1.0, 1), ("conv10", 1.0, 2), ("scratch", 1.0, 2)]
    directory = write_study(
        tmp_path, depths=("conv10", "scratch"), fractions=(1.0,), seeds=3, failed=cells
    )
    text = text_of(write_report(directory).read_text())
    assert "no seed has finished in both" in text and not re.search(r"\bnan\b|None", text)


def test_every_pair_of_depths_has_its_row(study_dir, evidence):
    with (study_dir / "pairs.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    figures = [evidence.merit.title, *(point.title for point in evidence.points)]
    assert figures[0] == "AUC" and len(set(figures)) == 4
    for fraction, figure in itertools.product(evidence.study.fractions, figures):
        own = [r for r in rows if float(r["fraction"]) == fraction and r["figure"] == figure]
        depths = [depth for depth, f in evidence.cells if f == fraction]
        assert len(own) == len(depths) * (len(depths) - 1) // 2
        assert len({frozenset((row["depth"], row["other"])) for row in own}) == len(own)
    row = next(r for r in rows if (r["depth"], r["other"]) == ("conv10", "fire6"))
    wanted = evidence.merit.minus(("conv10", 1.0), ("fire6", 1.0))
    assert float(row["difference"]) == pytest.approx(wanted.estimate)
    assert float(row["low"]) == pytest.approx(wanted.low)
    assert float(row["holm_p"]) >= float(row["p"]) == pytest.approx(wanted.p)


def test_pairs_at_operating_points_are_differences_of_the_roc(evidence):
    cells = [("conv10", 1.0), ("fire9", 1.0)]
    one, other = (
        sensitivity_at(AUC, evidence.labels, evidence.judged(cell), evidence.groups)
        for cell in cells
    )
    for point, mine, yours in zip(evidence.points, one, other, strict=True):
        assert point.mean(cells[0]).estimate == pytest.approx(mine.estimate)
        found = point.minus(*cells)
        assert found.estimate == pytest.approx(mine.estimate - yours.estimate)
        assert found.low < found.estimate < found.high and 0 < found.p <= 1


def test_the_page_marks_only_pairs_that_differ_clearly(evidence):
    clear = sum(
        pair.holm_p is not None and pair.holm_p < 0.05
        for _, pairs in evidence.pairs[evidence.main_fraction]
        for pair in pairs
    )
    assert str(section(evidence).html).count("<strong>") == clear > 0
