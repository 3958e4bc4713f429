"""Which candidate hits which embolus of the test volumes: all that FROC analysis needs, kept with the study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medtune_jax.applications.embolism.cases import Patient
from medtune_jax.applications.kept import study_file, study_rows
from medtune_jax.applications.truth import Truth
from medtune_jax.paths import csv_bytes

TRUTH, BASELINE = "truth.json", "baseline.csv"
# Field of the JSON file -> field of `Truth`; a volume is a patient, so images are groups.
_FIELDS = {
    "volumes": "images",
    "embolus_volume": "lesion_image",
    "candidates": "candidates",
    "candidate_volume": "candidate_image",
    "hits": "hits",
}


def truth_of(patients: Mapping[str, Patient], hand_crafted: np.ndarray) -> Truth:
    """The truth of some volumes; hand_crafted: [M], the baseline's scores of their candidates."""
    names, volumes = np.array(list(patients), str), list(patients.values())
    candidates, emboli = [len(p) for p in volumes], [len(p.labels) for p in volumes]
    first = np.cumsum([(0, 0), *zip(candidates, emboli, strict=True)], 0)
    hits = [start + np.argwhere(p.hits) for start, p in zip(first, volumes, strict=False)]
    named = [candidate_name(name, k) for name, p in patients.items() for k in range(len(p))]
    return Truth(
        images=names,
        groups=names,
        lesion_image=np.repeat(np.arange(len(volumes)), emboli),
        candidates=np.array(named, str),
        candidate_image=np.repeat(np.arange(len(volumes)), candidates),
        hits=np.concatenate([np.empty((0, 2), int), *hits]),
        hand_crafted=hand_crafted,
    )


def candidate_name(patient: str, number: int) -> str:
    return f"{patient}/c{number:03d}"


def truth_files(truth: Truth) -> dict[str, bytes]:
    """truth.json, and the baseline's scores."""
    plain = {name: getattr(truth, field).tolist() for name, field in _FIELDS.items()}
    scores = zip(truth.candidates, (f"{score:.7g}" for score in truth.hand_crafted), strict=True)
    return {
        TRUTH: (json.dumps(plain, indent=1) + "\n").encode(),
        BASELINE: csv_bytes([("candidate", "score"), *scores]),
    }


def read_truth(study: Path) -> Truth:
    """What `truth_files` wrote into a study's directory; UserError where a file is missing."""
    plain = json.loads(study_file(study, TRUTH).read_bytes())
    score = {row["candidate"]: float(row["score"]) for row in study_rows(study, BASELINE)}
    images = np.array(plain["volumes"], str)
    return Truth(
        images=images,
        groups=images,
        lesion_image=np.array(plain["embolus_volume"], int),
        candidates=np.array(plain["candidates"], str),
        candidate_image=np.array(plain["candidate_volume"], int),
        hits=np.array(plain["hits"], int).reshape(-1, 2),
        hand_crafted=np.array([score[name] for name in plain["candidates"]]),
    )
