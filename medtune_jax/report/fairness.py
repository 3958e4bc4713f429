"""Whether every depth got a fair chance: its learning rate, and enough epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import fmean
from typing import Any

from medtune_jax.report import markup
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.load import Run, StudyResults
from medtune_jax.report.section import Section
from medtune_jax.words import count


def doubts(study: StudyResults) -> list[str]:
    """What may have kept a depth below what it can do, a sentence or two each."""
    notes = []
    if late := _where(study, lambda run: run.still_improving):
        scratch = any(run.still_improving and study.is_scratch(run.depth) for run in study.runs)
        own = " (training.scratch.epochs from scratch)" if scratch else ""
        notes.append(
            f"Still improving: the best epoch is among the last two of {late}. "
            f"Such a run may gain from more epochs: raise training.epochs{own} or training.patience."
        )
    if edge := _where(study, lambda run: run.at_edge):
        notes.append(
            f"At the edge of the grid: the lowest or the highest rate that was tried won in {edge}. "
            "A rate beyond it may be better: widen the grid (rates.search) or move it (rates.tuned, rates.head, "
            "rates.scratch)."
        )
    return notes


def _where(study: StudyResults, holds: Callable[[Run], bool]) -> str:
    """'5 runs (only conv10 with 25%: 2 of 3; scratch with all: 3 of 3)'; empty where it holds of none."""
    cells = {
        (depth, fraction): study.cell(depth, fraction)
        for depth in study.depths
        for fraction in study.fractions
    }
    found = {cell: sum(map(holds, runs)) for cell, runs in cells.items()}
    told = [
        f"{study.label(depth)} with {fraction_name(fraction)}: {number} of {len(cells[depth, fraction])}"
        for (depth, fraction), number in found.items()
        if number
    ]
    return f"{count(sum(found.values()), 'runs')} ({'; '.join(told)})" if told else ""


def rates(evidence: Evidence) -> Section | None:
    """The rate of every depth, how it was found, and whether its runs had enough epochs."""
    study = evidence.study
    cells = [(cell, study.cell(*cell)) for cell in evidence.cells]
    if not cells:
        return None
    searched = any(run.search for _, runs in cells for run in runs)
    head = ["Tuned stages", "Training data", "Rate", "Rate of the head", "Best of all epochs"]
    head += ["Factors chosen", f"Validation {study.metric.title} by factor"] if searched else []
    rows = []
    for (depth, fraction), runs in cells:
        row = [study.label(depth), fraction_name(fraction)]
        row += [_values(run.result.get(name) for run in runs) for name in ("rate", "head_rate")]
        row += [", ".join(map(_epochs, runs))]
        row += [", ".join(map(_choice, runs)), _by_factor(runs)] if searched else []
        rows.append(row)
    how = (
        "Every run tried the same factors on its rates and kept the one with the best validation figure of its own "
        "(of equals the nearest to the default). The test set was scored once, for that rate. "
        if searched
        else "No rates were searched (rates.search=3 would try three for every run). "
    )
    text = (
        f"{how}Rates are those of weights in the first epoch, in the first tuned stage and in the head; biases have "
        "twice as much. One entry per seed: the epoch that was kept, of all that were trained."
    )
    table = markup.table(head, rows, "numbers")
    return Section.of("Rates and epochs", markup.paragraph(text), table)


def _values(values: Iterable[float | None]) -> str:
    """Different ones, low to high."""
    known = sorted({value for value in values if value is not None})
    return ", ".join(f"{value:.2g}" for value in known) or "–"


def _epochs(run: Run) -> str:
    best, epochs = run.result.get("best_epoch"), run.result.get("epochs")
    if not best or not epochs:
        return "–"
    return f"{best} of {epochs}{' (still improving)' if run.still_improving else ''}"


def _choice(run: Run) -> str:
    if not run.search:
        return "–"
    return f"{_factor(run.result['rate_factor'])}{' (edge)' if run.at_edge else ''}"


def _by_factor(runs: Iterable[Run]) -> str:
    """Mean over the seeds that did not diverge at a factor."""
    tried: dict[float, list[dict[str, Any]]] = {}
    for run in runs:
        for rate in run.search:
            tried.setdefault(rate["rate_factor"], []).append(rate)
    return "; ".join(f"{_factor(factor)} {_figure(tried[factor])}" for factor in sorted(tried))


def _figure(rates: list[dict[str, Any]]) -> str:
    sound = [rate["validation"] for rate in rates if rate["reason"] is None]
    lost = len(rates) - len(sound)
    told = [f"{fmean(sound):.3f}"] if sound else []
    return ", ".join(told + ([f"{lost} diverged"] if lost else []))


def _factor(factor: float) -> str:
    """×3, ×1, ×1/3."""
    return f"×{factor:g}" if factor >= 1 else f"×1/{1 / factor:g}"
