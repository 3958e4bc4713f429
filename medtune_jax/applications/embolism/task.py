"""From a folder of CT angiograms to labelled patches, and from a network's scores to FROC figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from medtune_jax.applications.embolism.baseline import baseline_scores
from medtune_jax.applications.embolism.cases import (
    Cohort,
    Patient,
    Settings,
    phantoms_on_disk,
    read_cohort,
)
from medtune_jax.applications.embolism.config import DEFAULTS
from medtune_jax.applications.embolism.patches import patch_grid, planes
from medtune_jax.applications.embolism.predict import PREDICTION
from medtune_jax.applications.embolism.show import montages, show
from medtune_jax.applications.embolism.truth import candidate_name, truth_files, truth_of
from medtune_jax.applications.protocol import Application, Dataset, merit_of, points_of, sections_of
from medtune_jax.applications.splits import test_split
from medtune_jax.applications.truth import Truth
from medtune_jax.datasets.frames import groups_of, united
from medtune_jax.errors import UserError
from medtune_jax.evaluation.froc import PER_VOLUME
from medtune_jax.words import Words

CLASSES = ("false", "embolus")


def load(config: ConfigDict, size: int) -> Dataset:
    """Candidates of `config.data.dir`, or of generated phantoms when that is empty, as patches.

    Every candidate gives one image per width, shift and rotation (docs/paper.md, 2); patients never cross the split.
    Raises UserError for settings that make no sense and for data that cannot be used.
    """
    data = config.data
    grid = patch_grid(data, size)
    window = (float(data.window[0]), float(data.window[1]))
    settings = Settings.of(data, grid.reach_mm)
    directory = Path(data.dir) if data.dir else phantoms_on_disk(data.phantoms)
    cohort = read_cohort(directory, settings, data.max_left_out)
    held = held_out(cohort.patients, data.test_fraction, data.split_seed)
    training = {name: p for name, p in cohort.patients.items() if name not in held}
    test = {name: p for name, p in cohort.patients.items() if name in held}
    voxels = [patient.blocks for patient in cohort.patients.values()]
    group = dict(zip(cohort.patients, groups_of(voxels, list(cohort.patients)), strict=True))
    truth = truth_of(test, baseline_scores(training, test))
    table = _table(cohort.patients, data.reduce)
    return Dataset(
        patches=planes(cohort.patients, data.representation, grid, window),
        labels=np.repeat(table["label"].astype(np.int32), grid.variants),
        classes=CLASSES,
        groups=np.repeat([group[name] for name in table["patient"]], grid.variants),
        names=np.repeat(table["name"], grid.variants),
        test=np.repeat(np.isin(table["patient"], list(held)), grid.variants),
        units=np.repeat(table["unit"], grid.variants),
        extra={"truth": truth},
        files={
            **truth_files(truth),
            "cohort.json": _summary(cohort, held),
            **montages(cohort.patients, window),
        },
    )


def evaluate(dataset: Dataset, scores: np.ndarray) -> dict[str, Any]:
    """Sensitivity at 1..5 false positives per volume. An embolus that no candidate hits is a miss (see `froc`)."""
    truth: Truth = dataset.extra["truth"]
    return truth.figures(dataset.test_set[0].names, scores[:, 1], PER_VOLUME)


def held_out(patients: Mapping[str, Patient], fraction: float, seed: int) -> set[str]:
    """The test patients: about `fraction`, those without emboli in proportion where they are many enough; patients with
    one volume go together.

    Raises UserError when emboli are lacking on either side.
    """
    names = np.array(list(patients))
    ill = np.array([len(p.labels) > 0 for p in patients.values()])
    if ill.sum() < 2:
        raise UserError(
            f"{ill.sum()} of {len(ill)} patients have emboli: training and test need one each at least"
        )
    rare = min(ill.sum(), (~ill).sum()) < round(1 / max(fraction, 1e-9))
    voxels = [patient.blocks for patient in patients.values()]
    groups = united(voxels, names.tolist(), "patients have volumes")
    test = test_split(np.zeros(len(ill), int) if rare else ill.astype(int), groups, fraction, seed)
    for side, name in ((test, "test"), (~test, "training")):
        if not any(patients[n].hits.any() for n in names[side]):
            raise UserError(
                f"no candidate of the {name} patients hits an embolus: choose another data.split_seed or add patients"
            )
    return set(names[test].tolist())


def _table(patients: Mapping[str, Patient], reduce: str) -> dict[str, np.ndarray]:
    """name, patient, label and unit of every candidate [n].

    Reducing by emboli drops an embolus with all candidates that hit it, and false candidates one by one.
    """
    rows = []
    for name, patient in patients.items():
        for k, embolus in enumerate(patient.first_hit):
            candidate = candidate_name(name, k)
            unit = f"{name}/embolus{embolus}" if embolus >= 0 else candidate
            rows.append((candidate, name, embolus >= 0, unit if reduce == "emboli" else name))
    columns = zip(*rows, strict=True)
    return dict(zip(("name", "patient", "label", "unit"), map(np.array, columns), strict=True))


def _summary(cohort: Cohort, held: set[str]) -> bytes:
    """What the report says of the data: a row per patient."""
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
    content = {"patients": rows, "left_out": cohort.left_out, "notes": cohort.notes}
    return (json.dumps(content, indent=1) + "\n").encode()


EMBOLISM = Application(
    name="embolism",
    defaults=DEFAULTS,
    load=load,
    evaluate=evaluate,
    words=Words("patient", "candidate"),
    sections=sections_of(__package__),
    merit=merit_of(__package__),
    points=points_of(__package__),
    show=show,
    predict=PREDICTION,
)
