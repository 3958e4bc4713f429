"""The list of images, labels and patients of an image folder."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from medtune_jax.applications.image_folder.reader import SUFFIXES
from medtune_jax.datasets.tables import read_table
from medtune_jax.errors import UserError

_REQUIRED = ("image", "label", "patient")
_SPLITS = ("train", "test")


@dataclass(frozen=True)
class Row:
    """One image: path from the folder, class, patient, and 'train' or 'test' where the user fixed the split."""

    image: str
    label: str
    patient: str
    split: str = ""


@dataclass(frozen=True)
class Table:
    rows: tuple[Row, ...]
    patients_known: bool


def read_listing(directory: Path, patient_pattern: str = "") -> Table:
    """From `labels.csv` (image,label,patient[,split]), else from one sub-folder a class.

    patient_pattern: with sub-folders, a regular expression whose first group in the file name is the patient.
    Raises UserError for anything a study could not use: see the messages.
    """
    if not directory.is_dir():
        raise UserError(f"there is no folder {directory}: set --config.data.dir to your images")
    listing = directory / "labels.csv"
    if listing.is_file():
        rows = (cells for _, cells in read_table(listing, _REQUIRED, ("split",)))
        table = Table(tuple(_row(row, number, listing) for number, row in enumerate(rows, 2)), True)
    else:
        table = _from_folders(directory, patient_pattern)
    _check_classes(table, directory)
    _check_splits(table.rows, listing)
    return table


def _row(cells: dict[str, str], number: int, listing: Path) -> Row:
    for name in _REQUIRED:
        if not cells[name]:
            raise UserError(f"{listing} row {number} has an empty '{name}': fill it in")
    if cells["split"] not in ("", *_SPLITS):
        raise UserError(
            f"{listing} row {number}: split '{cells['split']}' must be train, test or empty"
        )
    return Row(**cells)


def _from_folders(directory: Path, pattern: str) -> Table:
    rows = [
        Row(str(path.relative_to(directory)), folder.name, _patient(path, directory, pattern))
        for folder in sorted(p for p in directory.iterdir() if p.is_dir())
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
    ]
    if not rows:
        raise UserError(
            f"{directory} has neither a labels.csv (image,label,patient[,split]) nor class sub-folders with images: "
            f"add one of them"
        )
    return Table(tuple(rows), bool(pattern))


def _patient(path: Path, directory: Path, pattern: str) -> str:
    if not pattern:
        return str(path.relative_to(directory))
    match = re.search(pattern, path.name)
    if not match or not match.groups():
        raise UserError(
            f"data.patient_pattern '{pattern}' finds no patient in {path.name}: "
            f"give a regular expression whose first group is the patient"
        )
    return match.group(1)


def _check_classes(table: Table, directory: Path) -> None:
    patients: dict[str, set[str]] = defaultdict(set)
    for row in table.rows:
        patients[row.label].add(row.patient)
    if len(patients) < 2:
        only = next(iter(patients), "none")
        raise UserError(
            f"{directory} has images of one class only ('{only}'): a study needs two or more"
        )
    for label, members in sorted(patients.items()):
        if len(members) < 2:
            raise UserError(
                f"label '{label}' in {directory} has one patient only ('{next(iter(members))}'), who cannot be in "
                f"both training and test set: add patients or leave the label out"
            )


def _check_splits(rows: tuple[Row, ...], listing: Path) -> None:
    given = {row.split for row in rows}
    if given == {""}:
        return
    if "" in given:
        number = next(i for i, row in enumerate(rows, 2) if not row.split)
        raise UserError(f"{listing} row {number} has no split though other rows do: fill it in")
    sides: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        if sides.setdefault(row.patient, row.split) != row.split:
            raise UserError(
                f"{listing} row {number}: patient '{row.patient}' is in both train and test: "
                f"put all of a patient's images on one side"
            )
    for split in _SPLITS:
        lacking = {row.label for row in rows} - {row.label for row in rows if row.split == split}
        if lacking:
            raise UserError(
                f"{listing}: the given {split} split has no image of class '{min(lacking)}': add some"
            )
