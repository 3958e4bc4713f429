"""The page of a study, with what its application adds to it."""

from __future__ import annotations

from pathlib import Path

from medtune_jax.errors import UserError
from medtune_jax.paths import damaged, written_to


def report(directory: str | Path) -> Path:
    """Write results.csv, figures/ and report.html of a study, finished or not; returns the path of report.html.

    Raises UserError for a directory that holds no study, or none that this version can read, for damaged
    files of the application, and for a disk that refuses.
    """
    # Drawing takes long to import, and a sweep does without.
    from medtune_jax import applications
    from medtune_jax.report import SECTIONS, write_report
    from medtune_jax.report.load import read_manifest

    directory = Path(directory)
    own = applications.get(read_manifest(directory).get("application", "image_folder"))
    if (directory / "application").is_dir() and (broken := damaged(directory / "application")):
        raise UserError(f"{broken} is damaged: run the sweep again, which writes it anew")
    with written_to(directory):
        return write_report(directory, (*SECTIONS, *own.sections()), own.metric, own.words)
