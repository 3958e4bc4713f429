"""A trained network on new CT angiograms: candidates with their place in the body and score, and a montage."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medtune_jax.applications.embolism.cases import Patient, Settings, examine
from medtune_jax.applications.embolism.patches import patch_grid, planes
from medtune_jax.applications.embolism.show import vessel_planes
from medtune_jax.applications.embolism.truth import candidate_name, read_truth
from medtune_jax.applications.ensemble import Ensemble
from medtune_jax.applications.mapping import OPTIONS, drawn_by, mapper_of
from medtune_jax.applications.marks import (
    mean_score,
    option,
    threshold_at,
    write_found,
    write_marked,
)
from medtune_jax.applications.parts import Arrays, Steps, each, predicted
from medtune_jax.applications.protocol import Predicted, Prediction
from medtune_jax.applications.scoring import Scorer, by_case
from medtune_jax.applications.truth import Truth
from medtune_jax.datasets.ct.cases import Case, find_cases, holds_cases, load_case
from medtune_jax.datasets.ct.files import FORMATS
from medtune_jax.errors import UserError
from medtune_jax.evaluation.froc import PER_VOLUME
from medtune_jax.folders import entries, files_below
from medtune_jax.images import is_dicom
from medtune_jax.paths import csv_bytes, write_whole
from medtune_jax.pictures import mosaic, png
from medtune_jax.words import count

VOLUMES = "volumes.csv"
_SHOWN, _GAP = 12, 3


class _Read(NamedTuple):
    """place: mm [n, 3] (x, y, z) of the candidates. notes: what there is to say of the files."""

    patient: Patient
    place: np.ndarray
    notes: Sequence[str]


def predict(
    ensemble: Ensemble,
    inputs: Sequence[Path],
    output: Path,
    false_positives: float = PER_VOLUME[1],
    **explain: Any,
) -> Predicted:
    """Find candidates in CT volumes and score them: predictions.csv has a row per candidate, volumes.csv per volume,
    PATIENT.png shows the best; with masks metrics.csv, the sensitivity by embolus.

    Args:
      inputs: DICOM series (a folder each), NIfTI or NRRD files, or a folder of patients as studies read it.
      false_positives: per volume of the study's test set, which sets the score from which on a candidate is marked.
      explain: as of `mapper_of`; PATIENT.maps.png of the best candidates.

    Raises:
      UserError: inputs that are no volumes, two patients of one name, or no volume that can be read.
    """
    data = ensemble.data
    grid = patch_grid(data, ensemble.size)
    settings, scorer = Settings.of(data, grid.reach_mm), Scorer(ensemble)
    window = (float(data.window[0]), float(data.window[1]))
    mapper = mapper_of(ensemble, **explain)
    threshold = threshold_at(ensemble, read_truth(ensemble.directory), false_positives)
    cases, masked = _listed(inputs)

    def work(place: np.ndarray, read: Sequence[_Read]) -> Arrays:
        name, patient = cases[place[0]].patient, read[0].patient
        scores = np.zeros((len(ensemble.members), 0, 2), np.float32)
        if len(patient):
            patches = planes({"": patient}, data.representation, grid, window)
            candidate = np.repeat(np.arange(len(patient)), grid.variants)
            scores = by_case(scorer(patches), candidate, len(patient))
            best = np.argsort(-mean_score(scores), kind="stable")[:_SHOWN]
            write_whole(output / f"{name}.png", _montage(patient, best, window))
            if mapper:
                sheet = mapper.sheet(patches, best * grid.variants, 1, 3)
                write_whole(output / f"{name}.maps.png", sheet)
        return {
            "positions": patient.positions,
            "mm": read[0].place,
            "hits": patient.hits,
            "scores": scores,
            "notes": np.array(read[0].notes, str),
        }

    def write(place: np.ndarray, parts: Sequence[Arrays]) -> list[str]:
        patients = [cases[k].patient for k in place]
        said = _write(ensemble, output, patients, parts, masked, threshold)
        return [*said, *(f"note: {note}" for part in parts for note in part["notes"])]

    read = each(partial(_examined, settings=settings), lambda case: f"Patient {case.patient}")
    steps = Steps(read, work, write, 1, "volumes")
    options = {"threshold": threshold, "maps": drawn_by(mapper)}
    return predicted(ensemble, steps, cases, _files(cases), output, options)


def _check(ensemble: Ensemble, false_positives: float = PER_VOLUME[1], **explain: Any) -> None:
    mapper_of(ensemble, **explain)
    threshold_at(ensemble, read_truth(ensemble.directory), false_positives)


PREDICTION = Prediction(
    predict,
    (option(PER_VOLUME[1], "volume"), *OPTIONS),
    "a CT angiogram (NIfTI, NRRD, or all the slices of a DICOM series)",
    "The best candidates from left to right, the vessel's cross-section above its longitudinal plane; in .maps.png "
    "each, and beside it, in warm colours, what speaks for an embolus.",
    _check,
)


def _listed(inputs: Sequence[Path]) -> tuple[list[Case], bool]:
    """The volumes, and whether their emboli are known: a folder of patients has a mask then."""
    cases: list[Case] = []
    for path in inputs:
        if path.is_dir():
            cases += find_cases(path) if holds_cases(path) else _in_folder(path)
        elif path.name.endswith(FORMATS):
            cases.append(Case(path.name.split(".")[0], path, None))
        else:
            raise UserError(
                f"{path} is no CT volume, which this study was trained on: give {', '.join(FORMATS)}, a folder of one "
                "DICOM series, or a folder of patients"
            )
    names = [case.patient for case in cases]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"two volumes are called {twice}: predict on them one after the other")
    return cases, any(case.emboli is not None for case in cases)


def _in_folder(folder: Path) -> list[Case]:
    """Volumes directly in a folder, else the folder as a DICOM series."""
    inside = [path for path in entries(folder) if path.name.endswith(FORMATS)]
    if inside:
        return [Case(path.name.split(".")[0], path, None) for path in inside]
    if not any(map(is_dicom, files_below(folder))):
        raise UserError(f"{folder} holds no CT volume: give volumes, or folders of them")
    return [Case(folder.name, folder, None)]


def _files(cases: Sequence[Case]) -> list[Path]:
    """All that a prediction reads."""
    found: list[Path] = []
    for case in cases:
        found += files_below(case.volume) if case.volume.is_dir() else [case.volume]
        found += [case.emboli] if case.emboli and case.emboli.is_file() else []
    return found


def _examined(case: Case, settings: Settings) -> _Read:
    volume, mask = load_case(case)
    patient = examine(volume, mask, settings)
    place = np.array(volume.origin) + patient.positions * volume.spacing
    return _Read(patient, place[:, ::-1], volume.notes)


def _montage(patient: Patient, best: np.ndarray, window: tuple[float, float]) -> bytes:
    """The best candidates from left to right: the vessel's cross-section above its longitudinal plane, 15 mm wide."""
    pairs = [vessel_planes(patient, k, window) for k in best]
    return png(
        mosaic([tile for plane in zip(*pairs, strict=True) for tile in plane], len(best), _GAP)
    )


def _write(
    ensemble: Ensemble,
    output: Path,
    patients: Sequence[str],
    parts: Sequence[Arrays],
    masked: bool,
    threshold: float,
) -> list[str]:
    """The tables, and what to say of them."""
    counts = [len(part["mm"]) for part in parts]
    names = [
        candidate_name(patient, k)
        for patient, count in zip(patients, counts, strict=True)
        for k in range(count)
    ]
    scores = np.concatenate([part["scores"] for part in parts], axis=1)
    mm, voxel = (np.concatenate([part[name] for part in parts]).T for name in ("mm", "positions"))
    columns = {
        "image": names,
        "patient": np.repeat(patients, counts).tolist(),
        **{f"{axis}_mm": [f"{v:.2f}" for v in row] for axis, row in zip("xyz", mm, strict=True)},
        "slice": voxel[0].astype(int).tolist(),
    }
    if masked:
        hits = np.concatenate([part["hits"].any(axis=1) for part in parts])
        columns["hits"] = hits.astype(int).tolist()
    volumes = count(len(parts), "volumes")
    said = write_marked(ensemble, output, columns, scores, threshold, volumes)
    own = np.split(mean_score(scores) >= threshold, np.cumsum(counts)[:-1])
    rows = [
        (patient, count, int(marks.sum()), part["hits"].shape[1] if masked else "")
        for patient, count, marks, part in zip(patients, counts, own, parts, strict=True)
    ]
    head = ("patient", "candidates", "marked", "emboli")
    write_whole(output / VOLUMES, csv_bytes([head, *rows]))
    if not masked:
        return [said]
    truth = _truth(patients, parts, names)
    return [said, *write_found(output, truth, names, scores, PER_VOLUME, ("emboli", "volumes"))]


def _truth(patients: Sequence[str], parts: Sequence[Arrays], names: Sequence[str]) -> Truth:
    """Of the new volumes; no hand-crafted judge."""
    sizes = [part["hits"].shape for part in parts]
    first = np.cumsum([(0, 0), *sizes], 0)
    hits = [start + np.argwhere(p["hits"]) for start, p in zip(first, parts, strict=False)]
    candidates, emboli = zip(*sizes, strict=True)
    return Truth(
        images=np.array(patients),
        groups=np.array(patients),
        lesion_image=np.repeat(np.arange(len(parts)), emboli),
        candidates=np.array(names, str),
        candidate_image=np.repeat(np.arange(len(parts)), candidates),
        hits=np.concatenate([np.empty((0, 2), int), *hits]),
        hand_crafted=np.zeros(len(names)),
    )
