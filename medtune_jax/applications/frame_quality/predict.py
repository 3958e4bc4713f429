"""A trained network on new frames and videos: how informative each frame is, over the time of its video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medtune_jax.applications.ensemble import Ensemble
from medtune_jax.applications.frame_quality.cases import CLASSES, scaled
from medtune_jax.applications.frame_quality.patches import judged_crops
from medtune_jax.applications.mapping import GRAD_CAM, OPTIONS, map_files, mapper_of
from medtune_jax.applications.parts import Arrays, finished, in_parts, key_of
from medtune_jax.applications.predictions import (
    explained_classes,
    thresholds_of,
    unreadable_text,
    write_classified,
)
from medtune_jax.applications.protocol import Option, Predicted, Prediction
from medtune_jax.applications.scoring import Scorer, by_case, mean_of_runs
from medtune_jax.datasets.colonoscopy import FrameFile, plain
from medtune_jax.datasets.colonoscopy.new import listed, read_each
from medtune_jax.errors import UserError
from medtune_jax.evaluation import log_odds
from medtune_jax.patches import Crops, padded
from medtune_jax.paths import write_whole

_PART = 16  # frames in memory at a time; as many are read ahead
_SHOWN = 4  # crops of a frame that are explained
_LEAST = 3  # frames of a video that make a timeline
_NO_LABELS = "none"


class _Read(NamedTuple):
    """place: int [n] among all frames, images: uint8 RGB of those that could be read; bad: why the others could not."""

    place: list[int]
    images: list[np.ndarray]
    bad: list[str]


def predict(
    ensemble: Ensemble,
    inputs: Sequence[Path],
    output: Path,
    seconds: float | None = None,
    labels: str = "",
    explain: bool = False,
    explain_by: str = GRAD_CAM,
    explain_stage: str = "",
) -> Predicted:
    """Score the frames of videos, images and folders: predictions.csv, a timeline per video and, with labels,
    metrics.csv.

    Args:
      seconds: between the frames that are taken of a video file; None: as in the study. labels: a table video, frame,
        quality; '': the folder's own quality.csv; 'none': no labels. explain: draw maps/ of the first crops of each
        frame. explain_by, explain_stage: as of `Mapper`.

    Raises:
      UserError: neither videos nor images, labels of frames that are not there, or no frame that can be read.
    """
    data = ensemble.data
    every = data.seconds_between_frames if seconds is None else seconds
    files, lost = listed(inputs, every)
    files = _labelled(files, labels)
    scorer, mapper = Scorer(ensemble), mapper_of(ensemble, explain, explain_by, explain_stage)
    drawn_to = map_files([file.title for file in files]) if mapper else []

    def read(part: Sequence[int]) -> _Read:
        found = read_each([files[k] for k in part])
        good = [(k, f.image) for k, f in zip(part, found, strict=True) if not isinstance(f, str)]
        images = [scaled(image, data.frame_height) for _, image in good]
        return _Read([k for k, _ in good], images, [bad for bad in found if isinstance(bad, str)])

    def score(part: _Read) -> Arrays:
        scores = np.zeros((len(ensemble.members), 0, len(CLASSES)), np.float32)
        if part.images:
            crops = _crops(part.images, ensemble)
            scores = by_case(scorer(crops), crops.source, len(part.images))
            if mapper:
                called = explained_classes(ensemble, scores)
                for row, (k, of) in enumerate(zip(part.place, called, strict=True)):
                    shown = np.flatnonzero(crops.source == row)[:_SHOWN]
                    write_whole(output / drawn_to[k], mapper.sheet(crops, shown, int(of), 2))
        place, bad = np.array(part.place, int), np.array(part.bad, str)
        return {"place": place, "scores": scores, "bad": bad}

    drawn = (explain_by, mapper.stage) if mapper else ()
    numbers, options = range(len(files)), {"every": every, "maps": drawn}
    key = key_of(ensemble, options, [file.image for file in files])
    parts = in_parts(numbers, _PART, read, score, output, key, "frames: parts")
    bad = [*lost, *(line for part in parts for line in part["bad"].tolist())]
    place = np.concatenate([np.zeros(0, int), *(part["place"] for part in parts)])
    count = len(files) + len(lost)
    if not len(place):
        raise UserError(unreadable_text(bad, count))
    scores = np.concatenate([part["scores"] for part in parts], axis=1)
    maps = [drawn_to[k] for k in place] if mapper else []
    said = _write(ensemble, output, [files[k] for k in place], scores, maps)
    finished(output)
    return Predicted("\n".join(said), unreadable_text(bad, count))


PREDICTION = Prediction(
    predict,
    (
        Option(
            "seconds", None, "between the frames taken of a video; left out: the study's", float
        ),
        Option(
            "labels", "", "a table video,frame,quality of what is true; none: leave quality.csv out"
        ),
        *OPTIONS,
    ),
)


def _labelled(files: Sequence[FrameFile], labels: str) -> list[FrameFile]:
    """With the quality that is known of each, and nothing else."""
    if labels == _NO_LABELS:
        files = [replace(file, quality=None) for file in files]
    elif labels:
        if not Path(labels).is_file():
            raise UserError(f"there is no table {labels}: give a file video,frame,quality")
        files = plain.declared(list(files), Path(labels))
    return [replace(file, mask=None, no_lesion=False, positive=None) for file in files]


def _crops(images: Sequence[np.ndarray], ensemble: Ensemble) -> Crops:
    """Of frames, as of test frames; `source` says of which."""
    data, size = ensemble.data, ensemble.size
    sources, shapes = padded(images)
    crops = [judged_crops(shape, data.crop_seed, data.test_crops, size) for shape in shapes]
    frame = np.repeat(np.arange(len(images), dtype=np.int32), data.test_crops)
    return Crops(sources, shapes, frame, np.concatenate(crops), size)


def _write(
    ensemble: Ensemble,
    output: Path,
    files: Sequence[FrameFile],
    scores: np.ndarray,
    maps: Sequence[str],
) -> list[str]:
    """The table, the timelines, and what to say of them."""
    labels = [file.quality for file in files]
    columns = {
        "image": [file.title for file in files],
        "video": [file.video for file in files],
        "seconds": ["" if file.seconds is None else f"{file.seconds:g}" for file in files],
    }
    if maps:
        columns["map"] = list(maps)
    if any(label is not None for label in labels):
        columns["label"] = ["" if label is None else CLASSES[label] for label in labels]
    videos = columns["video"]
    said = write_classified(ensemble, output, columns, scores, labels, videos)
    drawn = _timelines(ensemble, output, files, scores)
    return [*said, f"timelines of {drawn} videos: {output}"] if drawn else said


def _timelines(
    ensemble: Ensemble, output: Path, files: Sequence[FrameFile], scores: np.ndarray
) -> int:
    """timeline-VIDEO.png of every video with a few frames; returns their number."""
    from medtune_jax.applications.frame_quality.timeline import timeline

    mean, spread = mean_of_runs(scores)
    probability, far = log_odds.probabilities(mean[:, 1]), spread[:, 1]
    thresholds = thresholds_of(ensemble)[0]
    limit = None if thresholds is None else float(log_odds.probabilities(thresholds.mean()))
    members: dict[str, list[int]] = {}
    for number, file in enumerate(files):
        members.setdefault(file.video, []).append(number)
    drawn = {video: rows for video, rows in members.items() if len(rows) >= _LEAST}
    for video, rows in drawn.items():
        times = [files[k].seconds for k in rows]
        drawing = timeline(video, times, probability[rows], far[rows], limit)
        drawing.save(output, ("png",))
    return len(drawn)
