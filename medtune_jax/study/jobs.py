"""What launchers share: jobs, of which each is claimed by one launcher at a time and done by none twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from medtune_jax.paths import written_to
from medtune_jax.sharing.claims import Claims, LostError
from medtune_jax.study.plan import Plan, PlannedRun
from medtune_jax.study.store import Attempt, Store
from medtune_jax.training.devices import hosts
from medtune_jax.tuning import Depth

_POLL = 1.0  # seconds between looks at what other launchers do


@dataclass(frozen=True)
class Job:
    """Runs that share a program and features and may train together: the seeds of one depth and training-set size.

    No smaller part of a study is handed out, so that its results do not depend on who computes what.
    """

    depth: Depth
    fraction: float
    runs: tuple[PlannedRun, ...]

    @property
    def name(self) -> str:
        return f"{self.depth.slug}-f{self.fraction:g}"


def jobs(plan: Plan) -> list[Job]:
    """All of a plan, shallow to deep, large to small."""
    cells = groupby(plan.runs, key=lambda run: (run.depth, run.fraction))
    return [Job(depth, fraction, tuple(runs)) for (depth, fraction), runs in cells]


class Ours(Protocol):
    """A job that is ours while the `with` block lasts."""

    def __enter__(self) -> object: ...
    def __exit__(self, *_: object) -> None: ...
    def check(self) -> None: ...
    def settle(self, run: str) -> None: ...


class Board:
    """The jobs of one sweep and what is left of each, whoever works at it.

    Of several processes that train every run together process 0 claims jobs and looks at the disk; the others do as it
    says, and call what they both call in the same order.

    skip: told of every run that needs no run here, be it done before or by another launcher meanwhile. note: a line
    for the user. before: which attempts had failed when all this was submitted; None: now. A run that failed since was
    tried, so that of many workers that begin one after another not each tries it again.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        claims: Claims,
        skip: Callable[[PlannedRun], None],
        note: Callable[[str], None],
        before: Mapping[str, Attempt] | None = None,
    ) -> None:
        self._jobs, self._store, self._claims = jobs(plan), store, claims
        self._skip, self._note = skip, note
        self._noted = claims.settled()
        # Not settled: which attempt failed before this sweep. It is tried once more, by whoever comes first.
        self._open: dict[str, Attempt | None] = {}
        for run in plan.runs:
            if store.settled(run.name):
                skip(run)
            elif before is None:
                self._open[run.name] = store.attempt(run.name)
            else:
                self._open[run.name] = before.get(run.name)

    @property
    def attempts(self) -> dict[str, Attempt]:
        """The failed attempts at runs that get another try."""
        return {run: attempt for run, attempt in self._open.items() if attempt}

    def left(self) -> list[Job]:
        """The jobs with something to do."""
        self._look([run for job in self._jobs for run in job.runs])
        return self._unfinished(self._jobs)

    def waiting(self, job: Job) -> list[PlannedRun]:
        """Its runs that nobody has done."""
        names = hosts.of_first([run.name for run in self._waiting(job)] if hosts.first() else [])
        return [run for run in job.runs if run.name in names]

    def close(self, run: PlannedRun) -> None:
        """Done here."""
        self._open.pop(run.name, None)

    def claimed(self) -> Iterator[tuple[Job, Ours]]:
        """Jobs with something to do, each to be entered as a context and then asked anew what is `waiting`.

        Ends when no run is left, also of the jobs that other launchers have.
        """
        if not hosts.several():
            yield from self._claimed()
            return
        ours = iter(self._claimed() if hosts.first() else ())
        by_name = {job.name: job for job in self._jobs}
        while True:
            job, claim = next(ours, (None, None))
            if not (name := hosts.of_first(job.name if job else "")):
                return
            yield by_name[name], _InStep(claim)

    def _claimed(self) -> Iterator[tuple[Job, Ours]]:
        left, depth = self._jobs, None
        while left := self._unfinished(left):
            if taken := self._take(left, depth):
                depth = taken[0].depth
                yield taken
            elif held := self._unfinished(left):
                self._wait(held)

    def _unfinished(self, found: Sequence[Job]) -> list[Job]:
        """Those with something to do, by what is known here; the disk is asked about a job before it is taken."""
        return [job for job in found if any(run.name in self._open for run in job.runs)]

    def _waiting(self, job: Job) -> list[PlannedRun]:
        self._look(job.runs)
        return [run for run in job.runs if run.name in self._open]

    def _look(self, runs: Iterable[PlannedRun]) -> None:
        """Whether another launcher has done some of them meanwhile."""
        news = self._claims.settled() - self._noted
        for run in runs:
            if run.name in self._open and self._tried(run.name, news):
                del self._open[run.name]
                self._skip(run)

    def _tried(self, run: str, news: set[str]) -> bool:
        """Whether some launcher has finished the run, well or not, since this sweep began."""
        return run in news or self._store.attempt(run) not in (None, self._open[run])

    def _take(self, left: list[Job], depth: Depth | None) -> tuple[Job, Ours] | None:
        """The next job: of the depth whose features are here, else of one that nobody works at, else any."""
        names = {lease.job for lease in self._claims.held()}
        busy = {job.depth for job in self._jobs if job.name in names}
        with written_to(self._store.directory):
            for job in sorted(left, key=lambda job: (job.depth != depth, job.depth in busy)):
                if self._waiting(job) and (claim := self._claims.take(job.name)):
                    return job, claim
        return None

    def _wait(self, left: list[Job]) -> None:
        names = {job.name for job in left}
        others = sorted(
            f"{lease.job} ({lease.place})" for lease in self._claims.held() if lease.job in names
        )
        self._note(f"waiting for other launchers: {', '.join(others)}")
        while not self._changed(left):
            time.sleep(_POLL)

    def _changed(self, left: list[Job]) -> bool:
        """Whether a job is done, or free."""
        held = {lease.job for lease in self._claims.held()}
        return any(job.name not in held or not self._waiting(job) for job in left)


class _InStep:
    """The claim that process 0 holds for all processes which train its job together."""

    def __init__(self, claim: Ours | None) -> None:
        self._claim = claim

    def __enter__(self) -> None:
        if self._claim:
            self._claim.__enter__()

    def __exit__(self, *error: object) -> None:
        if self._claim:
            self._claim.__exit__(*error)

    def check(self) -> None:
        """Raise LostError in all, where the job is another launcher's by now."""
        lost = False
        try:
            if self._claim:
                self._claim.check()
        except LostError:
            lost = True
        if hosts.of_first(lost):
            raise LostError

    def settle(self, run: str) -> None:
        if self._claim:
            self._claim.settle(run)
