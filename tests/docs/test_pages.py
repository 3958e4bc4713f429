"""README and docs do what they say: code blocks run, commands parse, links lead somewhere, columns are explained."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Document, Example
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from medtune_jax import study, weights
from tests.docs.commands import ROOT, check, commands, config_fields, mentioned_fields

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
FENCE = re.compile(r"^```(\S*)$", re.MULTILINE)


def _check_block(example: Example) -> None:
    for words in commands(example.parsed):
        check(words)


PARSERS = (
    PythonCodeBlockParser(),  # executed
    CodeBlockParser("sh", _check_block),
    CodeBlockParser(
        "text", lambda example: None
    ),  # no code: a layout, a formula, something printed
)


@pytest.fixture(scope="module")
def place(tmp_path_factory, write_images) -> Iterator[Path]:
    """A working directory with what the pages speak of: images in DIR, a checkpoint; and a study that takes seconds."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "DIR").mkdir()
    write_images(folder / "DIR", patients=12, each=2, side=64)
    bundled = weights.pretrained("squeezenet", "", True)
    kept = bundled.params, bundled.network, bundled.preprocessing, bundled.provenance
    weights.save(folder / "weights" / "googlenet", *kept)
    whole = study.sweep

    def small(config, output):
        config.image_size, config.training.epochs = 63, 1
        config.sweep.depths, config.sweep.seeds = "conv10", 1
        return whole(config, output)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "sweep", small)
        patch.chdir(folder)
        yield folder


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_every_block_runs_or_parses(path, place):
    document = Document.parse(str(path), *PARSERS)
    examples = list(document)
    for example in examples:
        example.evaluate()
    visible = [
        e for e in examples if document.text[e.region.start : e.region.end].startswith("```")
    ]
    assert len(visible) == sum(language != "" for language in FENCE.findall(document.text))


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_code_is_fenced_and_has_a_language(path):
    text = path.read_text()
    languages = FENCE.findall(text)
    assert set(languages[::2]) <= {"sh", "python", "text"} and set(languages[1::2]) <= {""}
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not re.search(r"\n\n {4}\S", prose), "an indented block is run by no test: fence it"


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_fields_exist(path):
    assert mentioned_fields(path.read_text()) <= config_fields()


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        page = path.parent / name if name else path
        assert page.exists(), f"{path.name} links to {target}"
        assert not anchor or anchor in _anchors(page), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_source_files_that_a_page_names_exist(path):
    """By the end of their path; NAME stands for any, and a file that is yet to be written is called new."""
    there = [f"/{p.relative_to(ROOT)}" for p in ROOT.rglob("*.py") if ".venv" not in p.parts]
    for new, name in re.findall(r"(\ba new )?`([\w/]+\.py)`", path.read_text()):
        known = any(source.endswith(f"/{name}") for source in there)
        assert known or new or "NAME" in name, f"{path.name} names {name}"


def test_the_code_cites_headings_of_the_paper_that_exist():
    headings = _headings(ROOT / "docs" / "paper.md")
    sections = {heading.partition(".")[0] for heading in headings}
    sources = [p for folder in ("medtune_jax", "configs") for p in (ROOT / folder).rglob("*.py")]
    cited = 0
    for source in sources:
        text = re.sub(r"\s+#?\s*", " ", source.read_text())
        for heading in re.findall(r'docs/paper\.md, "([^"]+)"', text):
            assert heading in headings, f"{source} cites '{heading}'"
            cited += 1
        for numbers in re.findall(r"docs/paper\.md,? (?:sections? )?(\d(?: and \d)*)", text):
            assert set(numbers.split(" and ")) <= sections, f"{source} cites {numbers}"
            cited += 1
    assert cited > 10


def test_the_code_cites_pages_that_exist():
    folders = ("medtune_jax", "configs", "scripts", "tests", "tools")
    for source in (p for folder in folders for p in (ROOT / folder).rglob("*.py")):
        for page in re.findall(r"docs/[\w/-]+\.md", source.read_text()):
            assert (ROOT / page).is_file(), f"{source} cites {page}"


def test_every_file_and_column_of_a_study_is_explained(place):
    left = place / "STUDY"
    if not left.exists():  # README's Python block leaves it
        for example in Document.parse(str(ROOT / "README.md"), PythonCodeBlockParser()):
            example.evaluate()
    run = next(left.glob("runs/[!.]*"))
    manifest = json.loads((left / "study.json").read_text())
    names = {
        *manifest,
        *manifest["network"],
        *manifest["network"]["stages"][0],
        *manifest["data"],
        *manifest["depths"][0],
        *manifest["runs"][0],
        *manifest["words"],
        *json.loads((run / "result.json").read_text()),
        *json.loads((run / "timing.json").read_text()),
        *(name for table in left.glob("*.csv") for name in _header(table)),
        *_header(run / "history.csv"),
        *(name for name in _header(run / "scores.csv") if not name.endswith(("bright", "dark"))),
        *(f"{figure.stem}.png" for figure in left.glob("figures/*.svg")),  # in all kinds, it says
    }
    page = (ROOT / "docs" / "outputs.md").read_text()
    figures = {row["figure"] for row in csv.DictReader((left / "classification.csv").open())}
    names |= figures
    files = [path.name for folder in (left, run) for path in folder.iterdir() if path.is_file()]
    assert not [name for name in sorted(names) if f"`{name}`" not in page]
    assert not [name for name in files if name not in page]


def _header(path: Path) -> list[str]:
    with path.open(newline="") as stream:
        return next(csv.reader(stream))


def _headings(page: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    """The names that GitHub gives to headings."""
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in _headings(page)}
