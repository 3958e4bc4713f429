"""What makes results on a region doubtful: marks burnt into the image, a scale that is missing or cannot be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import white_tophat

from medtune_jax.datasets.carotid.roi import Roi

WALL_MM = (0.2, 5.0)  # mean distance of LI and MA: a healthy wall has 0.4 to 1, a plaque up to 4


def overlay_marks(image: NDArray, contrast: int = 90) -> NDArray[np.bool_]:
    """Pixels [H, W] of text, rulers or callipers burnt into an ultrasound image.

    The beam is several pixels wide, so no echo can be a bright upright stroke of one to three
    pixels between darker ones; the strokes of letters are.
    """
    return white_tophat(image, size=(1, 5)) > contrast


def warn_about(roi: Roi, least_marks: int = 6) -> list[str]:
    """What makes results on `roi` doubtful, one sentence each: for the log and the report."""
    warnings = list(roi.notes)
    marks = overlay_marks(roi.image)
    if marks.sum() >= least_marks:
        columns = np.flatnonzero(marks.any(axis=0))
        warnings.append(
            f"{roi.name}: text or marks seem burnt into the image between columns {columns[0]} and "
            f"{columns[-1]}; confidence is low there."
        )
    if roi.mm_per_pixel is None:
        warnings.append(f"{roi.name} has no calibration: results are in pixels.")
    expert = roi.ma - roi.li
    if roi.mm_per_pixel is not None and not np.isnan(expert).all():
        warnings += doubt_scale(roi.name, roi.mm_per_pixel * float(np.nanmean(expert)))
    return warnings


def doubt_scale(name: str, wall_mm: float) -> list[str]:
    """A sentence where a wall is as thick as none is."""
    if WALL_MM[0] <= wall_mm <= WALL_MM[1]:
        return []
    return [
        f"{name}: its wall would be {wall_mm:.3g} mm thick, and none is below {WALL_MM[0]:g} or above {WALL_MM[1]:g}: "
        "are its mm per pixel right?"
    ]
