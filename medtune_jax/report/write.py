"""Puts a study's page together: results.csv, report.html, figures/*.png."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from medtune_jax import __version__
from medtune_jax.evaluation.metric import AUC, Metric
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.load import StudyResults, load_study
from medtune_jax.report.results import write_results
from medtune_jax.report.section import SectionMaker
from medtune_jax.report.sections import SECTIONS


def write_report(
    study_dir: Path, sections: Sequence[SectionMaker] = SECTIONS, metric: Metric = AUC
) -> Path:
    """Writes results.csv, figures/*.png and report.html into a study directory.

    The page is one file that needs nothing else: no network, no script. The study may be
    unfinished; the page says what is missing. The same directory gives the same bytes.

    Args:
      sections: what the page shows, in order; an application may add its own.
      metric: the application's own.

    Returns: the path of report.html.

    Raises:
      UserError: no study there, damaged files, or test data too small for an interval.
    """
    study = load_study(Path(study_dir), metric)
    write_results(study)
    evidence = Evidence(study)
    made = [section for make in sections if (section := make(evidence))]
    for section in made:
        for drawing in section.drawings:
            drawing.save_png(study.directory / "figures")
    room = files("medtune_jax.report")
    template = Environment(autoescape=True, trim_blocks=True).from_string(
        (room / "page.html").read_text(encoding="utf-8")
    )
    page = template.render(
        title="How deep to fine-tune",
        subtitle=_subtitle(study),
        style=Markup((room / "page.css").read_text(encoding="utf-8")),
        sections=made,
        version=__version__,
    )
    path = study.directory / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _subtitle(study: StudyResults) -> str:
    data = study.manifest.get("data", {})
    parts = [
        f"{study.manifest['network']['name']} on {' / '.join(study.classes)}",
        f"{data['patients']} patients" if data.get("groups_known") else "",
        f"{data['train_images']} training and {data['test_images']} test images"
        if "train_images" in data and "test_images" in data
        else "",
    ]
    return ", ".join(part for part in parts if part)
