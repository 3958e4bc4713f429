"""The most certain right and wrong test images of a study with their maps, kept for its report."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medtune_jax import explanation
from medtune_jax.applications.ensemble import load_all
from medtune_jax.applications.kept import study_rows
from medtune_jax.applications.mapping import Mapper, panel
from medtune_jax.applications.protocol import OF_RUNS, Dataset
from medtune_jax.applications.scoring import mean_of_runs
from medtune_jax.evaluation import log_odds
from medtune_jax.evaluation.labels import several
from medtune_jax.evaluation.scores import label_words
from medtune_jax.patches import pixels_of
from medtune_jax.paths import csv_bytes
from medtune_jax.pictures import mosaic

CASES, PICTURES, ABOUT = (OF_RUNS + kind for kind in ("csv", "jpg", "json"))
_EACH = 6  # right and wrong ones of a study
_DRAWS = 5  # of random weights: the sign of a single one is chance


@dataclass(frozen=True)
class Explained:
    """A test image that was explained. right: whether it is of that class. panel: uint8 [S,2S,3], image and overlay."""

    image: str
    label: str
    named: str
    probability: float
    right: bool
    panel: np.ndarray


def explain(dataset: Dataset, study: Path) -> dict[str, bytes]:
    """The files of a finished study for its report; {} where it has them already, or no image is sure enough.

    The networks are those that `predict --run=STUDY` would use. UserError where it kept no weights of the depth that it
    recommends.
    """
    ensemble = load_all([study])
    runs = [member.run.name for member in ensemble.members if member.run]
    before = read_about(study)
    if before and before["runs"] == runs:
        return {}
    test, classes = ensemble.results.test, ensemble.classes
    assert test is not None  # runs with weights have scores
    scores = mean_of_runs(
        np.stack([run.scores for run in ensemble.runs if run.scores is not None])
    )[0]
    chosen = most_certain(scores, test.labels)
    if not chosen:
        return {}
    place = {name: number for number, name in enumerate(dataset.names)}
    pixels = pixels_of(
        dataset.patches, np.array([place[test.names[image]] for image, _, _ in chosen], int)
    )
    of = np.array([named for _, named, _ in chosen], int)
    mapper = Mapper(ensemble)
    about = {
        "runs": runs,
        "depth": ensemble.runs[0].depth,
        "fraction": ensemble.runs[0].fraction,
        "stage": mapper.stage,
        "size": ensemble.size,
        "random": _against_random(mapper, pixels, of, ensemble.size),
    }
    table = [("image", "label", "class", "probability", "right")]
    for image, named, right in chosen:
        own, shown = test.labels[image], f"{log_odds.probabilities(scores[image])[named]:.6g}"
        label = label_words(own, classes)[0] if ensemble.findings else classes[own]
        table.append((test.names[image], label, classes[named], shown, str(int(right))))
    panels = [panel(*pair) for pair in zip(pixels, mapper(pixels, of), strict=True)]
    stream = io.BytesIO()
    mosaic(panels, 1).save(stream, "JPEG", quality=92)
    return {
        CASES: csv_bytes(table),
        PICTURES: stream.getvalue(),
        ABOUT: json.dumps(about, indent=1).encode(),
    }


def most_certain(
    scores: np.ndarray, labels: np.ndarray, each: int = _EACH
) -> list[tuple[int, int, bool]]:
    """(image, class, whether it is right): up to `each` that are right, then as many that are wrong.

    Of one class an image what counts is its most probable class, of findings each that is above one half. Classes take
    turns, the most certain first, so that no class fills the list; each image is there once.

    scores: log-odds [N,C]. labels: int [N], or [N,C] of findings, where unknown ones are neither right nor wrong.
    """
    if several(labels):
        image, named = np.nonzero(scores > 0)
        truth = labels[image, named]
    else:
        image, named = np.arange(len(scores)), scores.argmax(axis=1)
        truth = (labels == named).astype(int)
    found = []
    for right in (1, 0):
        pool = np.flatnonzero(truth == right)
        pool = pool[np.argsort(-scores[image[pool], named[pool]], kind="stable")]
        _, first = np.unique(image[pool], return_index=True)
        pool = pool[np.sort(first)]  # an image's most certain finding
        turn = np.array([np.sum(named[pool[:k]] == named[p]) for k, p in enumerate(pool)], int)
        pool = pool[np.argsort(turn, kind="stable")][:each]
        found += [(int(image[p]), int(named[p]), bool(right)) for p in pool]
    return found


def read_about(study: Path) -> dict[str, Any] | None:
    """runs, depth, fraction, stage, size, and `random`: rank correlations with maps of random weights; None where
    a study has no explanations, or not all of their files: a damaged one, whose network is gone, is not made anew."""
    folder = study / "application"
    if not all((folder / name).is_file() for name in (CASES, PICTURES, ABOUT)):
        return None
    found: dict[str, Any] = json.loads((folder / ABOUT).read_bytes())
    return found


def read_explained(study: Path) -> list[Explained]:
    """What `explain` wrote, in its order. UserError where a file is missing."""
    about = read_about(study)
    if about is None:
        return []
    rows, size = study_rows(study, CASES), about["size"]
    sheet = np.asarray(Image.open(study / "application" / PICTURES).convert("RGB"))
    return [
        Explained(
            row["image"],
            row["label"],
            row["class"],
            float(row["probability"]),
            row["right"] == "1",
            sheet[number * size : (number + 1) * size],
        )
        for number, row in enumerate(rows)
    ]


def _against_random(
    mapper: Mapper, pixels: np.ndarray, of: np.ndarray, size: int
) -> dict[str, list[float]]:
    """Rank correlation of the first network's signed maps with those of its head, and all of it, drawn anew: the mean
    over images, of each of several draws.
    """
    network, params = mapper.network, mapper.params[0]
    trained = mapper.signed(params, pixels, of)

    def correlation(down_to: str, seed: int) -> float:
        drawn = explanation.with_random(network, params, down_to, size, seed)
        found = explanation.rank_correlation(trained, mapper.signed(drawn, pixels, of))
        return round(float(found.mean()), 4)

    stages = {"head": network.head, "all": network.names[0]}
    return {name: [correlation(s, seed) for seed in range(_DRAWS)] for name, s in stages.items()}
