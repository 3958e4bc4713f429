"""The page as a file for a browser: it needs nothing else, and nothing of it is cut."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from medtune_jax.report import SECTIONS, Section, write_report
from tests.report.fake_study import SQUEEZENET, write_study

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


def test_stage_table_marks_frozen_and_tuned(page):
    row = page[page.index('<th scope="row">fire9-conv10</th><td><span class="cell') :]
    marks = re.findall(r'class="cell (\w+)"', row[: row.index("</tr>")])
    assert marks == ["frozen"] * (len(SQUEEZENET) - 2) + ["tuned", "fresh"]


def test_applications_add_sections(tmp_path):
    directory = write_study(tmp_path, depths=("conv10",), fractions=(1.0,), seeds=1)

    def froc(evidence):
        return Section("FROC per frame", f"<p>{len(evidence.cells)} cells</p>")

    page = write_report(directory, [*SECTIONS, froc, lambda _: None]).read_text()
    assert "<h2>FROC per frame</h2>" in page
