"""A study's boundary errors as the report needs them: by depth and region, beside the baselines'."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medtune_jax.applications.intima_media.baseline import BASELINES
from medtune_jax.applications.intima_media.contours import Contours
from medtune_jax.applications.intima_media.scan import patch_names
from medtune_jax.applications.intima_media.truth import REGIONS, network_contours, unpack
from medtune_jax.applications.kept import study_file, study_rows
from medtune_jax.evaluation import log_odds
from medtune_jax.evaluation.boundary import MICROMETRES_PER_MM
from medtune_jax.report.runs import StudyResults

CALIBRATED = ", calibrated"


class BoundaryResults:
    """Errors [regions] of every finished depth (mean over seeds) and of every baseline.

    In micrometres where all test regions are calibrated, else in pixels: see `unit`.
    """

    def __init__(self, study: StudyResults) -> None:
        self.rois, self.pixels = unpack(study_file(study.directory, REGIONS).read_bytes())
        self._baselines = study_rows(study.directory, BASELINES)
        self.study = study
        self.subjects = np.array([roi.subject for roi in self.rois])

    @cached_property
    def unit(self) -> str:
        return "px" if any(roi.mm_per_pixel is None for roi in self.rois) else "µm"

    @cached_property
    def scale(self) -> NDArray[np.float64]:
        """What turns each region's pixels into `unit` [regions]."""
        if self.unit == "px":
            return np.ones(len(self.rois))
        return np.array([roi.mm_per_pixel for roi in self.rois]) * MICROMETRES_PER_MM

    def of_depth(self, depth: str, fraction: float, field: str) -> NDArray[np.float64]:
        """A field of the regions' rows in `unit`, mean over seeds [regions]."""
        return np.asarray(self.by_run(depth, fraction, field).mean(axis=0))

    def by_run(self, depth: str, fraction: float, field: str) -> NDArray[np.float64]:
        """The same of each run [seeds, regions]."""
        runs = self.study.cell(depth, fraction)
        pixels = [[row[field] for row in run.result["regions"]] for run in runs]
        return np.array(pixels, float) * self.scale

    @cached_property
    def baselines(self) -> dict[str, dict[str, NDArray[np.float64]]]:
        """{method: {field: values in `unit` [regions]}}; learnt constants make a method of its own."""
        errors: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in self._baselines:
            name = row["method"] + (CALIBRATED if row["calibrated"] == "True" else "")
            for field in ("li_px", "ma_px", "thickness_px"):
                errors[name][field].append(float(row[field]))
        return {
            name: {field: np.array(values) * self.scale for field, values in fields.items()}
            for name, fields in errors.items()
        }

    def contours(self, depth: str, fraction: float) -> list[tuple[NDArray, Contours]]:
        """Confidence maps and contours of every region, from the scores of the first seed."""
        scores = self.study.cell(depth, fraction)[0].scores
        assert scores is not None
        regions = [roi.name for roi in self.rois]
        names = patch_names(regions, self.pixels.roi, self.pixels.centres)
        # A study keeps its scores in the order of the names.
        place = np.empty(len(names), int)
        place[np.argsort(names, kind="stable")] = np.arange(len(names))
        return network_contours(self.rois, self.pixels, log_odds.probabilities(scores[place]))
