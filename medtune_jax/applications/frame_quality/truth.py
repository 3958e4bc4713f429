"""The test frames, for the report: their truth, their pictures, and what was left out."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medtune_jax.applications.frame_quality.cases import Cases
from medtune_jax.applications.kept import study_file, study_rows
from medtune_jax.paths import csv_bytes
from medtune_jax.pictures import mosaic

FRAMES, PICTURES, SUMMARY = "test_frames.csv", "test_frames.jpg", "frames.json"
TILE = (168, 120)  # columns, rows of a test frame's picture
ACROSS = 24  # pictures in a row of the sheet


def truth_files(cases: Cases, crops: int) -> dict[str, bytes]:
    """Test frames in the order of their names. crops: of each of them, for the report's words."""
    test = test_frames(cases)
    pictures = [_picture(cases.images[i]) for i in test]
    rows = [
        (cases.names[i], cases.videos[i], cases.quality[i], picture.height, picture.width)
        for i, picture in zip(test, pictures, strict=True)
    ]
    summary = {
        "frames": len(cases.names),
        "videos": len(np.unique(cases.videos)),
        "test_frames": len(test),
        "test_videos": len(np.unique(cases.videos[test])),
        "left_out": cases.left_out,
        "crops": crops,
    }
    stream = io.BytesIO()
    mosaic(pictures, ACROSS, background=0, cell=TILE).save(stream, "JPEG", quality=85)
    return {
        FRAMES: csv_bytes([("frame", "video", "quality", "height", "width"), *rows]),
        PICTURES: stream.getvalue(),
        SUMMARY: json.dumps(summary, indent=1).encode(),
    }


def test_frames(cases: Cases) -> np.ndarray:
    """Indices of the test frames in the order of their names."""
    test = np.flatnonzero(cases.test)
    return test[np.argsort(cases.names[test])]


def read_summary(study: Path) -> dict[str, Any]:
    """Numbers of frames and videos; crops of a test frame. UserError where the file is missing."""
    summary: dict[str, Any] = json.loads(study_file(study, SUMMARY).read_bytes())
    return summary


def read_pictures(study: Path, which: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """Pictures uint8 [h, w, 3] of test frames by their number. UserError where a file is missing."""
    sizes = [(int(row["height"]), int(row["width"])) for row in study_rows(study, FRAMES)]
    sheet = np.asarray(Image.open(study_file(study, PICTURES)).convert("RGB"))
    return [_from_sheet(sheet, int(i), *sizes[i]) for i in which]


def _from_sheet(sheet: np.ndarray, number: int, height: int, width: int) -> np.ndarray:
    row, column = divmod(number, ACROSS)
    return sheet[row * TILE[1] :, column * TILE[0] :][:height, :width]


def _picture(image: np.ndarray) -> Image.Image:
    """A test frame, small enough for its tile."""
    picture = Image.fromarray(image)
    picture.thumbnail(TILE, Image.Resampling.BICUBIC)
    return picture
