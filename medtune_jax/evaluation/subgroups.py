"""Sub-groups of the test set: columns of the user's data (site, sex, device), kept beside a study for its report."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.paths import csv_bytes

FILE = "subgroups.csv"
_IMAGE = "image"


def subgroup_file(names: np.ndarray, columns: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """The file of the values [N] by column of test images called `names` [N]; none where there is no column."""
    if not columns:
        return {}
    rows = zip(names, *columns.values(), strict=True)
    return {FILE: csv_bytes([(_IMAGE, *columns), *rows])}


def read_subgroups(study: Path, names: np.ndarray) -> dict[str, np.ndarray]:
    """Column -> values [N] of the test images called `names` [N]; none for a study that has none.

    Raises:
      UserError: a file that lacks one of the images.
    """
    path = study / "application" / FILE
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    known = {row.get(_IMAGE): row for row in rows}
    lost = [name for name in names if name not in known]
    if lost:
        raise UserError(
            f"{path} does not name test image {lost[0]}: run the sweep again, which writes it anew"
        )
    columns = [name for name in (rows[0] if rows else {}) if name != _IMAGE]
    return {name: np.array([known[image][name] for image in names]) for name in columns}
