"""The page in a browser, and what lies beside it for slides and papers."""

import csv
import html
import json
import re
import shutil
import subprocess

import pytest

from medtune_jax.evaluation.metric import AUC
from medtune_jax.report import write_report
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.findings import answer
from medtune_jax.report.load import load_study
from medtune_jax.report.tables import comparisons, escaped
from tests.report.fake_study import write_study

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_MEASURE = """
const page = document.querySelector("iframe").contentDocument;
const wide = [...page.querySelectorAll("body *")].filter(e => !e.closest(".scroll") || e.matches(".scroll"))
  .filter(e => e.getBoundingClientRect().right > page.documentElement.clientWidth + 1);
const boxes = [...page.querySelectorAll(".scroll")];
document.title = JSON.stringify({
  wide: wide.map(e => e.tagName), body: page.documentElement.scrollWidth,
  unreachable: boxes.filter(e => e.tabIndex !== 0).length, boxes: boxes.length,
  unnamed: [...page.querySelectorAll("figure svg")].filter(e => !e.getAttribute("aria-label")).length,
});
"""


@pytest.fixture(scope="module", autouse=True)
def pictures_of_all_kinds():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medtune_jax.report.figures.KINDS", ("svg", "png", "pdf"))
        yield


@pytest.fixture(scope="module")
def study_dir(tmp_path_factory):
    directory = write_study(tmp_path_factory.mktemp("study"), fractions=(1.0, 0.25), validation=60)
    write_report(directory)
    return directory


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [390, 1000])
def test_nothing_of_the_page_is_cut_and_the_console_is_silent(study_dir, tmp_path, width):
    content = html.escape((study_dir / "report.html").read_text())
    frame = f'<iframe style="width:{width}px;height:800px;border:0" srcdoc="{content}"></iframe>'
    script = f"<script>document.querySelector('iframe').onload = () => {{{_MEASURE}}}</script>"
    (tmp_path / "frame.html").write_text(f"<!DOCTYPE html><meta charset=utf-8>{frame}{script}")
    found = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            *("--virtual-time-budget=5000", f"--user-data-dir={tmp_path / 'profile'}"),
            *("--dump-dom", (tmp_path / "frame.html").as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    title = re.search("<title>(.*?)</title>", found.stdout)
    assert title, found.stderr[-2000:]
    measured = json.loads(html.unescape(title[1]))
    assert measured["wide"] == [] and measured["body"] <= width
    assert measured["boxes"] > 5 and measured["unreachable"] == 0 == measured["unnamed"]
    assert "CONSOLE" not in found.stderr


def test_the_map_is_drawn_where_the_training_set_has_several_sizes(study_dir, tmp_path):
    evidence = Evidence(load_study(study_dir))
    (drawing,) = answer(evidence).drawings
    (ax,) = drawing.figure.axes
    shown = {text.get_text() for text in ax.texts}
    assert shown == {f"{evidence.metric.readings(cell).mean:.3f}" for cell in evidence.cells}
    for row, (fraction, chosen) in enumerate(evidence.recommendations.items()):
        column = evidence.study.depths.index(chosen.depth)
        assert (column, row) in [patch.get_xy() for patch in ax.patches], fraction
    alone = write_study(tmp_path, fractions=(1.0,))
    assert not answer(Evidence(load_study(alone))).drawings


def test_every_figure_is_there_for_slides_and_papers_and_the_same_again(study_dir):
    folder = study_dir / "figures"
    kinds = {path.stem: set() for path in folder.iterdir()}
    for path in folder.iterdir():
        kinds[path.stem].add(path.suffix)
    assert "map" in kinds and all(kind == {".png", ".svg", ".pdf"} for kind in kinds.values())
    before = {path: path.read_bytes() for path in folder.iterdir()}
    write_report(study_dir)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_tables_for_a_paper_say_what_the_evidence_says(study_dir):
    evidence = Evidence(load_study(study_dir))
    with (study_dir / "tables/by_depth.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == len(evidence.cells)
    for row in rows:
        wanted = evidence.merit.mean((row["depth"], float(row["fraction"])))
        assert float(row["estimate"]) == wanted.estimate and float(row["low"]) == wanted.low
    text = (study_dir / "tables/by_depth.tex").read_text()
    assert text.count(r"\\") == 1 + len(evidence.study.depths) and "25\\%" in text
    assert f"Test {AUC.title} by tuned stages" in text
    made = comparisons(evidence)
    assert len(made.text) == len(evidence.comparisons) > 0
    assert {row[2] for row in made.values} == {c.other for c in evidence.comparisons}


def test_latex_is_escaped():
    assert escaped("a_b & 5% {x} < 0.001") == r"a\_b \& 5\% \{x\} $<$ 0.001"


def test_a_study_without_a_finished_run_has_no_tables(tmp_path):
    directory = write_study(
        tmp_path, depths=("conv10",), fractions=(1.0,), seeds=1, missing=[("conv10", 1.0, 0)]
    )
    write_report(directory)
    assert not (directory / "tables").exists()
