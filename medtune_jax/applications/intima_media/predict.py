"""Measuring new images with a trained network: contours, thickness, an overlay to check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtune_jax.applications.ensemble import Ensemble
from medtune_jax.applications.intima_media.contours import (
    Contours,
    WallThickness,
    extract_contours,
    wall_thickness,
)
from medtune_jax.applications.intima_media.dense import PixelClassifier
from medtune_jax.applications.intima_media.doubts import overlay_marks, warn_about
from medtune_jax.applications.intima_media.overlay import overlay
from medtune_jax.applications.intima_media.scan import confidence_maps
from medtune_jax.applications.protocol import Option, Predicted, Prediction, Trained
from medtune_jax.datasets.carotid.files import SUFFIXES, read_new
from medtune_jax.datasets.carotid.roi import Roi, check_size
from medtune_jax.errors import UserError
from medtune_jax.folders import files_below
from medtune_jax.paths import csv_bytes

UNSURE_SHARE = 0.25  # of the columns: beyond this an image's measurement carries a warning
MODES = ("convolutional", "exact")


@dataclass(frozen=True)
class Measurement:
    """What was found in one image."""

    roi: Roi
    contours: Contours
    thickness: WallThickness
    warnings: tuple[str, ...]


def classifier_of(trained: Trained) -> PixelClassifier:
    """The network of a run as a classifier of pixels."""
    return PixelClassifier(trained.checkpoint, trained.size, trained.config["data"]["patch"])


def measure(
    classifier: PixelClassifier, roi: Roi, unit: str = "mm", mode: str = "convolutional"
) -> Measurement:
    """LI, MA and their distance in one image. Raises UserError for mm without calibration."""
    if mode not in MODES:
        raise UserError(f"mode '{mode}' is unknown: choose {' or '.join(MODES)}.")
    check_size(roi, classifier.patch)
    if unit == "mm" and roi.mm_per_pixel is None:
        raise UserError(
            f"{roi.name} has no calibration: state --mm_per_pixel, add it to calibration.csv, or "
            "ask for pixels with --unit=px."
        )
    columns = np.arange(roi.image.shape[1])
    probabilities = getattr(classifier, mode)(roi.image, columns)
    li, ma = confidence_maps(probabilities, len(roi.image), columns, columns)
    contours = extract_contours(li, ma, distrusted=overlay_marks(roi.image).any(axis=0))
    return Measurement(
        replace(roi, li=contours.li, ma=contours.ma),
        contours,
        wall_thickness(contours.li, contours.ma, roi.mm_per_pixel, unit),
        tuple(_warnings(roi, contours.low_confidence)),
    )


def predict(
    ensemble: Ensemble,
    inputs: Sequence[Path],
    output: Path,
    unit: str = "mm",
    mode: str = "convolutional",
    mm_per_pixel: float | None = None,
) -> Predicted:
    """Measure images, or all images of folders, and write what was found into `output`.

    thickness.csv has a row an image; NAME.contours.csv a row a column (x, LI and MA in pixels,
    thickness in `unit`, low confidence); NAME.overlay.png shows both contours. mm_per_pixel applies
    to images that bring no calibration of their own.
    """
    if len(ensemble.members) > 1:
        raise UserError("contours are measured with one network: give one --run=STUDY/runs/NAME")
    paths = _listed(inputs)
    if len({_stem(path) for path in paths}) < len(paths):
        raise UserError("two images have the same name and folder name: measure them one by one.")
    # All images are read, and those refused that must be, before the first is measured.
    rois = [
        roi if roi.mm_per_pixel is not None else replace(roi, mm_per_pixel=mm_per_pixel)
        for roi in map(read_new, paths)
    ]
    output.mkdir(parents=True, exist_ok=True)
    classifier = classifier_of(ensemble.members[0])
    measurements = [measure(classifier, roi, unit, mode) for roi in rois]
    for path, measurement in zip(paths, measurements, strict=True):
        _write(output / _stem(path), measurement)
    rows = [
        (
            path.as_posix(),
            unit,
            f"{m.thickness.mean:.4f}",
            f"{m.thickness.maximum:.4f}",
            f"{m.contours.low_confidence.mean():.3f}",
            " ".join(m.warnings),
        )
        for path, m in zip(paths, measurements, strict=True)
    ]
    head = ("image", "unit", "mean", "maximum", "low_confidence", "warnings")
    (output / "thickness.csv").write_bytes(csv_bytes([head, *rows]))
    return Predicted(summary(measurements))


PREDICTION = Prediction(
    predict,
    (
        Option("unit", "mm", "of the thickness: mm or px"),
        Option("mode", "convolutional", "or exact, patch by patch and far slower"),
        Option("mm_per_pixel", None, "of images without calibration of their own", float),
    ),
)


def summary(measurements: Sequence[Measurement]) -> str:
    """The measurements as lines of text, each image's warnings below it."""
    lines = []
    for m in measurements:
        size = f"mean {m.thickness.mean:.3f}, max {m.thickness.maximum:.3f} {m.thickness.unit}"
        lines += [f"{m.roi.name}: {size}", *(f"  warning: {line}" for line in m.warnings)]
    return "\n".join(lines)


def _warnings(roi: Roi, low_confidence: NDArray) -> list[str]:
    warnings = warn_about(roi)
    share = low_confidence.mean()
    if share > UNSURE_SHARE:
        warnings.append(
            f"{roi.name}: confidence is low in {share:.0%} of the columns; check the overlay "
            "before you use the thickness."
        )
    return warnings


def _listed(inputs: Sequence[Path]) -> list[Path]:
    paths: list[Path] = []
    for path in inputs:
        within = files_below(path) if path.is_dir() else [path]
        paths += [p for p in within if p == path or p.suffix.lower() in SUFFIXES]
    if not paths:
        raise UserError("there is no image to measure: give images or folders that hold some.")
    return paths


def _stem(path: Path) -> str:
    return f"{path.absolute().parent.name}-{path.stem}"


def _write(base: Path, measurement: Measurement) -> None:
    roi, contours = measurement.roi, measurement.contours
    rows = zip(
        roi.li, roi.ma, measurement.thickness.per_column, contours.low_confidence, strict=True
    )
    head = ("x", "li", "ma", f"thickness_{measurement.thickness.unit}", "low_confidence")
    lines = [
        (x, f"{li:.3f}", f"{ma:.3f}", f"{distance:.4f}", int(low))
        for x, (li, ma, distance, low) in enumerate(rows)
    ]
    base.with_name(f"{base.name}.contours.csv").write_bytes(csv_bytes([head, *lines]))
    picture = overlay(roi.image, roi.li, roi.ma, contours.low_confidence)
    picture.save(base.with_name(f"{base.name}.overlay.png"))
