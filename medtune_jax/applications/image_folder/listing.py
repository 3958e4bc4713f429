"""The list of images, labels and patients of an image folder, from its table or from its folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medtune_jax.applications.image_folder.layout import read_folders
from medtune_jax.applications.image_folder.rows import (
    Table,
    check_classes,
    check_sides,
    look_alikes,
)
from medtune_jax.applications.image_folder.table import find_table, read_labels
from medtune_jax.errors import UserError


def read_listing(
    directory: Path,
    patient_pattern: str = "",
    layout: str = "",
    table: str = "",
    columns: str = "",
    subgroups: str = "",
    class_pattern: str = "",
) -> Table:
    """From `labels.csv` (image,label,patient[,split]) or another table, else from the folders that images lie in.

    The other arguments are fields of config.data. Raises UserError for anything a study could not use: see the
    messages.
    """
    if not directory.is_dir():
        raise UserError(f"there is no folder {directory}: set --config.data.dir to your images")
    labels = find_table(directory, table)
    if labels:
        found, where = read_labels(directory, labels, columns, subgroups), str(labels)
    else:
        if subgroups:
            raise UserError(
                f"data.subgroups is '{subgroups}', but {directory} has no table: sub-groups are columns of labels.csv"
            )
        found = read_folders(directory, patient_pattern, layout, class_pattern)
        where = str(directory)
    check_classes(found.rows, where)
    check_sides(found.rows, where)
    return replace(found, notes=(*found.notes, *look_alikes(found.rows)))
