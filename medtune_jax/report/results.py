"""results.csv: one row a planned run, whatever became of it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from medtune_jax.report.load import MISSING, Run, StudyResults

COLUMNS = (
    "network",
    "depth",
    "fraction",
    "seed",
    "status",
    "metric",
    "validation",
    "test",
    "seconds",
    "run",
    "reason",
    "best_epoch",
    "epochs",
    "steps",
    "train_images",
    "val_images",
)


def result_row(study: StudyResults, run: Run) -> dict[str, Any]:
    """The fields of COLUMNS; a figure that the run does not have is None."""
    known = {**run.result, "seconds": run.timing.get("seconds")}
    if run.status == MISSING:
        known["reason"] = "not run yet"
    identity = {
        "network": study.manifest["network"]["name"],
        "depth": run.depth,
        "fraction": run.fraction,
        "seed": run.seed,
        "status": run.status,
        "run": run.run,
    }
    return {name: {**known, **identity}.get(name) for name in COLUMNS}


def write_results(study: StudyResults) -> Path:
    """Writes results.csv into the study directory: shallow to deep, large to small, by seed."""
    path = study.directory / "results.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(result_row(study, run) for run in study.runs)
    return path
