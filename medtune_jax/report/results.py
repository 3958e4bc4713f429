"""results.csv: one row a planned run, whatever became of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medtune_jax.paths import csv_bytes, write_whole
from medtune_jax.report.runs import DONE, MISSING, Run, StudyResults

COLUMNS = (
    *("network", "depth", "fraction", "seed", "status"),
    *("metric", "validation", "test", "seconds", "run", "reason"),
    *("best_epoch", "epochs", "steps", "train_images", "val_images"),
    *("rate_factor", "rate", "head_rate", "still_improving"),
)


def write_results(
    study: StudyResults, beside: Mapping[str, Mapping[str, float]] | None = None
) -> Path:
    """Writes results.csv into the study directory: shallow to deep, large to small, by seed.

    COLUMNS, then every other figure that any run has, in the order they appear. beside: figures by run and name that
    the report computed; those that a run recorded itself go before.
    """
    known = beside or {}
    made = [{**known.get(run.run, {}), **_row(study, run)} for run in study.runs]
    own = [
        name for run in study.runs for name, x in run.result.items() if isinstance(x, int | float)
    ]
    computed = [name for figures in known.values() for name in figures]
    head = list(dict.fromkeys((*COLUMNS, *own, *computed)))
    rows = [[row.get(name) for name in head] for row in made]
    path = study.directory / "results.csv"
    write_whole(path, csv_bytes([head, *rows]))
    return path


def _row(study: StudyResults, run: Run) -> dict[str, Any]:
    """What is known of a run: its figures, and what it is."""
    return {
        **({"reason": "not run yet"} if run.status == MISSING else {}),
        **run.result,
        "test": run.result.get("test") if run.test is None else run.test,
        "seconds": run.timing.get("seconds"),
        "still_improving": int(run.still_improving) if run.status == DONE else None,
        "network": study.manifest["network"]["name"],
        **{name: getattr(run, name) for name in ("depth", "fraction", "seed", "status", "run")},
    }
