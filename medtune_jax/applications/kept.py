"""Arrays that took long to make, kept on disk under a name made of all that decides them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from medtune_jax.paths import write_whole


def read_kept(path: Path) -> dict[str, np.ndarray] | None:
    """What `keep` wrote; None where nothing is kept, or where it is damaged, so that it is made again."""
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile):
        return None


def keep(path: Path, **arrays: np.ndarray) -> None:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    write_whole(path, stream.getvalue())
