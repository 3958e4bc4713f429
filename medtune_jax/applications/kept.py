"""What applications keep on disk: arrays that took long to make, and what a study wrote for its report."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.paths import write_whole


def study_file(study: Path, name: str) -> Path:
    """A file that the application wrote into a study's directory; UserError where it is missing."""
    path = study / "application" / name
    if not path.is_file():
        raise UserError(f"{path} is missing: run the same sweep again, which writes it anew")
    return path


def study_rows(study: Path, name: str) -> list[dict[str, str]]:
    """The rows of a table that the application wrote, cells by column; UserError where it is missing."""
    with study_file(study, name).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def read_kept(path: Path) -> dict[str, np.ndarray] | None:
    """What `keep` wrote; None where nothing is kept, or where it is damaged, so that it is made again."""
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile):
        return None


def keep(path: Path, **arrays: np.ndarray) -> None:
    """Arrays by name as one .npz, under a name (`path`) made of all that decides them."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    write_whole(path, stream.getvalue())
