"""A trained network on new frames and videos: candidates with boxes and scores, those that are marked, overlays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medtune_jax.applications.ensemble import Ensemble
from medtune_jax.applications.mapping import GRAD_CAM, MAPS, OPTIONS, Mapper, mapper_of
from medtune_jax.applications.marks import found_lesions, threshold_at
from medtune_jax.applications.parts import Arrays, finished, in_parts, key_of
from medtune_jax.applications.polyps.candidates import hits, read_detector
from medtune_jax.applications.polyps.cases import folder, lesions, shrunk
from medtune_jax.applications.polyps.detector import Candidate
from medtune_jax.applications.polyps.film import write_films
from medtune_jax.applications.polyps.patches import candidate_affines, spread
from medtune_jax.applications.polyps.show import draw_detections
from medtune_jax.applications.polyps.truth import FrameTruth, read_truth
from medtune_jax.applications.predictions import (
    METRICS,
    PREDICTIONS,
    figures_text,
    metrics_file,
    score_table,
    unreadable_text,
)
from medtune_jax.applications.protocol import Option, Predicted, Prediction
from medtune_jax.applications.scoring import Scorer, by_case, mean_of_runs
from medtune_jax.datasets.colonoscopy import FrameFile
from medtune_jax.datasets.colonoscopy.new import listed, read_each
from medtune_jax.datasets.frames import Frame
from medtune_jax.errors import UserError
from medtune_jax.evaluation import log_odds
from medtune_jax.evaluation.froc import PER_FRAME
from medtune_jax.patches import Crops, padded
from medtune_jax.paths import csv_bytes, write_whole
from medtune_jax.pictures import png

FRAMES, OVERLAYS = "frames.csv", "overlays"
DRAWN = ("marked", "all", "none")
_PART = 16  # frames in memory at a time; as many are read ahead
_UNKNOWN = -1


class _Read(NamedTuple):
    """place: int [n] among all frames; scale: of the frame as read to `frames`; candidates of each; bad: why not."""

    place: list[int]
    frames: list[Frame]
    scale: list[float]
    candidates: list[list[Candidate]]
    bad: list[str]


def predict(
    ensemble: Ensemble,
    inputs: Sequence[Path],
    output: Path,
    seconds: float | None = None,
    false_positives: float = PER_FRAME[-1],
    overlays: str = DRAWN[0],
    explain: bool = False,
    explain_by: str = GRAD_CAM,
    explain_stage: str = "",
) -> Predicted:
    """Find candidates in the frames of videos, images and folders, and score them: predictions.csv has a row per
    candidate, frames.csv per frame; with masks metrics.csv, the sensitivity by lesion.

    Args:
      seconds: between the frames that are taken of a video file; None: all. false_positives: per frame of the study's
        test set, which sets the score from which on a candidate is marked. overlays: of which frames boxes are drawn;
        with any, a video file is written again as overlays/VIDEO.mp4, its marks drawn.
      explain: draw maps/ of the marked candidates of each frame. explain_by, explain_stage: as of `Mapper`.

    Raises:
      UserError: neither videos nor images, a study that kept no detector, or no frame that can be read.
    """
    if overlays not in DRAWN:
        raise UserError(f"overlays is '{overlays}': give {', '.join(DRAWN)}")
    data = ensemble.data
    detector, scorer = read_detector(ensemble.directory), Scorer(ensemble)
    mapper = mapper_of(ensemble, explain, explain_by, explain_stage)
    threshold = threshold_at(ensemble, read_truth(ensemble.directory), false_positives)
    files, lost = listed(inputs, seconds, folder)

    def read(part: Sequence[int]) -> _Read:
        found = read_each([files[k] for k in part])
        good = [(k, f) for k, f in zip(part, found, strict=True) if isinstance(f, Frame)]
        frames = [shrunk(frame, data.longest_side) for _, frame in good]
        scale = [
            len(f.image) / len(small.image) for (_, f), small in zip(good, frames, strict=True)
        ]
        candidates = [detector.candidates(frame.image, data.candidates) for frame in frames]
        bad = [line for line in found if isinstance(line, str)]
        return _Read([k for k, _ in good], frames, scale, candidates, bad)

    def score(part: _Read) -> Arrays:
        patches, candidate = _patches(part, ensemble)
        scores = np.zeros((len(ensemble.members), 0, 2), np.float32)
        if patches:
            scores = by_case(scorer(patches), candidate, int(candidate[-1]) + 1)
        if mapper and patches:
            _explain(part, patches, candidate, scores, threshold, mapper, output)
        _draw(part, scores, threshold, overlays, output)
        return _kept(part, scores, data.smallest_lesion)

    drawn = (explain_by, mapper.stage) if mapper else ()
    options = {"seconds": seconds, "threshold": threshold, "overlays": overlays, "maps": drawn}
    key = key_of(ensemble, options, [file.image for file in files])
    parts = in_parts(range(len(files)), _PART, read, score, output, key, "frames: parts")
    bad = [*lost, *(line for part in parts for line in part["bad"].tolist())]
    count = len(files) + len(lost)
    if not any(len(part["place"]) for part in parts):
        raise UserError(unreadable_text(bad, count))
    joined = {name: np.concatenate([p[name] for p in parts], _axis(name)) for name in parts[0]}
    said = _write(ensemble, output, files, joined, threshold)
    if overlays != "none":
        taken = [files[k] for k in joined["place"]]
        films = write_films(taken, _marked(joined, threshold), output / OVERLAYS)
        said += [f"film with marks: {film}" for film in films]
    finished(output)
    return Predicted("\n".join(said), unreadable_text(bad, count))


PREDICTION = Prediction(
    predict,
    (
        Option("seconds", None, "between the frames taken of a video; left out: all frames", float),
        Option(
            "false_positives",
            PER_FRAME[-1],
            "per frame of the study's test set: sets the score from which on a candidate is marked",
            float,
        ),
        Option(
            "overlays",
            DRAWN[0],
            "frames to draw boxes on: marked, all or none; with any, videos with their marks too",
        ),
        *OPTIONS,
    ),
)


def _axis(name: str) -> int:
    """Along which parts are joined: scores are [S, M, 2]."""
    return 1 if name == "scores" else 0


def _patches(part: _Read, ensemble: Ensemble) -> tuple[Crops | None, np.ndarray]:
    """The variants of all candidates, frame by frame, and the candidate of each int [P]; None where there is none."""
    data, size = ensemble.data, ensemble.size
    boxes = np.array([c[:4] for row in part.candidates for c in row], float).reshape(-1, 4)
    shown = spread(data.test_variants)
    candidate, variant = np.repeat(np.arange(len(boxes)), len(shown)), np.tile(shown, len(boxes))
    if not len(boxes):
        return None, candidate
    frame = np.repeat(np.arange(len(part.frames)), [len(row) for row in part.candidates])
    sources, shapes = padded([frame.image for frame in part.frames])
    affines = candidate_affines(boxes[candidate], variant, size, data.square)
    return Crops(sources, shapes, frame[candidate].astype(np.int32), affines, size), candidate


def _explain(
    part: _Read,
    patches: Crops,
    candidate: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    mapper: Mapper,
    output: Path,
) -> None:
    """maps/VIDEO-FRAME.png: the marked candidates, best first, each beside what in it speaks for a polyp."""
    mean = mean_of_runs(scores)[0][:, 1]
    first = np.searchsorted(candidate, np.arange(len(mean)))  # of each candidate's variants
    for number, frame in enumerate(part.frames):
        own = np.flatnonzero((patches.source[first] == number) & (mean >= threshold))
        if len(own):
            best = own[np.argsort(-mean[own], kind="stable")]
            sheet = mapper.sheet(patches, first[best], 1, 2)
            write_whole(output / MAPS / f"{frame.video}-{frame.name}.png", sheet)


def _kept(part: _Read, scores: np.ndarray, smallest: int) -> Arrays:
    """place, lesions int [n] (-1: not known) of frames; of candidates all the other columns."""
    numbered = [
        None if frame.mask is None else lesions(frame.mask, smallest) for frame in part.frames
    ]
    hit = [
        np.full(len(row), _UNKNOWN) if known is None else hits(row, known[0])
        for row, known in zip(part.candidates, numbered, strict=True)
    ]
    counts = [len(row) for row in part.candidates]
    table = [
        (*(np.array(c[:4]) * scale), c.score)
        for row, scale in zip(part.candidates, part.scale, strict=True)
        for c in row
    ]
    values = np.array(table, float).reshape(-1, 5)
    return {
        "place": np.array(part.place, int),
        "lesions": np.array([_UNKNOWN if known is None else known[1] for known in numbered], int),
        "frame": np.repeat(np.array(part.place, int), counts),
        "number": np.concatenate([np.zeros(0, int), *(np.arange(n) for n in counts)]),
        "box": values[:, :4],
        "hand_crafted": values[:, 4],
        "lesion": np.concatenate([np.zeros(0, int), *hit]),
        "scores": scores,
        "bad": np.array(part.bad, str),
    }


def _draw(part: _Read, scores: np.ndarray, threshold: float, which: str, output: Path) -> None:
    """overlays/VIDEO-FRAME.png: the candidates that are marked, with their probability, and the true lesion."""
    if which == "none":
        return
    mean = mean_of_runs(scores)[0][:, 1]
    first = 0
    for frame, row in zip(part.frames, part.candidates, strict=True):
        own, first = mean[first : first + len(row)], first + len(row)
        marked = [
            c._replace(score=float(log_odds.probabilities(x)))
            for c, x in zip(row, own, strict=True)
            if x >= threshold
        ]
        if marked or which == "all":
            picture = draw_detections(frame.image, marked, frame.mask)
            name = f"{frame.video}-{frame.name}.png"
            write_whole(output / OVERLAYS / name, png(picture))


def _marked(found: Arrays, threshold: float) -> dict[int, list[Candidate]]:
    """By index of `place`: the candidates that are marked, in pixels of the frame as given, with their probability."""
    mean = mean_of_runs(found["scores"])[0][:, 1]
    index = {int(k): number for number, k in enumerate(found["place"])}
    marked: dict[int, list[Candidate]] = {}
    for k in np.flatnonzero(mean >= threshold):
        row, col, height, width = found["box"][k].tolist()
        score = float(log_odds.probabilities(mean[k]))
        drawn = marked.setdefault(index[int(found["frame"][k])], [])
        drawn.append(Candidate(row, col, height, width, score))
    return marked


def _write(
    ensemble: Ensemble,
    output: Path,
    files: Sequence[FrameFile],
    found: Arrays,
    threshold: float,
) -> list[str]:
    """The tables, and what to say of them."""
    marked = mean_of_runs(found["scores"])[0][:, 1] >= threshold
    frames = [files[k] for k in found["place"]]
    titles = {int(k): files[k].title for k in found["place"]}
    names = [
        f"{titles[k]}#{n}" for k, n in zip(found["frame"].tolist(), found["number"], strict=True)
    ]
    known = found["lesions"] != _UNKNOWN
    table = score_table(ensemble, found["scores"], _columns(found, titles, names, marked, known))
    write_whole(output / PREDICTIONS, csv_bytes(table))
    _write_frames(output, frames, found, marked, known)
    said = [
        f"{len(frames):,} frames, {len(names):,} candidates, {int(marked.sum()):,} marked (probability "
        f"{log_odds.probabilities(np.array(threshold)):.4g} or more): {output / PREDICTIONS}"
    ]
    if not known.any():
        return said
    truth = _truth(files, found, names, known)
    figures = found_lesions(truth, names, found["scores"][..., 1], PER_FRAME)
    groups = len(np.unique(truth.groups))
    write_whole(output / METRICS, metrics_file(figures, len(truth.images), groups))
    lesion = f"{len(truth.lesion_image):,} lesions in {len(truth.images):,} frames with masks"
    return [*said, f"{lesion}: {output / METRICS}", *figures_text(figures)]


def _columns(
    found: Arrays,
    titles: Mapping[int, str],
    names: Sequence[str],
    marked: np.ndarray,
    known: np.ndarray,
) -> dict[str, Sequence[Any]]:
    """Of predictions.csv; boxes in pixels of the frames as given."""
    box = [[f"{value:.3f}" for value in column] for column in found["box"].T]
    columns: dict[str, Sequence[Any]] = {
        "image": names,
        "frame": [titles[k] for k in found["frame"].tolist()],
        **dict(zip(("row", "col", "height", "width"), box, strict=True)),
        "hand_crafted": [f"{score:.9g}" for score in found["hand_crafted"]],
        "marked": marked.astype(int).tolist(),
    }
    if known.any():
        columns["lesion"] = found["lesion"].tolist()
    return columns


def _write_frames(
    output: Path, frames: Sequence[FrameFile], found: Arrays, marked: np.ndarray, known: np.ndarray
) -> None:
    """frames.csv: what there is in each frame."""
    place = found["place"]
    each = [(found["frame"] == k).sum() for k in place]
    own = [marked[found["frame"] == k].sum() for k in place]
    rows = [
        (
            file.title,
            file.video,
            "" if file.seconds is None else f"{file.seconds:g}",
            candidates,
            marks,
            lesion if here else "",
        )
        for file, candidates, marks, lesion, here in zip(
            frames, each, own, found["lesions"], known, strict=True
        )
    ]
    head = ("frame", "video", "seconds", "candidates", "marked", "lesions")
    write_whole(output / FRAMES, csv_bytes([head, *rows]))


def _truth(
    files: Sequence[FrameFile], found: Arrays, names: Sequence[str], known: np.ndarray
) -> FrameTruth:
    """Of the frames whose masks are known."""
    place = found["place"][known]
    mine = np.isin(found["frame"], place)
    return FrameTruth.of(
        frames=np.array([files[k].title for k in place]),
        videos=np.array([files[k].video for k in place]),
        lesions=found["lesions"][known],
        candidates=np.array(names, str)[mine],
        frame=np.searchsorted(place, found["frame"][mine]),
        lesion=found["lesion"][mine],
        boxes=found["box"][mine],
        hand_crafted=found["hand_crafted"][mine],
    )
