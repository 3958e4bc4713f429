"""From labelled pixels that need no listing to a data set: copies kept together, the test set drawn or given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from medtune_jax.applications.image_folder.duplicates import keep_together
from medtune_jax.applications.kinds import Kinds, colours_of
from medtune_jax.applications.protocol import Dataset
from medtune_jax.applications.splits import share_note, test_split
from medtune_jax.datasets.frames import check_classes
from medtune_jax.patches import Images, Records


def assembled(
    pixels: np.ndarray | Records,
    labels: np.ndarray,
    classes: tuple[str, ...],
    names: np.ndarray,
    groups: np.ndarray | None,
    given: np.ndarray | None,
    data: ConfigDict,
    where: str,
    notes: Sequence[str] = (),
) -> Dataset:
    """pixels uint8 [N,S,S,3], labels int32 [N], names str [N].

    groups: str [N]; None: not known, every image is its own. given: bool [N], the test set where the data fix it.
    where: for messages. Raises UserError where a side lacks a class.
    """
    known = groups is not None
    groups = names if groups is None else groups
    found = keep_together(pixels, labels, groups, given, data.duplicates, known)
    kept, labels, groups = found.kept, labels[found.kept], found.groups[found.kept]
    notes = [*notes, *found.notes]
    if given is None:
        test = test_split(labels, groups, data.test_fraction, data.split_seed)
        notes += share_note(labels, groups, test, data.test_fraction)
    else:
        test = given[kept]
    for side, chosen in (("training", ~test), ("test", test)):
        present = [classes[k] for k in np.unique(labels[chosen])]
        check_classes(present, classes, "; ".join([f"{where}, {side} set", *found.notes]))
    return Dataset(
        patches=Images(pixels if kept.all() else pixels[kept]),
        labels=labels,
        classes=classes,
        groups=groups,
        names=names[kept],
        test=test,
        units=groups,
        groups_known=known,
        notes=notes,
        copies=found.counted(names),
        files=Kinds.of([""] * len(pixels), colours_of(pixels)).file,
    )
