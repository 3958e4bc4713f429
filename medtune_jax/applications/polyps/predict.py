"""A trained network on new frames and videos: candidates with boxes and scores, those that are marked, overlays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medtune_jax.applications.ensemble import Ensemble
from medtune_jax.applications.kinds import Kinds, colours_of, differences, read_kinds
from medtune_jax.applications.mapping import MAPS, OPTIONS, Mapper, drawn_by, mapper_of
from medtune_jax.applications.marks import (
    mean_score,
    option,
    threshold_at,
    write_found,
    write_marked,
)
from medtune_jax.applications.parts import Arrays, Steps, joined, predicted
from medtune_jax.applications.polyps.candidates import hits, read_detector
from medtune_jax.applications.polyps.cases import folder, lesions, shrunk
from medtune_jax.applications.polyps.detector import Candidate
from medtune_jax.applications.polyps.film import write_films
from medtune_jax.applications.polyps.patches import candidate_affines, spread
from medtune_jax.applications.polyps.show import draw_detections
from medtune_jax.applications.polyps.truth import FrameTruth, read_truth
from medtune_jax.applications.protocol import Option, Predicted, Prediction
from medtune_jax.applications.scoring import Scorer, by_case
from medtune_jax.datasets.colonoscopy import FrameFile, on_ground
from medtune_jax.datasets.colonoscopy.new import check_interval, listed, read_each
from medtune_jax.datasets.frames import Frame
from medtune_jax.errors import UserError
from medtune_jax.evaluation import log_odds
from medtune_jax.evaluation.froc import PER_FRAME
from medtune_jax.patches import Crops, padded
from medtune_jax.paths import csv_bytes, write_whole
from medtune_jax.pictures import png
from medtune_jax.words import count

FRAMES, OVERLAYS = "frames.csv", "overlays"
DRAWN = ("marked", "all", "none")
_PART = 16  # frames in memory at a time; as many are read ahead
_UNKNOWN = -1


class _Seen(NamedTuple):
    """A frame, as large as candidates are looked for in; scale: from it to the frame as given."""

    frame: Frame
    scale: float
    candidates: list[Candidate]


def predict(
    ensemble: Ensemble,
    inputs: Sequence[Path],
    output: Path,
    seconds: float | None = None,
    false_positives: float = PER_FRAME[-1],
    overlays: str = DRAWN[0],
    mask_background: str = "",
    **explain: Any,
) -> Predicted:
    """Find candidates in the frames of videos, images and folders, and score them: predictions.csv has a row per
    candidate, frames.csv per frame; with masks metrics.csv, the sensitivity by lesion.

    Args:
      seconds: between the frames that are taken of a video file; None: all. false_positives: per frame of the study's
        test set, which sets the score from which on a candidate is marked. overlays: of which frames boxes are drawn;
        with any, a video file is written again as overlays/VIDEO.mp4, its marks drawn. mask_background: as of the
        study's data, whose own it is where empty.
      explain: as of `mapper_of`; maps/ of the marked candidates of each frame.

    Raises:
      UserError: neither videos nor images, a study that kept no detector, or no frame that can be read.
    """
    data = ensemble.data
    detector, scorer = read_detector(ensemble.directory), Scorer(ensemble)
    mapper = mapper_of(ensemble, **explain)
    threshold = threshold_at(ensemble, read_truth(ensemble.directory), false_positives)
    found, lost = listed(inputs, seconds, folder)
    files = on_ground(found, mask_background or data.get("mask_background", ""))
    kinds = read_kinds(ensemble.study)

    def read(part: Sequence[FrameFile]) -> list[_Seen | str]:
        return [f if isinstance(f, str) else look(f) for f in read_each(part)]

    def look(frame: Frame) -> _Seen:
        small = shrunk(frame, data.longest_side)
        found = detector.candidates(small.image, data.candidates)
        return _Seen(small, len(frame.image) / len(small.image), found)

    def work(place: np.ndarray, seen: Sequence[_Seen]) -> Arrays:
        patches, candidate = _patches(seen, ensemble)
        scores = np.zeros((len(ensemble.members), 0, 2), np.float32)
        if patches:
            scores = by_case(scorer(patches), candidate, int(candidate[-1]) + 1)
        if mapper and patches:
            _explain(seen, patches, candidate, scores, threshold, mapper, output)
        _draw(seen, scores, threshold, overlays, output)
        colour = np.array(colours_of([one.frame.image for one in seen]))
        return {**_kept(place, seen, data.smallest_lesion), "scores": scores, "colour": colour}

    def write(place: np.ndarray, parts: Sequence[Arrays]) -> list[str]:
        taken, found = [files[k] for k in place], joined(parts)
        found["frame"] = np.searchsorted(place, found["frame"])  # among those that could be read
        said = _write(ensemble, output, taken, found, threshold)
        said += differences(kinds, Kinds.of([], found["colour"].tolist()), "frames")
        if overlays == "none":
            return said
        films = write_films(taken, _marked(found, threshold), output / OVERLAYS)
        return [*said, *(f"film with marks: {film}" for film in films)]

    steps = Steps(read, work, write, _PART, "frames: parts")
    options = {
        "seconds": seconds,
        "threshold": threshold,
        "overlays": overlays,
        "maps": drawn_by(mapper),
        "kinds": str(kinds),
    }
    paths = [path for f in files for path in (f.image, f.mask) if path]
    return predicted(ensemble, steps, files, paths, output, options, lost)


def _check(
    ensemble: Ensemble,
    seconds: float | None = None,
    false_positives: float = PER_FRAME[-1],
    overlays: str = DRAWN[0],
    **explain: Any,
) -> None:
    check_interval(seconds)
    mapper_of(ensemble, **explain)
    if overlays not in DRAWN:
        raise UserError(f"overlays is '{overlays}': give {', '.join(DRAWN)}")
    read_detector(ensemble.directory)
    threshold_at(ensemble, read_truth(ensemble.directory), false_positives)


PREDICTION = Prediction(
    predict,
    (
        Option("seconds", None, "between the frames taken of a video; left out: all frames", float),
        option(PER_FRAME[-1], "frame"),
        Option(
            "overlays",
            DRAWN[0],
            "frames to draw boxes on: marked, all or none; with any, videos with their marks too",
        ),
        Option("mask_background", "", "of masks: black or white; left out: the study's"),
        *OPTIONS,
    ),
    "a colonoscopy frame or video",
    "The frame with the boxes that are marked and their probabilities; in maps/ each, and beside it, in warm colours, "
    "what speaks for a polyp.",
    _check,
)


def _patches(seen: Sequence[_Seen], ensemble: Ensemble) -> tuple[Crops | None, np.ndarray]:
    """The variants of all candidates, frame by frame, and the candidate of each int [P]; None where there is none."""
    data, size = ensemble.data, ensemble.size
    boxes = np.array([c[:4] for one in seen for c in one.candidates], float).reshape(-1, 4)
    shown = spread(data.test_variants)
    candidate, variant = np.repeat(np.arange(len(boxes)), len(shown)), np.tile(shown, len(boxes))
    if not len(boxes):
        return None, candidate
    frame = np.repeat(np.arange(len(seen)), [len(one.candidates) for one in seen])
    sources, shapes = padded([one.frame.image for one in seen])
    affines = candidate_affines(boxes[candidate], variant, size, data.square)
    return Crops(sources, shapes, frame[candidate].astype(np.int32), affines, size), candidate


def _explain(
    seen: Sequence[_Seen],
    patches: Crops,
    candidate: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    mapper: Mapper,
    output: Path,
) -> None:
    """maps/VIDEO-FRAME.png: the marked candidates, best first, each beside what in it speaks for a polyp."""
    mean = mean_score(scores)
    first = np.searchsorted(candidate, np.arange(len(mean)))  # of each candidate's variants
    for number, (frame, *_) in enumerate(seen):
        own = np.flatnonzero((patches.source[first] == number) & (mean >= threshold))
        if len(own):
            best = own[np.argsort(-mean[own], kind="stable")]
            sheet = mapper.sheet(patches, first[best], 1, 2)
            write_whole(output / MAPS / f"{frame.video}-{frame.name}.png", sheet)


def _kept(place: np.ndarray, seen: Sequence[_Seen], smallest: int) -> Arrays:
    """lesions int [n] (-1: not known) of frames; of candidates all the other columns, `frame` of `place`."""
    numbered = [
        None if one.frame.mask is None else lesions(one.frame.mask, smallest) for one in seen
    ]
    hit = [
        np.full(len(one.candidates), _UNKNOWN) if known is None else hits(one.candidates, known[0])
        for one, known in zip(seen, numbered, strict=True)
    ]
    table = [(*(np.array(c[:4]) * one.scale), c.score) for one in seen for c in one.candidates]
    values = np.array(table, float).reshape(-1, 5)
    counts = [len(one.candidates) for one in seen]
    return {
        "lesions": np.array([_UNKNOWN if known is None else known[1] for known in numbered], int),
        "frame": np.repeat(place, counts),
        "number": np.concatenate([np.arange(n) for n in counts]),
        "box": values[:, :4],
        "hand_crafted": values[:, 4],
        "lesion": np.concatenate(hit),
    }


def _draw(
    seen: Sequence[_Seen], scores: np.ndarray, threshold: float, which: str, output: Path
) -> None:
    """overlays/VIDEO-FRAME.png: the candidates that are marked, with their probability, and the true lesion."""
    if which == "none":
        return
    ends = np.cumsum([len(one.candidates) for one in seen])
    for one, own in zip(seen, np.split(mean_score(scores), ends[:-1]), strict=True):
        marked = [
            c._replace(score=float(log_odds.probabilities(x)))
            for c, x in zip(one.candidates, own, strict=True)
            if x >= threshold
        ]
        if marked or which == "all":
            picture = draw_detections(one.frame.image, marked, one.frame.mask)
            name = f"{one.frame.video}-{one.frame.name}.png"
            write_whole(output / OVERLAYS / name, png(picture))


def _marked(found: Arrays, threshold: float) -> dict[int, list[Candidate]]:
    """By frame: the candidates that are marked, in pixels of the frame as given, with their probability."""
    mean = mean_score(found["scores"])
    marked: dict[int, list[Candidate]] = {}
    for k in np.flatnonzero(mean >= threshold):
        row, col, height, width = found["box"][k].tolist()
        score = float(log_odds.probabilities(mean[k]))
        of_frame = marked.setdefault(int(found["frame"][k]), [])
        of_frame.append(Candidate(row, col, height, width, score))
    return marked


def _write(
    ensemble: Ensemble,
    output: Path,
    files: Sequence[FrameFile],
    found: Arrays,
    threshold: float,
) -> list[str]:
    """The tables, and what to say of them. files: that could be read."""
    scores, frame = found["scores"], found["frame"]
    titles = np.array([file.title for file in files])
    names = [f"{titles[k]}#{n}" for k, n in zip(frame, found["number"], strict=True)]
    known = found["lesions"] != _UNKNOWN
    box = [[f"{value:.3f}" for value in column] for column in found["box"].T]
    columns: dict[str, Sequence[Any]] = {
        "image": names,
        "frame": titles[frame].tolist(),
        **dict(zip(("row", "col", "height", "width"), box, strict=True)),
        "hand_crafted": [f"{score:.9g}" for score in found["hand_crafted"]],
    }
    if known.any():
        columns["lesion"] = found["lesion"].tolist()
    frames = count(len(files), "frames")
    said = write_marked(ensemble, output, columns, scores, threshold, frames)
    _write_frames(output, files, found, threshold)
    if not known.any():
        return [said]
    truth, nouns = _truth(files, found, names), ("lesions", "frames")
    return [said, *write_found(output, truth, names, scores, PER_FRAME, nouns, " with masks")]


def _write_frames(
    output: Path, files: Sequence[FrameFile], found: Arrays, threshold: float
) -> None:
    """frames.csv: what there is in each frame."""
    frame, marked = found["frame"], mean_score(found["scores"]) >= threshold
    rows = [
        (
            file.title,
            file.video,
            "" if file.seconds is None else f"{file.seconds:g}",
            (frame == k).sum(),
            marked[frame == k].sum(),
            "" if lesion == _UNKNOWN else lesion,
        )
        for k, (file, lesion) in enumerate(zip(files, found["lesions"], strict=True))
    ]
    head = ("frame", "video", "seconds", "candidates", "marked", "lesions")
    write_whole(output / FRAMES, csv_bytes([head, *rows]))


def _truth(files: Sequence[FrameFile], found: Arrays, names: Sequence[str]) -> FrameTruth:
    """Of the frames whose masks are known."""
    known = np.flatnonzero(found["lesions"] != _UNKNOWN)
    mine = np.isin(found["frame"], known)
    return FrameTruth.of(
        frames=np.array([files[k].title for k in known.tolist()]),
        videos=np.array([files[k].video for k in known.tolist()]),
        lesions=found["lesions"][known],
        candidates=np.array(names, str)[mine],
        frame=np.searchsorted(known, found["frame"][mine]),
        lesion=found["lesion"][mine],
        boxes=found["box"][mine],
        hand_crafted=found["hand_crafted"][mine],
    )
