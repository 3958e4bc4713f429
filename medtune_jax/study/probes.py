"""Depths trained for so many epochs, and what validation data say of them: what `tune` looks at.

A look is a file, so that an interrupted search takes the same way again, and any number of launchers share one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from medtune_jax import signals
from medtune_jax.errors import UserError
from medtune_jax.paths import json_by_sum, json_with_sum, write_whole, written_to
from medtune_jax.sharing.claims import Claim, Claims, LostError
from medtune_jax.study.prepare import Study
from medtune_jax.study.progress import Progress
from medtune_jax.study.runs import FAILURES, fitted, shared_by, stacks
from medtune_jax.study.search import Candidate
from medtune_jax.tuning import Depth

_POLL = 1.0  # seconds between looks at what other launchers do


@dataclass(frozen=True)
class Probe:
    """A depth that has been trained for `epochs`, or to the end of its patience before.

    tries: a row per seed and rate: `seed`, `rate_factor`, `curve` (validation figure after each epoch), `reason` (None,
    or how it diverged), `seconds` of training from the first epoch on.
    """

    depth: str
    epochs: int
    tries: tuple[Mapping[str, Any], ...]

    @property
    def factor(self) -> float:
        """On the rates: that which fails for the fewest seeds, then the best mean; of equal ones the nearest to 1."""
        factors = {float(row["rate_factor"]) for row in self.tries}
        return max(factors, key=self._merit)

    def _merit(self, factor: float) -> tuple[float, ...]:
        sound = [max(row["curve"]) for row in self._sound(factor)]
        return len(sound), fmean(sound) if sound else 0.0, -max(factor, 1 / factor), -factor

    def _sound(self, factor: float) -> list[Mapping[str, Any]]:
        rows = [row for row in self.tries if row["rate_factor"] == factor]
        return [row for row in rows if row["reason"] is None and row["curve"]]

    @property
    def curves(self) -> dict[int, list[float]]:
        """seed -> validation figure after each epoch, at `factor`; those that diverged have none."""
        return {int(row["seed"]): row["curve"] for row in self._sound(self.factor)}

    @property
    def figures(self) -> dict[int, float]:
        """seed -> validation figure of its best epoch yet."""
        return {seed: max(curve) for seed, curve in self.curves.items()}

    @property
    def best_epochs(self) -> int:
        """The best epoch, mean over seeds."""
        curves = self.curves.values()
        return round(fmean(curve.index(max(curve)) + 1 for curve in curves))


@dataclass
class Tried:
    """All looks at a depth. judged: the last with all seeds. latest: the last of all, maybe with one seed alone."""

    judged: Probe
    latest: Probe
    rows: dict[tuple[int, float], Mapping[str, Any]] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Trained, of all seeds and rates."""
        return sum(len(row["curve"]) for row in self.rows.values())

    @property
    def seconds(self) -> float:
        """Of training, of all seeds and rates."""
        return sum(float(row["seconds"]) for row in self.rows.values())

    def add(self, probe: Probe) -> None:
        self.latest = probe
        self.rows |= {(int(row["seed"]), float(row["rate_factor"])): row for row in probe.tries}


class Probes:
    """The looks of one search, made here or by other launchers.

    Where a depth has no rival left, all that is still to be known is after how many epochs it is best: one seed, at the
    best rate, goes on alone.
    """

    def __init__(self, study: Study, claims: Claims, progress: Progress) -> None:
        self._study, self._claims, self._progress = study, claims, progress
        self._depths = {depth.name: depth for depth in study.plan.depths}
        self.tried: dict[str, Tried] = {}  # by depth

    def measure(self, depths: Sequence[str], epochs: int) -> dict[str, dict[int, list[float]]]:
        """Validation curves by depth and seed, once each has been trained for so many epochs."""
        if len(depths) == 1 and depths[0] in self.tried:
            return {depths[0]: self._alone(self.tried[depths[0]], epochs).curves}
        found = self._looks({f"{depth}-e{epochs}": depth for depth in depths}, epochs)
        for probe in found:
            tried = self.tried.setdefault(probe.depth, Tried(probe, probe))
            tried.judged = probe
            tried.add(probe)
        return {probe.depth: probe.curves for probe in found}

    def _alone(self, tried: Tried, epochs: int) -> Probe:
        """The first seed that does not diverge."""
        depth, factor = tried.judged.depth, tried.judged.factor
        for seed in tried.judged.curves:
            job = {f"{depth}-e{epochs}-s{seed}": depth}
            [probe] = self._looks(job, epochs, only=(seed, factor))
            tried.add(probe)
            if probe.curves:
                break
        return tried.latest

    def _looks(
        self, jobs: Mapping[str, str], epochs: int, only: tuple[int, float] | None = None
    ) -> list[Probe]:
        """Of depths by the file's name; what is not there is made. only: of this seed, at this factor on its rates."""

        def train(job: str, claim: Claim) -> None:
            probe = self._train(self._depths[jobs[job]], epochs, claim, only)
            with written_to(self._study.store.directory):
                write_whole(self._path(job), json_with_sum(asdict(probe)))
            self._tell(probe)

        each_once(self._claims, jobs, lambda job: self._read(job) is not None, train)
        found = [probe for job in jobs if (probe := self._read(job)) is not None]
        assert len(found) == len(jobs)
        return found

    def _path(self, job: str) -> Path:
        return self._study.store.directory / "probes" / f"{job}.json"

    def _read(self, job: str) -> Probe | None:
        """None where there is none yet, or a damaged one: it is made again."""
        try:
            content = json_by_sum(self._path(job))
            return Probe(**{**content, "tries": tuple(content["tries"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _train(
        self, depth: Depth, epochs: int, claim: Claim, only: tuple[int, float] | None
    ) -> Probe:
        study = self._study
        settings = replace(study.settings, epochs=epochs)
        shared = shared_by(study, depth, self._progress, claim.check, lasting=True)
        planned = study.plan.of_depth(depth)
        tries = [
            tried
            for run in planned
            for tried in shared.tries(run)
            if only in (None, (run.seed, tried.factor))
        ]
        candidates: list[Candidate] = []
        with failures_named(depth):
            for stack in stacks(shared, tries):
                candidates += fitted(shared, stack, settings)
        rows = [_row(t.planned.seed, c) for t, c in zip(tries, candidates, strict=True)]
        return Probe(depth.name, epochs, tuple(rows))

    def _tell(self, probe: Probe) -> None:
        label, figures = self._depths[probe.depth].label, probe.figures.values()
        title = self._study.metric.title
        said = f"validation {title} {fmean(figures):.3f}" if figures else "diverged"
        self._progress.note(f"{label}, {probe.epochs} epochs: {said}")


def _row(seed: int, candidate: Candidate) -> dict[str, Any]:
    fit = candidate.fitted
    return {
        "seed": seed,
        **candidate.rates,
        "curve": [epoch.validation for epoch in fit.history],
        "reason": fit.failure,
        "seconds": candidate.seconds,
    }


@contextmanager
def failures_named(depth: Depth) -> Iterator[None]:
    """What breaks the training of a depth becomes one sentence; what is trained so far is kept."""
    try:
        yield
    except UserError:
        raise
    except FAILURES as error:
        first = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"{depth.label} cannot be trained ({type(error).__name__}: {first}): leave it out with "
            f"--config.sweep.depths, or mend the cause and run the same command again"
        ) from error


def each_once(
    claims: Claims,
    jobs: Iterable[str],
    done: Callable[[str], bool],
    do: Callable[[str, Claim], None],
) -> None:
    """Do the jobs that are not done and that no other launcher has; returns when all are done."""
    left = list(jobs)
    while left := [job for job in left if not done(job)]:
        with written_to(claims.folder):
            taken = next(((job, claim) for job in left if (claim := claims.take(job))), None)
        if taken is None:
            time.sleep(_POLL)
            continue
        job, claim = taken
        with suppress(LostError), claim, signals.deferred():
            if not done(job):
                do(job, claim)
