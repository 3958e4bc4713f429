"""A study as a report asks of it: its planned runs, its depths, and what both left behind.

`load` reads it from disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medtune_jax import balance
from medtune_jax.balance import Balance
from medtune_jax.evaluation.convergence import still_improving
from medtune_jax.evaluation.metric import AUC, Metric
from medtune_jax.evaluation.operating import Rule
from medtune_jax.evaluation.scores import TestSet
from medtune_jax.words import PATIENTS_AND_IMAGES, Words

DONE, FAILED, MISSING = "done", "failed", "missing"
_ROUNDING = 1e-6
CLEARLY = 0.02
"""Of the validation metric: how far a last phase is behind the one before it to be called undone."""


@dataclass(frozen=True)
class Run:
    """One planned run.

    history: [epochs, 2] mini-batches and validation metric. scores: log-odds [N, C] of the test set. test: the metric
    of those scores; the page shows this one. thresholds: log-odds [K] of the metric's K binary tasks, chosen on the
    run's own validation scores; None where they cannot be, and `no_threshold` says why.
    """

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
    test: float | None = None
    thresholds: np.ndarray | None = None
    no_threshold: str = ""

    @property
    def differs(self) -> bool:
        """Whether result.json says another figure than the scores: one of both was changed, or ranked otherwise."""
        recorded = self.result.get("test")
        if self.test is None or recorded is None:
            return False
        return bool(abs(recorded - self.test) > _ROUNDING)

    @property
    def search(self) -> list[dict[str, Any]]:
        """The rates that it tried, low to high, as result.json has them; none where it had no choice."""
        return list(self.result.get("search", ()))

    @property
    def at_edge(self) -> bool:
        """Whether the rate that won a search is the lowest or the highest that was tried."""
        tried = [rate["rate_factor"] for rate in self.search]
        return bool(tried) and self.result.get("rate_factor") in (tried[0], tried[-1])

    @property
    def still_improving(self) -> bool:
        """Whether more epochs might have been better; also of studies that did not keep the mark."""
        best, epochs = self.result.get("best_epoch"), self.result.get("epochs")
        if self.status != DONE or best is None or epochs is None:
            return False
        return still_improving(best, epochs)

    @property
    def undone(self) -> bool:
        """Whether what it tuned last, of several phases, stayed clearly behind the best epoch of the phases before."""
        before, curve = int(self.result.get("epochs_before") or 0), self.history[:, 1]
        if self.status != DONE or not 0 < before < len(curve):
            return False
        return bool(curve[before:].max() < curve[:before].max() - CLEARLY)

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
class Depth:
    """name: as in the runs. label: as the paper names it. tuned: the trained stages. scratch: from random weights.

    way: of what is no depth, such as 'bitfit'; light: the trained stages of which only biases and norms move, or
    factors; parameters: how many a way trains.
    """

    name: str
    label: str
    tuned: tuple[str, ...]
    scratch: bool
    way: str = ""
    light: tuple[str, ...] = ()
    parameters: int | None = None

    @property
    def place(self) -> tuple[bool, bool]:
        """To sort by: the depths, then the ways, then scratch."""
        return self.scratch, bool(self.way)


@dataclass(frozen=True)
class StudyResults:
    """A study as found on disk, finished or not.

    known_depths: by name, shallow to deep, then other ways to tune, then from scratch. saturated: of a study that kept
    probabilities only, the rows of all its runs in which one is exactly 0; None where log-odds were kept. rule: how
    thresholds were chosen. subgroups: by column of the data, the value of each of the N test images.
    """

    directory: Path
    manifest: dict[str, Any]
    runs: tuple[Run, ...]
    test: TestSet | None
    known_depths: dict[str, Depth]
    metric: Metric = AUC
    words: Words = PATIENTS_AND_IMAGES
    saturated: int | None = None
    rule: Rule = field(default_factory=Rule)
    subgroups: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        return list(self.manifest["classes"])

    @property
    def findings(self) -> bool:
        """Whether the classes are findings, of which an image may have several."""
        return bool(self.manifest.get("findings", False))

    @property
    def stages(self) -> list[str]:
        return [stage["name"] for stage in self.manifest["network"]["stages"]]

    @property
    def fractions(self) -> list[float]:
        """Training fractions, largest first."""
        return sorted(self.manifest["fractions"], reverse=True)

    @property
    def answer(self) -> dict[str, float]:
        """The margins that the config sets: `validation_margin`, `margin` (0: the figure's own)."""
        return dict(self.manifest.get("config", {}).get("answer", {}))

    @property
    def balance(self) -> Balance | None:
        """What was done about rare classes; None of a study that does not say."""
        value = self.manifest.get("config", {}).get("training", {}).get("balance")
        return None if value is None else balance.chosen(value)

    @property
    def groups_known(self) -> bool:
        return bool(self.manifest.get("data", {}).get("groups_known", True))

    @property
    def depths(self) -> list[str]:
        return list(self.known_depths)

    @property
    def tuned_depths(self) -> list[str]:
        """The points on the axis of depths: from pre-trained weights, shallow to deep."""
        return [name for name, depth in self.known_depths.items() if depth.place == (False, False)]

    @property
    def way_depths(self) -> list[str]:
        """Other ways to tune: no points on the axis of depths."""
        return [name for name, depth in self.known_depths.items() if depth.way]

    @property
    def scratch_depths(self) -> list[str]:
        return [name for name, depth in self.known_depths.items() if depth.scratch]

    @property
    def groups(self) -> list[list[str]]:
        """Depths, other ways and scratch, as they stand apart in a figure; those that there are."""
        groups = self.tuned_depths, self.way_depths, self.scratch_depths
        return [group for group in groups if group]

    def is_scratch(self, depth: str) -> bool:
        return self.known_depths[depth].scratch

    def label(self, depth: str) -> str:
        """A depth as the paper names it: 'only fc8', 'conv4-fc8', 'scratch'."""
        return self.known_depths[depth].label

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

    def seeds(self, cell: tuple[str, float]) -> list[int]:
        """Of a cell's runs (depth, fraction), in the order of its scores."""
        return [run.seed for run in self.cell(*cell) if run.scores is not None]

    def shared_seeds(self, cells: Iterable[tuple[str, float]]) -> list[int]:
        """The seeds that all cells have: what a paired comparison is made of."""
        first, *rest = [self.seeds(cell) for cell in cells]
        return [seed for seed in first if all(seed in other for other in rest)]

    def collapsed(self, fraction: float) -> list[str]:
        """Depths with a collapsed run at a fraction."""
        cells = {depth: self.cell(depth, fraction) for depth in self.depths}
        return [depth for depth, runs in cells.items() if any(run.collapsed for run in runs)]

    def failures(self, depth: str, fraction: float) -> tuple[int, int]:
        """How many runs of a depth at a fraction failed, of how many."""
        runs = [run for run in self.runs if (run.depth, run.fraction) == (depth, fraction)]
        return sum(run.status == FAILED for run in runs), len(runs)

    def with_status(self, status: str) -> list[Run]:
        return [run for run in self.runs if run.status == status]
