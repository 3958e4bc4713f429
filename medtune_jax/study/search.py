"""The search of a run's rates: one run, several candidates, of which validation data choose one.

The test set is not at hand here: a candidate knows its epochs, and its run is scored after the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

from medtune_jax.study.store import HISTORY, history_row
from medtune_jax.training import Fitted, Run


@dataclass(frozen=True)
class Candidate:
    """A run trained with all its rates times `factor`. seconds: of its training."""

    factor: float
    run: Run
    fitted: Fitted
    seconds: float

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
    fitted, best = candidate.fitted, candidate.fitted.best
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
        for epoch in c.fitted.history
    ]
    return [head, *rows]
