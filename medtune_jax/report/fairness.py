"""Whether every depth got a fair chance: its learning rate, and enough epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import fmean
from typing import Any

from medtune_jax.report import markup
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.runs import CLEARLY, DONE, Run, StudyResults
from medtune_jax.report.section import Section
from medtune_jax.words import count


def doubts(study: StudyResults) -> list[str]:
    """What may have kept a depth below what it can do."""
    notes = []
    if late := _told(study, lambda run: run.still_improving):
        scratch = {study.is_scratch(run.depth) for run in study.runs if run.still_improving}
        fields = {False: "training.epochs", True: "training.scratch.epochs"}
        notes.append(
            f"Still improving: the best epoch is among the last two of {late}. "
            f"Such a run may gain from more epochs: raise {' and '.join(fields[s] for s in sorted(scratch))}."
        )
    if edge := _told(study, lambda run: run.at_edge):
        notes.append(
            f"At the edge of the grid: the lowest or the highest rate that was tried was the best of {edge}. "
            "A rate beyond it may be better: widen the grid (rates.search) or move it (rates.tuned, rates.head, "
            "rates.scratch)."
        )
    if undone := _told(study, lambda run: run.undone):
        notes.append(
            f"Undone: the last phase of {undone} never came back to the validation {study.metric.title} of the phase "
            f"before it, by more than {CLEARLY:g}. Its rates may be too high for a head that is trained already; such "
            "runs say little of this way to tune: search rates (rates.search), or lower them (rates.tuned, rates.head)."
        )
    return notes


def _told(study: StudyResults, holds: Callable[[Run], bool]) -> str:
    """'4 of 12 runs (only conv10: 1 of 6; scratch: 3 of 6)'; empty where it holds of none."""
    done = study.with_status(DONE)
    by_depth = {depth: [run for run in done if run.depth == depth] for depth in study.depths}
    parts = [
        f"{study.label(depth)}: {number} of {len(runs)}"
        for depth, runs in by_depth.items()
        if (number := sum(map(holds, runs)))
    ]
    if not parts:
        return ""
    return f"{sum(map(holds, done))} of {count(len(done), 'runs')} ({'; '.join(parts)})"


def rates(evidence: Evidence) -> Section | None:
    """The rate of every depth, how it was found, and whether its runs had enough epochs."""
    study = evidence.study
    cells = [(cell, study.cell(*cell)) for cell in evidence.cells]
    if not cells:
        return None
    searched = any(run.search for _, runs in cells for run in runs)
    head = [
        "Tuned stages",
        "Training data",
        "Rate",
        "Rate of the head",
        "Epoch kept, of those trained",
    ]
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
        "twice as much. Epochs and factors: one entry per seed."
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
