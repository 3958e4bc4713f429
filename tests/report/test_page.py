"""The page as a file for a browser: it needs nothing else, and nothing of it is cut."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib import resources

import numpy as np
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


def test_text_stands_out_from_its_ground_in_light_dark_and_print():
    """WCAG's AA for text, 4.5 to 1, of the colours that page.css sets upon each other."""
    css = (resources.files("medtune_jax.report") / "page.css").read_text()
    light, dark, printed = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6})", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    )
    upon = [
        ("ink", "paper"),
        ("soft", "paper"),
        ("soft", "pale"),
        ("ink", "blue-wash"),
        ("ink", "orange-wash"),
    ]
    upon += [("blue-ink", "blue-wash"), ("orange-ink", "orange-wash")]
    for scheme in (light, {**light, **dark}, {**light, **printed}):
        for text, ground in upon:
            assert _contrast(scheme[text], scheme[ground]) >= 4.5, (text, ground, scheme[text])
    for rule in ("tuned", "fresh"):
        ground, text = re.search(rf"\.{rule} \{{ background: (#\w+); color: (#\w+)", css).groups()
        assert _contrast(text, ground) >= 4.5, rule


def _contrast(one, other):
    """The ratio of luminances of two colours as WCAG 2 defines it, 1 to 21."""

    def luminance(colour):
        digits = colour.lstrip("#")
        digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
        parts = np.array([int(digits[k : k + 2], 16) for k in (0, 2, 4)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_it_prints_on_a4(study_dir, tmp_path):
    printed, report = tmp_path / "printed.pdf", (study_dir / "report.html").as_uri()
    subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"),
            *(
                f"--user-data-dir={tmp_path / 'profile'}",
                f"--print-to-pdf={printed}",
                report,
            ),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed.read_bytes())
    assert len(boxes) > 2
    assert {tuple(round(float(side)) for side in box) for box in boxes} == {(595, 842)}


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
