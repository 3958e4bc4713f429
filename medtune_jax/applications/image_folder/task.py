"""From a folder of labelled images to a data set; nothing but the metric is read from the scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from medtune_jax.applications.image_folder.arrays import load_arrays
from medtune_jax.applications.image_folder.config import DEFAULTS
from medtune_jax.applications.image_folder.decoded import pixels_of
from medtune_jax.applications.image_folder.duplicates import keep_together
from medtune_jax.applications.image_folder.explained import explain
from medtune_jax.applications.image_folder.findings import Wanted
from medtune_jax.applications.image_folder.listing import read_listing
from medtune_jax.applications.image_folder.predict import PREDICTION
from medtune_jax.applications.image_folder.prepared import load_prepared
from medtune_jax.applications.image_folder.reader import on_white
from medtune_jax.applications.image_folder.rows import Table
from medtune_jax.applications.image_folder.show import show
from medtune_jax.applications.kinds import Kinds, colours_of, modalities_of
from medtune_jax.applications.protocol import Application, Dataset, sections_of
from medtune_jax.applications.splits import share_note, test_split
from medtune_jax.errors import UserError
from medtune_jax.evaluation.subgroups import subgroup_file
from medtune_jax.patches import Images
from medtune_jax.training.objectives import SIGMOID, SOFTMAX


def load(config: ConfigDict, size: int) -> Dataset:
    """Read `config.data.dir`, a folder or a .npz file, or the prepared set `config.data.tfds` in it.

    The test set is fixed by patient.
    """
    data = config.data
    if data.tfds:
        return load_prepared(data, size, config.memory)
    if not data.dir:
        raise UserError("no images given: set --config.data.dir=DIR (labels.csv or class folders)")
    directory = Path(data.dir)
    if directory.suffix == ".npz":
        return load_arrays(data, size, config.memory)
    table = read_listing(
        *(directory, data.patient_pattern, data.layout, data.table, data.columns, data.subgroups),
        class_pattern=data.class_pattern,
        wanted=Wanted(data.findings, data.uncertain, data.blank),
    )
    classes, labels = _labels(table)
    groups = np.array([row.patient for row in table.rows])
    given = np.array([row.split == "test" for row in table.rows]) if table.rows[0].split else None
    paths = [directory / row.image for row in table.rows]
    pixels = pixels_of(paths, size, config.memory)
    found = keep_together(pixels, labels, groups, given, data.duplicates, table.patients_known)
    kept, labels, groups = found.kept, labels[found.kept], found.groups[found.kept]
    notes = [*table.notes, *on_white(paths), *found.notes]
    if given is None:
        test = test_split(labels, groups, data.test_fraction, data.split_seed)
        notes += share_note(labels, groups, test, data.test_fraction)
    else:
        test = given[kept]
    names = np.array([row.image for row in table.rows])[kept]
    held = {
        column: np.array([values[name] for name in names[test]])
        for column, values in table.subgroups.items()
    }
    return Dataset(
        patches=Images(pixels if kept.all() else pixels[kept]),
        labels=labels,
        classes=classes,
        groups=groups,
        names=names,
        test=test,
        units=groups,
        groups_known=table.patients_known,
        notes=notes,
        passed_over=table.passed_over,
        copies=found.counted(np.array([row.image for row in table.rows])),
        files=subgroup_file(names[test], held)
        | Kinds.of(modalities_of(paths), colours_of(pixels)).file,
        objective=SIGMOID if table.findings else SOFTMAX,
    )


def _labels(table: Table) -> tuple[tuple[str, ...], np.ndarray]:
    """(classes, labels) as a `Dataset` has them."""
    if table.findings:
        return table.findings, np.array([row.findings for row in table.rows], np.int32)
    classes = tuple(sorted({row.label for row in table.rows}))
    return classes, np.array([classes.index(row.label) for row in table.rows], np.int32)


IMAGE_FOLDER = Application(
    name="image_folder",
    defaults=DEFAULTS,
    load=load,
    augments=True,
    sections=sections_of(__package__),
    show=show,
    predict=PREDICTION,
    explain=explain,
)
