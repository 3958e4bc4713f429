"""Puts a study's page together: results.csv, report.html, figures, tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from medtune_jax import __version__
from medtune_jax.evaluation.metric import AUC, Metric
from medtune_jax.folders import named
from medtune_jax.paths import write_whole
from medtune_jax.report.conclusion import conclusion
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.load import load_study
from medtune_jax.report.merit import Merit
from medtune_jax.report.pairs import write_pairs
from medtune_jax.report.results import write_results
from medtune_jax.report.reviewer_tables import by_run, write_tables
from medtune_jax.report.runs import StudyResults
from medtune_jax.report.section import Section, SectionMaker
from medtune_jax.report.sections import SECTIONS
from medtune_jax.report.tables import write_for_papers
from medtune_jax.words import PATIENTS_AND_IMAGES, contents, count

ANSWER = "answer.txt"  # the first paragraph of the page, as text


def write_report(
    study_dir: Path,
    sections: Sequence[SectionMaker] = SECTIONS,
    metric: Metric = AUC,
    words: tuple[str, str] = PATIENTS_AND_IMAGES,
    merit: Callable[[Evidence], Merit] | None = None,
    points: Callable[[Evidence], Sequence[Merit]] | None = None,
) -> Path:
    """Writes report.html, answer.txt, figures/, results.csv and other tables into a study directory, whole or not
    at all.

    The page is one file that needs nothing else: no network, no script. The study may be
    unfinished; the page says what is missing. The same directory gives the same bytes.

    Args:
      sections: what the page shows, in order; an application may add its own.
      metric, words: the application's own; see `load_study`. merit: the figure of its answer, if not the metric.
      points: its figures at operating points, if not of the ROC.
        `medtune_jax.study.report` gives all of them.

    Returns: the path of report.html.

    Raises:
      UserError: no study there, or damaged files.
    """
    study = load_study(Path(study_dir), metric, words)
    evidence = Evidence(study, merit, points)
    write_results(study, by_run(evidence))
    write_tables(evidence)
    write_pairs(evidence)
    write_for_papers(evidence)
    made = [section for make in sections if (section := make(evidence))]
    for section in made:
        for drawing in section.drawings:
            drawing.save(study.directory / "figures")
    write_whole(study.directory / ANSWER, f"{conclusion(evidence)}\n".encode())
    path = study.directory / "report.html"
    write_whole(path, page("How deep to fine-tune", subtitle(study), made))
    return path


def page(title: str, subtitle: str, sections: Sequence[Section]) -> bytes:
    """A page of the house's style, as HTML."""
    room = files("medtune_jax.report")
    template = Environment(autoescape=True, trim_blocks=True).from_string(
        (room / "page.html").read_text(encoding="utf-8")
    )
    style = Markup((room / "page.css").read_text(encoding="utf-8"))
    return template.render(
        title=title, subtitle=subtitle, style=style, sections=sections, version=__version__
    ).encode()


def subtitle(study: StudyResults) -> str:
    """'squeezenet on no polyp / polyp: 29 videos (20 to train on, 9 to test), 612 frames (420, 192)'."""
    data = study.manifest.get("data", {})
    apart = ", " if study.findings else " / "
    name = f"{study.manifest['network']['name']} on {apart.join(study.classes)}"
    if "contents" in data:
        passed = named(data.get("passed_over", {}))
        return f"{name}: {contents(data['contents'])}" + (
            f"; passed over: {passed}" if passed else ""
        )
    # Version 0.1 counted groups and cases on both sides together, and patches by the name of images.
    known = {study.words.groups: "patients", study.words.cases: "cases"}
    if not study.groups_known:
        del known[study.words.groups]
    parts = [count(data[field], noun) for noun, field in known.items() if field in data]
    return f"{name}: {', '.join(parts)}" if parts else name
