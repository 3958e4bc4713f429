"""What the report needs of the data: the test frames, their pictures, and the hand-crafted scores."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from medtune_jax.applications.frame_quality.baseline import QualityBaseline
from medtune_jax.applications.frame_quality.frames import QualityFrames
from medtune_jax.applications.protocol import Dataset
from medtune_jax.applications.splits import planned_subset
from medtune_jax.fields import numbers

FRAMES, BASELINE, PICTURES, SUMMARY = (
    "test_frames.csv", "baseline.csv", "test_frames.jpg", "frames.json"
)  # fmt: skip
TILE = (168, 120)  # columns, rows of a test frame's picture
ACROSS = 24  # pictures in a row of the sheet


def report_files(
    config: ConfigDict, frames: QualityFrames, dataset: Dataset, frame: np.ndarray
) -> dict[str, bytes]:
    """frame: [N], the frame of each patch of the dataset. Test frames are in the order of names."""
    test = np.flatnonzero(frames.test)
    test = test[np.argsort(frames.names[test])]
    pictures = [_picture(frames.images[i]) for i in test]
    truth = [
        (frames.names[i], frames.videos[i], frames.quality[i], picture.height, picture.width)
        for i, picture in zip(test, pictures, strict=True)
    ]
    summary = {
        "frames": len(frames.names),
        "videos": len(np.unique(frames.videos)),
        "test_frames": len(test),
        "test_videos": len(np.unique(frames.videos[test])),
        "left_out": frames.left_out,
        "crops": config.data.test_crops,
    }
    return {
        FRAMES: _table(("frame", "video", "quality", "height", "width"), truth),
        BASELINE: _table(
            ("fraction", "seed", "frame", "score"),
            _baseline_rows(config, frames, dataset, frame, test),
        ),
        PICTURES: _sheet(pictures),
        SUMMARY: json.dumps(summary, indent=1).encode(),
    }


def _baseline_rows(config, frames: QualityFrames, dataset, frame, test) -> list[tuple]:
    """The forest learns from the very frames that a run of each fraction and seed is given.

    It needs no early stopping, so it also has the frames that a network only validates on.
    """
    rows = []
    for fraction in numbers(config.sweep.fractions, "sweep.fractions"):
        for seed in range(config.sweep.seeds):
            subset = planned_subset(config, dataset, fraction, seed)
            seen = np.unique(frame[np.concatenate([subset.train, subset.valid])])
            judge = QualityBaseline.fit(frames.features[seen], frames.quality[seen], seed)
            scores = judge.predict(frames.features[test])
            rows += [
                (f"{fraction:g}", seed, name, f"{score:.6g}")
                for name, score in zip(frames.names[test], scores, strict=True)
            ]
    return rows


def _table(head: Sequence[str], rows: Any) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([head, *rows])
    return stream.getvalue().encode()


def _picture(image: np.ndarray) -> Image.Image:
    """A test frame, small enough for its tile."""
    picture = Image.fromarray(image)
    picture.thumbnail(TILE, Image.Resampling.BICUBIC)
    return picture


def _sheet(pictures: Sequence[Image.Image]) -> bytes:
    """All pictures on one JPEG, ACROSS in a row, each at the upper left of a TILE."""
    down = -(-len(pictures) // ACROSS)
    sheet = Image.new("RGB", (ACROSS * TILE[0], down * TILE[1]))
    for number, picture in enumerate(pictures):
        row, column = divmod(number, ACROSS)
        sheet.paste(picture, (column * TILE[0], row * TILE[1]))
    stream = io.BytesIO()
    sheet.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def picture_of(sheet: np.ndarray, number: int, height: int, width: int) -> np.ndarray:
    """The picture of test frame `number` on a decoded sheet [H, W, 3]; its size is in FRAMES."""
    row, column = divmod(number, ACROSS)
    return sheet[row * TILE[1] :, column * TILE[0] :][:height, :width]
