"""The list of images, labels and patients of an image folder, from its table or from its folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medtune_jax.applications.image_folder.findings import Wanted
from medtune_jax.applications.image_folder.layout import read_folders
from medtune_jax.applications.image_folder.rows import (
    Table,
    check_classes,
    check_sides,
    look_alikes,
    odd_words,
)
from medtune_jax.applications.image_folder.table import find_table, read_labels
from medtune_jax.errors import UserError
from medtune_jax.folders import named


def read_listing(
    directory: Path,
    patient_pattern: str = "",
    layout: str = "",
    table: str = "",
    columns: str = "",
    subgroups: str = "",
    class_pattern: str = "",
    wanted: Wanted | None = None,
) -> Table:
    """From `labels.csv` (image,label,patient[,split]) or another table, else from the folders that images lie in.

    The other arguments are fields of config.data. Raises UserError for anything a study could not use: see the
    messages.
    """
    if not directory.is_dir():
        raise UserError(f"there is no folder {directory}: set --config.data.dir to your images")
    labels = find_table(directory, table)
    wanted = wanted if wanted and wanted.findings else None
    if labels:
        found = read_labels(directory, labels, columns, subgroups, wanted, patient_pattern)
        where = str(labels)
    else:
        if wanted:
            raise UserError(
                f"data.findings is '{wanted.findings}', but {directory} has no table: findings are words or columns of "
                "labels.csv, or of data.table"
            )
        if subgroups:
            raise UserError(
                f"data.subgroups is '{subgroups}', but {directory} has no table: sub-groups are columns of labels.csv"
            )
        found = read_folders(directory, patient_pattern, layout, class_pattern)
        where = str(directory)
    if not found.findings:  # of findings it is the split that is checked, with and without each
        passed = f"; passed over: {named(found.passed_over)}" if found.passed_over else ""
        check_classes(found.rows, where, passed)
    check_sides(found.rows, where)
    return replace(
        found,
        notes=(
            *found.notes,
            *look_alikes(found.rows, found.findings),
            *odd_words(found.rows, found.findings),
        ),
    )
