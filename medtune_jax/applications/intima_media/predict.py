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
from medtune_jax.applications.intima_media.scan import confidence_maps, traced
from medtune_jax.applications.intima_media.truth import error_row
from medtune_jax.applications.kinds import Kinds, differences, read_kinds
from medtune_jax.applications.parts import Arrays, Steps, each, predicted
from medtune_jax.applications.predictions import METRICS, NO_LABELS, figures_text, metrics_file
from medtune_jax.applications.protocol import Option, Predicted, Prediction, Trained
from medtune_jax.datasets.carotid.files import SUFFIXES, read_new
from medtune_jax.datasets.carotid.roi import Roi, check_size
from medtune_jax.datasets.carotid.tables import plausible
from medtune_jax.errors import UserError
from medtune_jax.evaluation.boundary import MICROMETRES_PER_MM, readings, too_few
from medtune_jax.evaluation.readers import Estimate, of_mean
from medtune_jax.folders import files_below
from medtune_jax.images import is_dicom
from medtune_jax.paths import csv_bytes, write_whole
from medtune_jax.pictures import png
from medtune_jax.words import count

UNSURE_SHARE = 0.25  # of the columns: beyond this an image's measurement carries a warning
MODES, UNITS = ("convolutional", "exact"), ("mm", "px")
ERRORS = ("li_error", "ma_error", "boundary_error", "thickness_error")


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
    _check_options(unit, mode)
    _check_image(roi, classifier.patch, unit)
    columns = np.arange(roi.image.shape[1])
    return _measured(getattr(classifier, mode)(roi.image, columns), roi, unit)


def _check_options(
    unit: str = UNITS[0], mode: str = MODES[0], mm_per_pixel: float | None = None, labels: str = ""
) -> None:
    """UserError for options with which nothing can be measured."""
    for name, given, known in (("unit", unit, UNITS), ("mode", mode, MODES)):
        if given not in known:
            raise UserError(f"{name} is '{given}': choose {' or '.join(known)}")
    if mm_per_pixel is not None:
        plausible(mm_per_pixel, "--mm_per_pixel")
    if labels not in ("", NO_LABELS):
        raise UserError(
            f"labels is '{labels}': contours are read from beside the images; {NO_LABELS} leaves them out"
        )


def _check_image(roi: Roi, patch: float, unit: str) -> None:
    """UserError for an image that cannot be measured."""
    check_size(roi, patch)
    if unit == "mm" and roi.mm_per_pixel is None:
        why = f" ({' '.join(roi.notes)})" if roi.notes else ""
        raise UserError(
            f"{roi.name} has no calibration{why}: state --mm_per_pixel, add it to calibration.csv, or "
            "ask for pixels with --unit=px."
        )


def _measured(probabilities: NDArray, roi: Roi, unit: str) -> Measurement:
    """Of the probabilities [H, W, 3] of all pixels."""
    columns = np.arange(roi.image.shape[1])
    li, ma = confidence_maps(probabilities, len(roi.image), columns, columns)
    contours = extract_contours(li, ma, distrusted=overlay_marks(roi.image).any(axis=0))
    thick = wall_thickness(contours.li, contours.ma, roi.mm_per_pixel, unit)
    warnings = _warnings(replace(roi, li=contours.li, ma=contours.ma), contours.low_confidence)
    return Measurement(
        replace(roi, li=contours.li, ma=contours.ma), contours, thick, tuple(warnings)
    )


def predict(
    ensemble: Ensemble,
    inputs: Sequence[Path],
    output: Path,
    unit: str = "mm",
    mode: str = "convolutional",
    mm_per_pixel: float | None = None,
    labels: str = "",
) -> Predicted:
    """Measure images, or all images of folders, and write what was found into `output`.

    thickness.csv has a row an image; NAME.contours.csv a row a column (x, LI and MA in pixels,
    thickness in `unit`, low confidence); NAME.overlay.png shows both contours; where an expert's
    contours lie beside images, metrics.csv has the errors. Of several runs the mean of their
    probabilities is measured.

    Args:
      mm_per_pixel: of images that bring no calibration of their own. labels: 'none' leaves an
        expert's contours out.

    Raises:
      UserError: no image among the inputs, two of one name, or none that can be measured.
    """
    paths = _listed(inputs)
    if len({_stem(path) for path in paths}) < len(paths):
        raise UserError("two images have the same name and folder name: measure them one by one.")
    kinds = read_kinds(ensemble.study)
    classifiers = [classifier_of(member) for member in ensemble.members]

    def read(path: Path) -> Roi:
        roi = read_new(path, labels != NO_LABELS)
        roi = roi if roi.mm_per_pixel else replace(roi, mm_per_pixel=mm_per_pixel)
        _check_image(roi, classifiers[0].patch, unit)
        return roi

    def work(place: np.ndarray, rois: Sequence[Roi]) -> Arrays:
        return _measure_all(classifiers, rois[0], unit, mode, output / _stem(paths[place[0]]))

    def write(place: np.ndarray, parts: Sequence[Arrays]) -> list[str]:
        new = Kinds.of([], [bool(part["colour"]) for part in parts])
        said = _write(output, parts, unit, len(classifiers))
        return [*said, *differences(kinds, new, "images")]

    options = {"unit": unit, "mode": mode, "mm_per_pixel": mm_per_pixel, "labels": labels}
    options["kinds"] = str(kinds)
    steps = Steps(each(read), work, write, 1, "images")
    return predicted(ensemble, steps, paths, [*paths, *_tables(paths)], output, options)


def _measure_all(
    classifiers: Sequence[PixelClassifier], roi: Roi, unit: str, mode: str, base: Path
) -> Arrays:
    """Of one image: its row of thickness.csv, what to say, its subject, and the errors [S, 4] of each network, (0, 4)
    where nobody traced it. Writes the files that begin with `base`.
    """
    columns = np.arange(roi.image.shape[1])
    found = [getattr(classifier, mode)(roi.image, columns) for classifier in classifiers]
    of = [_measured(probabilities, roi, unit) for probabilities in found]
    whole = _measured(np.mean(found, axis=0), roi, unit)
    _write_contours(base, whole)
    known = len(traced(roi)) > 0
    errors = np.array([_errors(roi, m, unit) for m in of] if known else []).reshape(-1, len(ERRORS))
    thick = [m.thickness.mean for m in of]
    row = [
        *(roi.name, unit, f"{whole.thickness.mean:.4f}", f"{whole.thickness.maximum:.4f}"),
        *([f"{np.std(thick, ddof=1):.4f}"] if len(of) > 1 else []),
        *(f"{whole.contours.low_confidence.mean():.3f}", " ".join(whole.warnings)),
    ]
    said, subject = np.array(summary([whole])), np.array(roi.subject)
    told = {"said": said, "subject": subject, "colour": np.array(roi.colour)}
    return {"row": np.array(row), "errors": errors, **told}


def _errors(roi: Roi, found: Measurement, unit: str) -> list[float]:
    """Distances to the expert's LI, MA, both, and of the thickness: micrometres, or pixels with unit px."""
    own = traced(roi)
    row = error_row(roi, found.contours.li[own], found.contours.ma[own])
    thick = abs(row["thickness_px"] - row["expert_thickness_px"])
    pixels = [row["li_px"], row["ma_px"], (row["li_px"] + row["ma_px"]) / 2, thick]
    scale = 1.0 if unit == "px" else (roi.mm_per_pixel or np.nan) * MICROMETRES_PER_MM
    return [scale * error for error in pixels]


def _write(output: Path, parts: Sequence[Arrays], unit: str, networks: int) -> list[str]:
    """thickness.csv and, where an expert traced images, metrics.csv; what to say of them."""
    spread = ["spread"] if networks > 1 else []
    head = ["image", "unit", "mean", "maximum", *spread, "low_confidence", "warnings"]
    rows = [part["row"].tolist() for part in parts]
    write_whole(output / "thickness.csv", csv_bytes([head, *rows]))
    said = [str(part["said"]) for part in parts]
    traced_ones = [part for part in parts if len(part["errors"])]
    if not traced_ones:
        return said
    errors = np.stack([part["errors"] for part in traced_ones], axis=1)
    subjects = np.array([str(part["subject"]) for part in traced_ones])
    why, own = too_few(subjects), "px" if unit == "px" else "um"
    figures = {
        f"{name}_{own}": Estimate(float(values.mean()), why=why)
        if why
        else of_mean(readings(values, subjects), "log")
        for name, values in zip(ERRORS, np.moveaxis(errors, -1, 0), strict=True)
    }
    write_whole(output / METRICS, metrics_file(figures, len(subjects), len(np.unique(subjects))))
    said.append(f"{count(len(subjects), 'images')} with an expert's contours: {output / METRICS}")
    return [*said, *figures_text(figures)]


PREDICTION = Prediction(
    predict,
    (
        Option("unit", "mm", "of the thickness: mm or px"),
        Option("mode", "convolutional", "or exact, patch by patch and far slower"),
        Option("mm_per_pixel", None, "of images without calibration of their own", float),
        Option("labels", "", "none: leave an expert's contours beside the images out"),
    ),
    "a region of an ultrasound image (with calibration.csv, unless it is a DICOM file)",
    "Yellow: the lumen-intima interface. Blue: the media-adventitia interface. Red below: columns that are unsure.",
    lambda ensemble, **options: _check_options(**options),
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
        found = [p for p in within if p.suffix.lower() in SUFFIXES or (p == path and is_dicom(p))]
        if not found:
            what = "holds no image" if path.is_dir() else "is no image"
            raise UserError(
                f"{path} {what}, which this study was trained on: give images ({', '.join(SUFFIXES)}) or folders of "
                "them"
            )
        paths += found
    return paths


def _tables(paths: Sequence[Path]) -> list[Path]:
    """Of calibrations and contours."""
    folders = {folder for path in paths for folder in (path.parent, path.parent.parent)}
    return sorted(table for folder in folders for table in folder.glob("*.csv"))


def _stem(path: Path) -> str:
    return f"{path.absolute().parent.name}-{path.stem}"


def _write_contours(base: Path, measurement: Measurement) -> None:
    roi, contours = measurement.roi, measurement.contours
    rows = zip(
        roi.li, roi.ma, measurement.thickness.per_column, contours.low_confidence, strict=True
    )
    head = ("x", "li", "ma", f"thickness_{measurement.thickness.unit}", "low_confidence")
    lines = [
        (x, f"{li:.3f}", f"{ma:.3f}", f"{distance:.4f}", int(low))
        for x, (li, ma, distance, low) in enumerate(rows)
    ]
    write_whole(base.with_name(f"{base.name}.contours.csv"), csv_bytes([head, *lines]))
    picture = overlay(roi.image, roi.li, roi.ma, contours.low_confidence)
    write_whole(base.with_name(f"{base.name}.overlay.png"), png(picture))
