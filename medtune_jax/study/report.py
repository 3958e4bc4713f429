"""The page of a study, with what its application adds to it, and the size of the next one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medtune_jax import applications
from medtune_jax.errors import UserError
from medtune_jax.evaluation.planning import POWER
from medtune_jax.paths import SUMS, damaged, written_to

if TYPE_CHECKING:  # drawing takes long to import, and a sweep does without
    from medtune_jax.applications.protocol import Application
    from medtune_jax.report.compared import Compared
    from medtune_jax.report.evidence import Evidence
    from medtune_jax.report.size import NextStudy


def report(directory: str | Path) -> Path:
    """Write results.csv, answer.txt, figures/ and report.html of a study, finished or not; returns report.html's path.

    Of a directory of `tune` the page of its search, and tune.csv.

    Raises UserError for a directory that holds no study, or none that this version can read, for damaged
    files of the application, and for a disk that refuses.
    """
    from medtune_jax.report import SECTIONS, write_report
    from medtune_jax.report.tuned import RECORD, write_tuned

    directory = Path(directory)
    own = _application(directory)
    sections = (*SECTIONS, *own.sections())
    with written_to(directory):
        if (directory / RECORD).is_file():
            return write_tuned(directory, own.metric, own.words, own.merit)
        return write_report(directory, sections, own.metric, own.words, own.merit, own.points)


def next_study(directory: str | Path, detect: float, power: float = POWER) -> NextStudy:
    """How many test patients and seeds would show a difference between two depths, from a finished study.

    detect: the difference, in the units of the answer's figure (AUC, sensitivity, micrometres). Raises UserError as
    `report`, for a study that cannot bear a plan, and for a difference or power that no study has.
    """
    from medtune_jax.report.size import next_study_of

    return next_study_of(evidence_of(Path(directory)), detect, power)


def compare(study: str | Path, other: str | Path, output: str | Path | None = None) -> Compared:
    """Two studies (or networks of `tune`) on one test set: their recommended and their common depths, with p.

    output: a directory for report.html, answer.txt and compare.csv. UserError, with what differs, unless both were
    scored on the same cases with the same labels and patients.
    """
    from medtune_jax.report.compared import compare, write_compared

    found = compare(evidence_of(Path(study)), evidence_of(Path(other)))
    if output is not None:
        with written_to(Path(output)):
            write_compared(found, Path(output))
    return found


def evidence_of(directory: Path) -> Evidence:
    """What the finished runs of a study say. UserError as `report`."""
    from medtune_jax.report.evidence import Evidence
    from medtune_jax.report.load import load_study

    own = _application(directory)
    return Evidence(load_study(directory, own.metric, own.words), own.merit)


def _application(directory: Path) -> Application:
    """A study's application; its files are whole."""
    from medtune_jax.report.load import read_manifest

    own = applications.get(read_manifest(directory).get("application", "image_folder"))
    if (directory / "application").is_dir() and (broken := damaged(directory / "application")):
        raise UserError(
            f"{broken} is damaged, or {SUMS} beside it: run the sweep again, which writes both anew"
        )
    return own
