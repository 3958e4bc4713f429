"""The task as a study sees it: patches of some subjects, every pixel of others, and what scores mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray

from medtune_jax.applications.intima_media.baseline import BASELINES, baseline_rows
from medtune_jax.applications.intima_media.cases import held_out, regions_of
from medtune_jax.applications.intima_media.config import DEFAULTS
from medtune_jax.applications.intima_media.doubts import warn_about
from medtune_jax.applications.intima_media.patches import (
    BACKGROUND,
    CLASSES,
    patch_affines,
    sample_centres,
)
from medtune_jax.applications.intima_media.predict import PREDICTION
from medtune_jax.applications.intima_media.scan import patch_names, scan
from medtune_jax.applications.intima_media.show import show
from medtune_jax.applications.intima_media.truth import (
    REGIONS,
    micrometres,
    network_contours,
    network_rows,
    pack,
)
from medtune_jax.applications.kinds import Kinds
from medtune_jax.applications.protocol import Application, Dataset, merit_of, points_of, sections_of
from medtune_jax.datasets.frames import groups_of
from medtune_jax.evaluation import log_odds
from medtune_jax.evaluation.metric import AUC
from medtune_jax.patches import Crops, padded
from medtune_jax.paths import csv_bytes
from medtune_jax.words import Words

ERRORS = ("li_px", "ma_px", "li_step_px", "ma_step_px")
_SAID = 3  # warnings of regions on the screen


def load(config: ConfigDict, size: int) -> Dataset:
    """Training patches on and off the interfaces, and all pixels of the test regions (docs/paper.md, 4).

    Groups and units are subjects. `data.train_patches` 0 takes every interface point once;
    `data.column_step` n scores every n-th column of a test region, and the maps are interpolated.
    """
    data = config.data
    rois = regions_of(data)
    test = held_out(rois, data.test_fraction, data.split_seed)
    training = [roi for roi, out in zip(rois, test, strict=True) if not out]
    testing = [roi for roi, out in zip(rois, test, strict=True) if out]
    centres = sample_centres(
        training, data.patch_seed, data.train_patches or None, data.background_distance
    )
    pixels = scan(testing, data.column_step, data.background_distance)

    ordered = [*training, *testing]
    sources, shapes = padded([roi.image for roi in ordered])
    source = np.concatenate([centres.roi, pixels.roi + len(training)])
    where = np.concatenate([centres.centre, pixels.centres])
    subjects = [roi.subject for roi in ordered]
    groups = groups_of([roi.image for roi in ordered], subjects)[source]
    baselines = baseline_rows(training, testing)
    warnings = [line for roi in rois for line in warn_about(roi)]
    return Dataset(
        patches=Crops(sources, shapes, source, patch_affines(where, data.patch, size), size),
        labels=np.concatenate([centres.label, pixels.label]),
        classes=CLASSES,
        groups=groups,
        names=patch_names([roi.name for roi in ordered], source, where),
        test=source >= len(training),
        units=np.array(subjects)[source],
        judged=np.concatenate([np.ones(len(centres.label), bool), pixels.clear]),
        also={"regions": (len(training), len(testing))},
        notes=_few(warnings),
        extra={"rois": testing, "pixels": pixels},
        files={
            REGIONS: pack(testing, pixels),
            BASELINES: csv_bytes(
                [tuple(baselines[0]), *(tuple(row.values()) for row in baselines)]
            ),
            **Kinds.of([], [roi.colour for roi in rois]).file,
            "warnings.txt": "\n".join(warnings).encode(),
        },
    )


def _few(warnings: list[str]) -> list[str]:
    """For the screen: the first of them."""
    more = len(warnings) - _SAID
    return [
        *warnings[:_SAID],
        *([f"{more:,} more warnings of regions: application/warnings.txt"] if more > 0 else []),
    ]


def interface_against_background(classes: int) -> list[tuple[int, ...]]:
    """One binary task: both interfaces merged against the background (docs/paper.md, "Stopping")."""
    return [tuple(c for c in range(classes) if c != BACKGROUND)]


def evaluate(dataset: Dataset, scores: NDArray) -> dict[str, Any]:
    """Boundary errors of the test regions from the log-odds of their pixels [n, 3].

    Means over regions, in pixels and, of the regions with calibration, in micrometres (None without
    any): of the snakes (li, ma) and of the step lines that start them. `regions` has a row each.
    """
    rois, pixels = dataset.extra["rois"], dataset.extra["pixels"]
    contours = network_contours(rois, pixels, log_odds.probabilities(scores))
    rows = network_rows(rois, [pair for _, pair in contours])
    figures: dict[str, Any] = {}
    for field in ERRORS:
        name, in_micrometres = field.removesuffix("_px"), micrometres(rows, field)
        figures[f"{name}_error_px"] = float(np.mean([row[field] for row in rows]))
        figures[f"{name}_error_um"] = float(in_micrometres.mean()) if in_micrometres.size else None
    return figures | {"regions": rows}


INTIMA_MEDIA = Application(
    name="intima_media",
    defaults=DEFAULTS,
    load=load,
    metric=replace(AUC, tasks=interface_against_background),
    evaluate=evaluate,
    words=Words("subject", "pixel"),
    sections=sections_of(__package__),
    merit=merit_of(__package__),
    points=points_of(__package__),
    show=show,
    predict=PREDICTION,
)
