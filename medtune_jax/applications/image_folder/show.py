"""A look at an image folder: images as the network gets them, with label and patient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from medtune_jax.applications.image_folder.listing import read_listing
from medtune_jax.applications.image_folder.reader import read_images
from medtune_jax.applications.image_folder.rows import Row, Table
from medtune_jax.applications.image_folder.table import find_table
from medtune_jax.datasets import Frame, contact_sheet
from medtune_jax.folders import entries

_SIDE = 176


class _Rows(Sequence[Frame]):
    """The images of a table, read when asked for."""

    def __init__(self, directory: Path, table: Table):
        self._directory = directory
        # Sorted by class, an even choice from all shows every class.
        self._rows = sorted(table.rows, key=lambda row: (row.label, row.image))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index):  # type: ignore[override]
        row: Row = self._rows[index]
        image = read_images([self._directory / row.image], _SIDE)[0]
        return Frame(Path(row.image).stem, Path(row.image).stem, image, label=row.label)


def show(directory: Path) -> Image.Image | None:
    """A contact sheet of labels.csv or of one folder a class; None for a folder of neither kind."""
    folders = any(path.is_dir() for path in entries(directory))
    if not folders and not find_table(directory):
        return None
    return contact_sheet(_Rows(directory, read_listing(directory)), tile=_SIDE)
