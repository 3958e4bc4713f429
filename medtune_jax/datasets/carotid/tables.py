"""The text files beside the images: contours as points, calibrations, CUBS profiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtune_jax.datasets.tables import read_table
from medtune_jax.errors import UserError

CALIBRATION = "calibration.csv"
MM_PER_PIXEL = (0.01, 0.5)  # 10 mm of depth on 1,000 rows, 200 mm on 400


def _number(text: str, path: Path, line: int, field: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise UserError(f"{path}, line {line}: {field} is {text!r}, not a number.")
    return value


def csv_points(path: Path) -> NDArray:
    rows = read_table(path, ("x", "y"))
    if not rows:
        raise UserError(f"{path} holds no point; write one row x,y for each.")
    return np.array([[_number(row[k], path, line, k) for k in ("x", "y")] for line, row in rows])


def calibration(table: Path) -> dict[Path, float]:
    """mm per pixel by image path, from a calibration.csv."""
    scales: dict[Path, float] = {}
    for line, row in read_table(table, ("image", "mm_per_pixel")):
        scale = _number(row["mm_per_pixel"], table, line, "mm_per_pixel")
        path = (table.parent / row["image"]).resolve()
        if scales.setdefault(path, plausible(scale, f"{table}, line {line}")) != scale:
            raise UserError(
                f"{table}, line {line}: {row['image']} has {scale:g} and {scales[path]:g} mm per pixel: keep one row"
            )
    return scales


def factor(path: Path) -> float:
    return plausible(
        _number(path.read_text().strip(), path, 1, "the calibration factor"), str(path)
    )


def is_plausible(mm_per_pixel: float) -> bool:
    """Whether an ultrasound image can have it."""
    low, high = MM_PER_PIXEL
    return low <= mm_per_pixel <= high


def plausible(mm_per_pixel: float, where: str) -> float:
    """The scale itself; UserError for what no scanner makes. where: the file and line."""
    if not is_plausible(mm_per_pixel):
        low, high = MM_PER_PIXEL
        raise UserError(
            f"{where}: {mm_per_pixel:g} mm per pixel is not plausible (ultrasound has {low:g} to {high:g}): is its "
            "unit mm?"
        )
    return mm_per_pixel


def profile(path: Path) -> NDArray:
    """Points [N, 2] of a CUBS profile: rows "x y", or one line of all x and one of all y."""
    try:
        values = np.loadtxt(path, ndmin=2, delimiter="," if "," in path.read_text() else None)
    except ValueError as error:
        raise UserError(f"{path} is not a table of numbers: {error}.") from error
    points = values.T if len(values) == 2 and values.shape[1] > 2 else values
    points = points[np.isfinite(points).all(axis=1)]
    if points.shape[1] != 2 or not len(points):
        raise UserError(f"{path} must hold rows 'x y', or a line of all x and a line of all y.")
    return points
