"""A trained network on new frames and videos: how informative each frame is, over the time of its video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medtune_jax.applications.ensemble import Ensemble
from medtune_jax.applications.frame_quality.cases import CLASSES, scaled
from medtune_jax.applications.frame_quality.patches import judged_crops
from medtune_jax.applications.kinds import Kinds, colours_of, differences, read_kinds
from medtune_jax.applications.mapping import OPTIONS, drawn_by, map_files, mapper_of
from medtune_jax.applications.parts import Arrays, Steps, joined, predicted
from medtune_jax.applications.predictions import (
    NO_LABELS,
    explained_classes,
    thresholds_of,
    write_classified,
)
from medtune_jax.applications.protocol import Option, Predicted, Prediction
from medtune_jax.applications.scoring import Scorer, by_case, mean_of_runs
from medtune_jax.datasets.colonoscopy import FrameFile, plain
from medtune_jax.datasets.colonoscopy.new import check_interval, listed, read_each
from medtune_jax.errors import UserError
from medtune_jax.evaluation import log_odds
from medtune_jax.patches import Crops, padded
from medtune_jax.paths import write_whole
from medtune_jax.words import count

_PART = 16  # frames in memory at a time; as many are read ahead
_SHOWN = 4  # crops of a frame that are explained
_LEAST = 3  # frames of a video that make a timeline


def predict(
    ensemble: Ensemble,
    inputs: Sequence[Path],
    output: Path,
    seconds: float | None = None,
    labels: str = "",
    **explain: Any,
) -> Predicted:
    """Score the frames of videos, images and folders: predictions.csv, a timeline per video and, with labels,
    metrics.csv.

    Args:
      seconds: between the frames that are taken of a video file; None: as in the study. labels: a table video, frame,
        quality; '': the folder's own quality.csv; 'none': no labels. explain: as of `mapper_of`, of the first crops of
        each frame.

    Raises:
      UserError: neither videos nor images, labels of frames that are not there, or no frame that can be read.
    """
    data = ensemble.data
    every = data.seconds_between_frames if seconds is None else seconds
    files, lost = listed(inputs, every)
    files = _labelled(files, labels)
    scorer, mapper = Scorer(ensemble), mapper_of(ensemble, **explain)
    drawn_to = map_files([file.title for file in files]) if mapper else []
    kinds = read_kinds(ensemble.study)

    def read(part: Sequence[FrameFile]) -> list[np.ndarray | str]:
        found = read_each(part)
        return [f if isinstance(f, str) else scaled(f.image, data.frame_height) for f in found]

    def work(place: np.ndarray, images: Sequence[np.ndarray]) -> Arrays:
        crops = _crops(images, ensemble)
        scores = by_case(scorer(crops), crops.source, len(images))
        if mapper:
            called = explained_classes(ensemble, scores)
            for row, (k, of) in enumerate(zip(place, called, strict=True)):
                shown = np.flatnonzero(crops.source == row)[:_SHOWN]
                write_whole(output / drawn_to[k], mapper.sheet(crops, shown, int(of), 2))
        return {"scores": scores, "colour": np.array(colours_of(images))}

    def write(place: np.ndarray, parts: Sequence[Arrays]) -> list[str]:
        maps = [drawn_to[k] for k in place] if mapper else []
        taken, found = [files[k] for k in place], joined(parts)
        said = _write(ensemble, output, taken, found["scores"], maps)
        return [*said, *differences(kinds, Kinds.of([], found["colour"].tolist()), "frames")]

    steps = Steps(read, work, write, _PART, "frames: parts")
    options = {"every": every, "maps": drawn_by(mapper), "kinds": str(kinds)}
    return predicted(ensemble, steps, files, [f.image for f in files], output, options, lost)


def _check(
    ensemble: Ensemble, seconds: float | None = None, labels: str = "", **explain: Any
) -> None:
    check_interval(seconds)
    mapper_of(ensemble, **explain)
    if labels not in ("", NO_LABELS) and not Path(labels).is_file():
        raise UserError(f"there is no table {labels}: give a file video,frame,quality")


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
    "a colonoscopy frame or video",
    "Crops of the frame, and beside each, in warm colours, what speaks for what the frame is called.",
    _check,
)


def _labelled(files: Sequence[FrameFile], labels: str) -> list[FrameFile]:
    """With the quality that is known of each, and nothing else."""
    if labels == NO_LABELS:
        files = [replace(file, quality=None) for file in files]
    elif labels:
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
    return [*said, f"timelines of {count(drawn, 'videos')}: {output}"] if drawn else said


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
