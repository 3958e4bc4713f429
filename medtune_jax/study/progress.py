"""Progress of a sweep: a bar with an ETA on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from medtune_jax.progress import clock
from medtune_jax.study.plan import PlannedRun
from medtune_jax.training import Epoch


class Progress:
    """Counts runs and tells when the rest will be done, by the time that finished runs took a unit of cost."""

    def __init__(
        self, runs: Sequence[PlannedRun], costs: Sequence[float], metric: str, quiet: bool = False
    ):
        self._metric = metric
        self._costs = {run.name: cost for run, cost in zip(runs, costs, strict=True)}
        self._left = sum(costs)
        self._spent = 0.0
        self._began = time.monotonic()
        self._count = len(runs)
        self._finished = 0
        self.doing = ""  # in words, for other launchers and `medtune status`
        self._console = Console(stderr=True, quiet=quiet)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[eta]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("sweep", total=self._count, eta="")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """A line of its own."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def skip(self, run: PlannedRun) -> None:
        """A run that is done already."""
        self._left -= self._costs[run.name]
        self._count_one()

    def start(self, run: PlannedRun) -> None:
        self._do(_name(run))

    def epoch(self, run: PlannedRun, epoch: Epoch, factor: float = 1.0) -> None:
        """factor: on the rates, of a run that searches."""
        rate = "" if factor == 1 else f" rate x{factor:.3g}"
        self._do(
            f"{_name(run)}{rate} epoch {epoch.epoch}: validation {self._metric} {epoch.validation:.3f}"
        )

    def finish(self, run: PlannedRun, result: dict[str, Any]) -> None:
        self._left -= self._costs[run.name]
        self._spent += self._costs[run.name]
        self._count_one()
        if result["status"] == "done":
            figures = f"validation {result['validation']:.3f}, test {result['test']:.3f}"
            figures += f", rate x{result['rate_factor']:.3g}" if "search" in result else ""
        else:
            figures = f"FAILED: {result['reason']}"
        line = f"[{self._finished}/{self._count}] {_name(run)}: {figures}, {self._eta()}"
        self.note(line)

    def _do(self, text: str) -> None:
        self.doing = text
        self._bar.update(self._task, description=text)

    def _count_one(self) -> None:
        self._finished += 1
        self._bar.update(self._task, completed=self._finished, eta=self._eta())

    def _eta(self) -> str:
        if not self._spent:
            return ""
        seconds = (time.monotonic() - self._began) * self._left / self._spent
        return f"{clock(seconds)} left"


def _name(run: PlannedRun) -> str:
    return f"{run.depth.name} fraction {run.fraction:g} seed {run.seed}"
