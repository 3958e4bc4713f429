"""The page of a study, with what its application adds to it."""

from __future__ import annotations

from pathlib import Path


def report(directory: str | Path) -> Path:
    """Write results.csv, figures/ and report.html of a study, finished or not; returns the path of report.html.

    Raises UserError for a directory that holds no study, or none that this version can read.
    """
    # Drawing takes long to import, and a sweep does without.
    from medtune_jax import applications
    from medtune_jax.report import SECTIONS, write_report
    from medtune_jax.report.load import read_manifest

    own = applications.get(read_manifest(Path(directory)).get("application", "image_folder"))
    return write_report(Path(directory), (*SECTIONS, *own.sections()), own.metric, own.words)
