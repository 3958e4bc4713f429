"""From a folder of CT angiograms to labelled patches, and from a network's scores to FROC figures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from medtune_jax.applications.embolism.baseline import MultiInstanceForest
from medtune_jax.applications.embolism.candidates import CandidateConfig
from medtune_jax.applications.embolism.cohort import Cohort, phantoms_on_disk, read_cohort
from medtune_jax.applications.embolism.montage import montages
from medtune_jax.applications.embolism.patients import Patient, Settings
from medtune_jax.applications.embolism.truth import Truth, candidate_name, truth_of
from medtune_jax.applications.embolism.vessel import PLANES, PatchGrid, VesselConfig, plane_affines
from medtune_jax.applications.protocol import Dataset
from medtune_jax.applications.splits import test_split
from medtune_jax.errors import UserError
from medtune_jax.evaluation import froc
from medtune_jax.evaluation.froc import PER_VOLUME
from medtune_jax.patches import Planes, padded

CLASSES = ("false", "embolus")
REDUCTIONS = ("emboli", "patients")


def load(config: ConfigDict, size: int) -> Dataset:
    """Candidates of `config.data.dir`, or of generated phantoms when that is empty, as patches.

    Every candidate gives one image a width, shift and rotation (docs/paper.md, 2); patients never cross the split.
    Raises UserError for settings that make no sense and for data that cannot be used.
    """
    data = config.data
    grid = _grid(data, size)
    window = (float(data.window[0]), float(data.window[1]))
    settings = Settings(
        CandidateConfig(**data.candidates), VesselConfig(**data.vessel), _reach(grid)
    )
    directory = Path(data.dir) if data.dir else phantoms_on_disk(data.phantoms)
    cohort = read_cohort(directory, settings, data.max_left_out)
    held = held_out(cohort.patients, data.test_fraction, data.split_seed)
    training = {name: p for name, p in cohort.patients.items() if name not in held}
    test = {name: p for name, p in cohort.patients.items() if name in held}
    truth = truth_of(test)
    table = _table(cohort.patients, data.reduce)
    return Dataset(
        patches=planes(cohort.patients, data.representation, grid, window),
        labels=np.repeat(table["label"].astype(np.int32), grid.variants),
        classes=CLASSES,
        groups=np.repeat(table["patient"], grid.variants),
        names=np.repeat(table["name"], grid.variants),
        test=np.repeat(np.isin(table["patient"], list(held)), grid.variants),
        units=np.repeat(table["unit"], grid.variants),
        extra={"truth": truth},
        files={
            "truth.json": truth.to_json(),
            "cohort.json": _summary(cohort, held),
            "baseline.csv": _csv(truth.candidates, baseline_scores(training, test)),
            **montages(cohort.patients, window),
        },
    )


def evaluate(dataset: Dataset, scores: np.ndarray) -> dict[str, Any]:
    """Sensitivity at 1..5 false positives per volume. An embolus that no candidate hits is a miss (see `froc`)."""
    truth: Truth = dataset.extra["truth"]
    found = sensitivities(truth, truth.in_order(dataset.test_set[0].names, scores[:, 1]))
    return {f"sensitivity_at_{rate:g}": s for rate, s in zip(PER_VOLUME, found, strict=True)}


def sensitivities(truth: Truth, scores: np.ndarray) -> list[float]:
    """Sensitivity at 1, 2, ... 5 false positives a volume."""
    return froc.sensitivities([truth.detections(scores)], PER_VOLUME).tolist()


def held_out(patients: Mapping[str, Patient], fraction: float, seed: int) -> set[str]:
    """The test patients: about `fraction`, those without emboli in proportion where they are many enough.

    Raises UserError when emboli are lacking on either side.
    """
    names = np.array(list(patients))
    ill = np.array([len(p.labels) > 0 for p in patients.values()])
    if ill.sum() < 2:
        raise UserError(
            f"{ill.sum()} of {len(ill)} patients have emboli: training and test need one each at least"
        )
    rare = min(ill.sum(), (~ill).sum()) < round(1 / max(fraction, 1e-9))
    test = test_split(np.zeros(len(ill), int) if rare else ill.astype(int), names, fraction, seed)
    for side, name in ((test, "test"), (~test, "training")):
        if not any(patients[n].hits.any() for n in names[side]):
            raise UserError(
                f"no candidate of the {name} patients hits an embolus: choose another data.split_seed or add patients"
            )
    return set(names[test].tolist())


def planes(
    patients: Mapping[str, Patient],
    representation: str,
    grid: PatchGrid,
    window: tuple[float, float],
) -> Planes:
    """The images of all candidates: patients, then candidates, then variants."""
    affines = [
        plane_affines(p.frame(k, representation), tuple(p.spacing), PLANES[representation], grid)
        for p in patients.values()
        for k in range(len(p))
    ]
    cut = [
        block[tuple(slice(n) for n in shape)]
        for p in patients.values()
        for block, shape in zip(p.blocks, p.shapes, strict=True)
    ]
    blocks, shapes = padded(cut)
    source = np.repeat(np.arange(len(cut), dtype=np.int32), grid.variants)
    return Planes(blocks, shapes, source, np.concatenate(affines), grid.size, window)


def baseline_scores(training: Mapping[str, Patient], test: Mapping[str, Patient]) -> np.ndarray:
    """Scores of the test candidates by hand-crafted features and a multi-instance forest."""
    bags, emboli = [], 0
    for patient in training.values():
        first = patient.first_hit
        bags.append(np.where(first >= 0, emboli + first, -1))
        emboli += len(patient.labels)
    features = np.concatenate([p.features for p in training.values()])
    forest = MultiInstanceForest().fit(features, np.concatenate(bags))
    return forest.predict(np.concatenate([p.features for p in test.values()]))


def _table(patients: Mapping[str, Patient], reduce: str) -> dict[str, np.ndarray]:
    """name, patient, label and unit of every candidate [n].

    Reducing by emboli drops an embolus with all candidates that hit it, and false candidates one by one.
    """
    rows = []
    for name, patient in patients.items():
        for k, embolus in enumerate(patient.first_hit):
            candidate = candidate_name(name, k)
            own = f"{name}/embolus{embolus}" if embolus >= 0 else candidate
            rows.append((candidate, name, embolus >= 0, own if reduce == "emboli" else name))
    columns = zip(*rows, strict=True)
    return dict(zip(("name", "patient", "label", "unit"), map(np.array, columns), strict=True))


def _grid(data: ConfigDict, size: int) -> PatchGrid:
    """The variants of a candidate; UserError for settings that make no sense."""
    for field, known in (("representation", tuple(PLANES)), ("reduce", REDUCTIONS)):
        if data[field] not in known:
            raise UserError(f"data.{field} is '{data[field]}': use {' or '.join(known)}")
    if data.rotations < 0:
        raise UserError(f"data.rotations is {data.rotations}: give 0 or more")
    if not data.window[0] < data.window[1]:
        raise UserError(f"data.window is {tuple(data.window)}: give (black, white) in HU")
    widths = _numbers(data.widths_mm, "data.widths_mm", lambda width: 0 < width <= 200)
    shifts = _numbers(data.shifts, "data.shifts", lambda shift: abs(shift) <= 1)
    return PatchGrid(widths, shifts, data.rotations, size)


def _reach(grid: PatchGrid) -> float:
    """The farthest that a pixel lies from its candidate, in mm."""
    shift = max(abs(s) for s in grid.shifts)
    return max(grid.widths_mm) * max(np.hypot(0.5 + shift, 0.5), np.hypot(shift, np.sqrt(0.5)))


def _summary(cohort: Cohort, held: set[str]) -> bytes:
    """What the report says of the data: a row a patient."""
    rows = [
        {
            "patient": name,
            "test": name in held,
            "emboli": len(p.labels),
            "hit": int(p.hits.any(0).sum()),
            "candidates": len(p),
            "true": int(p.true.sum()),
            "no_vessel": int((~p.found).sum()),
        }
        for name, p in cohort.patients.items()
    ]
    content = {"patients": rows, "left_out": cohort.left_out}
    return (json.dumps(content, indent=1) + "\n").encode()


def _csv(names: tuple[str, ...], scores: np.ndarray) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("candidate", "score"))
    writer.writerows((name, f"{score:.7g}") for name, score in zip(names, scores, strict=True))
    return stream.getvalue().encode()


def _numbers(text: str, field: str, fits: Callable[[float], bool]) -> tuple[float, ...]:
    """'10, 15' -> (10.0, 15.0); UserError unless every number fits."""
    try:
        values = tuple(float(part) for part in str(text).split(",") if part.strip())
    except ValueError:
        values = ()
    if not values or not all(map(fits, values)):
        raise UserError(f"{field} is '{text}': give numbers separated by commas, in range")
    return values
