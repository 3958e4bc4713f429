"""Reads a study directory: the manifest, and for each planned run what it left behind.

The report reads nothing else, so that it can be made again anywhere, long after the sweep.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.evaluation import log_odds
from medtune_jax.evaluation.metric import AUC, Metric, chosen
from medtune_jax.evaluation.scores import TestSet

DONE, FAILED, MISSING = "done", "failed", "missing"
_KNOWN_COLUMNS = ("image", "patient", "label")


@dataclass(frozen=True)
class Run:
    """One planned run. history: [epochs, 2] mini-batches and validation metric. scores: log-odds float32 [N, C]."""

    run: str
    depth: str
    fraction: float
    seed: int
    status: str
    result: dict[str, Any] = field(default_factory=dict)
    timing: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    history: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    scores: np.ndarray | None = None

    @property
    def collapsed(self) -> bool:
        """Half or more of the test images get exactly the same scores.

        Such a network (dead units before its last layer, say) has stopped looking at its input: its
        metric is made of ties, and says nothing about the depth.
        """
        if self.scores is None or len(self.scores) < 2:
            return False
        _, counts = np.unique(self.scores, axis=0, return_counts=True)
        return bool(2 * counts.max() >= len(self.scores))


@dataclass(frozen=True)
class StudyResults:
    """A study as found on disk, finished or not."""

    directory: Path
    manifest: dict[str, Any]
    runs: tuple[Run, ...]
    test: TestSet | None
    metric: Metric = AUC

    @property
    def classes(self) -> list[str]:
        return self.manifest["classes"]

    @property
    def stages(self) -> list[str]:
        return [stage["name"] for stage in self.manifest["network"]["stages"]]

    @property
    def fractions(self) -> list[float]:
        """Training fractions, largest first."""
        return sorted(self.manifest["fractions"], reverse=True)

    @property
    def tuned_depths(self) -> list[str]:
        """Depths that start from pre-trained weights, shallow to deep."""
        return [depth for depth in self.manifest["depths"] if not is_scratch(depth)]

    @property
    def scratch_depths(self) -> list[str]:
        return [depth for depth in self.manifest["depths"] if is_scratch(depth)]

    @property
    def depths(self) -> list[str]:
        return self.tuned_depths + self.scratch_depths

    def is_scratch(self, depth: str) -> bool:
        return is_scratch(depth)

    def label(self, depth: str) -> str:
        """A depth as the paper names it: 'only fc8', 'conv4-fc8', 'scratch (xavier)'."""
        if is_scratch(depth):
            name, _, filler = depth.partition("-")
            return f"{name} ({filler})" if filler else name
        last = self.stages[-1]
        return f"only {last}" if depth == last else f"{depth}-{last}"

    @cached_property
    def _cells(self) -> dict[tuple[str, float], list[Run]]:
        cells: dict[tuple[str, float], list[Run]] = {}
        for run in self.runs:
            if run.status == DONE:
                cells.setdefault((run.depth, run.fraction), []).append(run)
        return cells

    def cell(self, depth: str, fraction: float) -> list[Run]:
        """The finished runs of a depth and fraction, one a seed."""
        return self._cells.get((depth, fraction), [])

    def collapsed(self, fraction: float) -> list[str]:
        """Depths with a collapsed run at a fraction."""
        cells = {depth: self.cell(depth, fraction) for depth in self.depths}
        return [depth for depth, runs in cells.items() if any(run.collapsed for run in runs)]

    def with_status(self, status: str) -> list[Run]:
        return [run for run in self.runs if run.status == status]


def is_scratch(depth: str) -> bool:
    return depth == "scratch" or depth.startswith("scratch-")


def load_study(directory: Path, metric: Metric = AUC) -> StudyResults:
    """Reads study.json and every run directory that exists.

    metric: the application's own; another one that the study names judges the same binary tasks.

    Raises:
      UserError: no study there, a damaged file, or runs scored on different test images.
    """
    path = Path(directory) / "study.json"
    if not path.is_file():
        raise UserError(
            f"{directory} holds no study.json: give the --output directory of a `medtune sweep`."
        )
    manifest = _json(path)
    missing = [
        k for k in ("network", "depths", "fractions", "classes", "runs") if k not in manifest
    ]
    if missing:
        raise UserError(f"{path} has no field '{missing[0]}': run the sweep again.")
    order = {depth: i for i, depth in enumerate(manifest["depths"])}
    planned = sorted(
        manifest["runs"],
        key=lambda r: (order.get(r["depth"], len(order)), -r["fraction"], r["seed"]),
    )
    reader = _Reader(Path(directory) / "runs", manifest["classes"])
    runs = tuple(reader.run(entry) for entry in planned)
    metric = chosen(manifest.get("metric", ""), metric)
    return StudyResults(Path(directory), manifest, runs, reader.test, metric)


class _Reader:
    """Reads runs, and holds the test set that all of them must share."""

    def __init__(self, folder: Path, classes: list[str]):
        self._folder = folder
        self._classes = classes
        self.test: TestSet | None = None

    def run(self, entry: dict[str, Any]) -> Run:
        folder = self._folder / entry["run"]
        identity = {key: entry[key] for key in ("run", "depth", "fraction", "seed")}
        if not (folder / "result.json").is_file():
            return Run(**identity, status=MISSING)
        result = _json(folder / "result.json")
        done = result.get("status") == DONE
        return Run(
            **identity,
            status=DONE if done else FAILED,
            result=_renamed(result),
            timing=_json(folder / "timing.json", optional=True),
            versions=_json(folder / "versions.json", optional=True),
            history=_history(folder / "history.csv"),
            scores=self._scores(folder / "scores.csv") if done else None,
        )

    def _scores(self, path: Path) -> np.ndarray:
        """Log-odds [N, C] in the order of the image names."""
        rows = _rows(path, (*_KNOWN_COLUMNS, *self._classes))
        logits = [f"logit_{name}" for name in self._classes]
        # Studies of version 0.1 kept probabilities alone.
        known = bool(rows) and logits[0] in rows[0]
        rows.sort(key=lambda row: row["image"])
        index = {name: i for i, name in enumerate(self._classes)}
        try:
            labels = np.array([index[row["label"]] for row in rows], dtype=int)
            columns = logits if known else self._classes
            values = np.array([[float(row[c]) for c in columns] for row in rows], np.float32)
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{path} holds an unknown class or a score that is no number: {error}."
            ) from error
        test = TestSet(
            np.array([row["image"] for row in rows]),
            np.array([row["patient"] for row in rows]),
            labels,
            np.array([row.get("judged") != "0" for row in rows], bool),
        )
        self._agree(path, test)
        values = values.reshape(len(rows), len(self._classes))
        return values if known else log_odds.of_probabilities(values).astype(np.float32)

    def _agree(self, path: Path, test: TestSet) -> None:
        if self.test is None:
            self.test = test
        same = all(
            np.array_equal(getattr(self.test, name), getattr(test, name))
            for name in ("names", "groups", "labels", "judged")
        )
        if not same:
            raise UserError(
                f"{path} was scored on other test images than the runs before it: remove that run "
                "and run the sweep again."
            )


def _history(path: Path) -> np.ndarray:
    if not path.is_file():
        return np.empty((0, 2))
    rows = _rows(path, ("batches",))
    figures = [float(r.get("validation") or r["val_auc"]) for r in rows]
    return np.array([(float(r["batches"]), f) for r, f in zip(rows, figures, strict=True)]).reshape(
        -1, 2
    )


def _renamed(result: dict[str, Any]) -> dict[str, Any]:
    """A result of version 0.1, which knew one metric, in today's words."""
    old = {"val_auc": "validation", "test_auc": "test"}
    return {old.get(name, name): value for name, value in result.items()}


def _json(path: Path, optional: bool = False) -> dict[str, Any]:
    if optional and not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({error}): remove it and run the sweep again."
        ) from error


def _rows(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    if not path.is_file():
        raise UserError(f"{path} is missing although its run is done: remove the run's directory.")
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        absent = [name for name in columns if name not in (reader.fieldnames or [])]
        if absent:
            raise UserError(
                f"{path} has no column '{absent[0]}': remove that run and run it again."
            )
        return list(reader)
