"""Which regions a study uses, and who of their subjects is held out: read from files or generated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray

from medtune_jax.applications.splits import test_split
from medtune_jax.datasets.carotid.files import read_cubs, read_plain
from medtune_jax.datasets.carotid.roi import Roi, check_roi, check_size
from medtune_jax.datasets.frames import united
from medtune_jax.errors import UserError
from medtune_jax.phantoms.ultrasound import generate

LAYOUTS = ("plain", "cubs", "tfds")
FEWEST_SUBJECTS = 4  # two to train and validate on, two for an interval over test subjects


def regions_of(data: ConfigDict) -> list[Roi]:
    """The regions of `config.data`: of data.dir in its layout, or phantoms where no folder is given.

    Raises UserError for a region smaller than a patch, and for fewer than four subjects.
    """
    rois = _read(data) if data.dir else phantom_regions(data.subjects, data.rois, data.phantom_seed)
    for roi in rois:
        check_size(roi, data.patch)
        check_roi(roi)
    subjects = {roi.subject for roi in rois}
    if len(subjects) < FEWEST_SUBJECTS:
        raise UserError(
            f"{len(subjects)} subjects are too few for a study: give at least {FEWEST_SUBJECTS}, "
            "to train, to validate and to test on different ones."
        )
    return rois


def phantom_regions(subjects: int, rois: int, seed: int) -> list[Roi]:
    """Generated regions of 92 x 60 px; subject k depends on (seed, k) alone."""
    return [
        Roi(*phantom, subject=f"subject{index:04d}", name=f"subject{index:04d}/roi{number}")
        for index in range(subjects)
        for number, phantom in enumerate(generate(index, rois, seed))
    ]


def held_out(rois: Sequence[Roi], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Which regions are for testing, bool [N]: about `fraction` of the subjects, whole subjects; those that share a
    picture go together.
    """
    images, subjects = [roi.image for roi in rois], [roi.subject for roi in rois]
    groups = united(images, subjects, "subjects share regions")
    return test_split(np.zeros(len(rois), int), groups, fraction, seed)


def _read(data: ConfigDict) -> list[Roi]:
    if data.layout not in LAYOUTS:
        raise UserError(f"data.layout is '{data.layout}': choose {', '.join(LAYOUTS)}.")
    if data.layout == "tfds":
        from medtune_jax.datasets.carotid.cubs import read_prepared  # TFDS takes seconds to import

        return read_prepared(data.dir, data.expert or None)
    if data.layout == "cubs":
        return read_cubs(data.dir, data.expert or None)
    return read_plain(data.dir)
