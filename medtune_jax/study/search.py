"""The search of a run's rates: one run, several candidates, of which validation data choose one.

The test set is not at hand here: a candidate knows its epochs, and its run is scored after the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any

from medtune_jax.study.store import HISTORY, history_row
from medtune_jax.training import Epoch, Fitted, Run


@dataclass(frozen=True)
class Candidate:
    """A run trained with all its rates times `factor`.

    fitted, seconds: what training left and took, of its last phase; before: the phase before that, if there is one.
    """

    factor: float
    run: Run
    fitted: Fitted
    seconds: float
    before: Candidate | None = None

    @property
    def all_seconds(self) -> float:
        """Of all phases."""
        return self.seconds + (self.before.all_seconds if self.before else 0.0)

    @property
    def whole(self) -> Fitted:
        """The epochs of all phases, numbered through; the best one, parameters and failure are the last phase's."""
        if self.before is None:
            return self.fitted
        history, fitted = self.before.whole.history, self.fitted
        last = history[-1]

        def through(epoch: Epoch) -> Epoch:
            return replace(
                epoch, epoch=last.epoch + epoch.epoch, batches=last.batches + epoch.batches
            )

        best = through(fitted.best) if fitted.best else None
        return replace(fitted, history=[*history, *map(through, fitted.history)], best=best)

    @property
    def phases(self) -> dict[str, int]:
        """As result.json says them: epochs before the last phase; nothing where there is one phase."""
        return {"epochs_before": len(self.before.whole.history)} if self.before else {}

    @property
    def rates(self) -> dict[str, float]:
        """As files say them: of the weights of the first tuned stage, and of the head."""
        weights = [float(rate.weight) for rate in self.run.rates.values()]
        return {"rate_factor": self.factor, "rate": weights[0], "head_rate": weights[-1]}


def chosen(candidates: Sequence[Candidate]) -> Candidate:
    """The best of those that did not diverge, by the validation figure of its best epoch; of equals the nearest to the
    default rate, then the lower. Where all diverged, the one at the default rate.
    """
    sound = [c for c in candidates if c.fitted.failure is None and c.fitted.best]
    if not sound:
        return candidates[len(candidates) // 2]
    return max(sound, key=_merit)


def _merit(candidate: Candidate) -> tuple[float, float, float]:
    assert candidate.fitted.best is not None
    away = abs(log(candidate.factor))
    return candidate.fitted.best.validation, -away, -candidate.factor


def failure(candidates: Sequence[Candidate]) -> str | None:
    """Why a run has no network at all; None when any candidate has one."""
    failures = [c.fitted.failure for c in candidates]
    if len(failures) == 1:
        return failures[0]
    if not all(failures):
        return None
    return f"diverged at all {len(failures)} rates that were tried; at the lowest: {failures[0]}"


def record(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """What result.json says of a search; nothing where there was none."""
    return {"search": [_told(c) for c in candidates]} if len(candidates) > 1 else {}


def _told(candidate: Candidate) -> dict[str, Any]:
    fitted, best = candidate.whole, candidate.whole.best
    return {
        **candidate.rates,
        "validation": best.validation if best else None,
        "best_epoch": best.epoch if best else None,
        "epochs": len(fitted.history),
        "reason": fitted.failure,
    }


def curves(candidates: Sequence[Candidate]) -> list[tuple[Any, ...]]:
    """Rows of search.csv, every epoch of every candidate; none where there was no search."""
    if len(candidates) == 1:
        return []
    head = (*candidates[0].rates, *HISTORY)
    rows = [
        (*(f"{rate:.7g}" for rate in c.rates.values()), *history_row(epoch))
        for c in candidates
        for epoch in c.whole.history
    ]
    return [head, *rows]
