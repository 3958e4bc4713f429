"""A figure of merit of the test set by cell: its intervals, differences and what is too small to matter.

Every cell (a depth at a fraction) is read once by run and without each of the test set's groups (`evaluation.readers`).
Any contrast of cells is then a weighted sum of readings, paired by group and by seed. A study has the figure of its
metric; an application whose answer is another figure (lesions found, micrometres) makes one of these for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from medtune_jax.evaluation import readers
from medtune_jax.evaluation.choice import MARGIN
from medtune_jax.evaluation.readers import Estimate, Readings, Scale
from medtune_jax.report.runs import StudyResults

Cell = tuple[str, float]  # depth, fraction
NO_SHARED_SEED = "no seed has finished in both: runs are compared seed by seed"


@dataclass(frozen=True)
class Merit:
    """One figure of merit of a study.

    title: in a sentence. read: cell -> its readings, all runs. too_few: why the test set is too small for any interval,
    as a sentence without its stop; empty if it is not. stated: what the title leaves out. margin: a difference too
    small to matter, in `unit`, which is empty for shares. scale: "log" for errors, of which less is better.
    """

    study: StudyResults
    title: str
    read: Callable[[Cell], Readings]
    too_few: str = ""
    stated: str = ""
    margin: float = MARGIN
    unit: str = ""
    digits: int = 3
    scale: Scale = "logit"
    _known: dict[Cell, Readings] = field(default_factory=dict, repr=False)

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return -1 if self.scale == "log" else 1

    @property
    def tested_on(self) -> Scale:
        """The scale of differences: errors are subtracted as they are."""
        return "logit" if self.scale == "logit" else "identity"

    def readings(self, cell: Cell, seeds: Sequence[int] | None = None) -> Readings:
        """By run and without each group; of some seeds, or of all."""
        if cell not in self._known:
            self._known[cell] = self.read(cell)
        known = self.study.seeds(cell)
        rows = range(len(known)) if seeds is None else [known.index(seed) for seed in seeds]
        return self._known[cell].of_runs(rows)

    def mean(self, cell: Cell) -> Estimate:
        """Mean over seeds."""
        read = self.readings(cell)
        if self.too_few:
            return Estimate(read.mean, why=self.too_few)
        return readers.of_mean(read, self.scale)

    def contrast(self, coefficients: Mapping[Cell, float]) -> Estimate:
        """A weighted sum of cells' figures over the seeds that all have, its interval, and the p of 0."""
        seeds = self.study.shared_seeds(coefficients)
        if not seeds:
            return Estimate(None, why=NO_SHARED_SEED)
        terms = [(factor, self.readings(cell, seeds)) for cell, factor in coefficients.items()]
        if self.too_few:
            return Estimate(sum(factor * read.mean for factor, read in terms), why=self.too_few)
        return readers.of_contrast(terms)

    def minus(self, one: Cell, other: Cell) -> Estimate:
        """The figure of one cell less that of another."""
        seeds = self.study.shared_seeds([one, other])
        if self.too_few or not seeds or self.tested_on == "identity":
            return self.contrast({one: 1, other: -1})
        return readers.of_difference(self.readings(one, seeds), self.readings(other, seeds))

    @property
    def matters(self) -> str:
        """The margin with its unit."""
        return f"{self.margin:g} {self.unit}".rstrip()

    def number(self, value: float, signed: bool = False) -> str:
        """A figure, or with its sign a difference, with the unit."""
        text = f"{value:{'+' if signed else ''}.{self.digits}f}"
        return f"{text} {self.unit}".rstrip()
