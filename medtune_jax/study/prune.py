"""Which trained networks a study keeps: all until it is finished, then those of the answer and those that are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from medtune_jax.errors import UserError
from medtune_jax.fields import items
from medtune_jax.paths import discard, scratch_beside, written_to
from medtune_jax.words import count

if TYPE_CHECKING:  # what reads a report takes a while to import
    from medtune_jax.report.runs import Run, StudyResults

RECOMMENDED, ALL = "recommended", "all"
_MIB, _GIB = 2**20, 2**30


@dataclass(frozen=True)
class Pruned:
    """kept, removed: names of runs whose weights were there. lacking: of the answer's runs, those that have none.

    size, freed: bytes kept and removed. why: in words, what was kept.
    """

    kept: tuple[str, ...]
    removed: tuple[str, ...]
    lacking: tuple[str, ...]
    size: int
    freed: int
    why: str

    def __str__(self) -> str:
        lines = [
            f"weights: {count(len(self.kept), 'runs')} kept, {self.size / _MIB:,.1f} MiB ({self.why}); "
            f"{len(self.removed)} removed, {self.freed / _MIB:,.1f} MiB freed"
        ]
        if self.lacking:
            lines.append(
                f"{len(self.lacking)} recommended runs have no weights ({self.lacking[0]}): remove their folders and "
                "run the sweep again to train them once more"
            )
        return "\n".join(lines)


def prune(
    directory: str | Path, keep: str | Sequence[str] = RECOMMENDED, budget: int | None = None
) -> Pruned:
    """Remove the weights of all runs of a finished study but the recommended ones and those that `keep` names.

    keep: depths and runs; "all" removes nothing. Recommended are the runs of the answer's depth at the largest training
    set; a study without an answer (from scratch alone) keeps all. Figures, scores and histories stay.
    budget: bytes that all files of the study may take. Then no more is removed than that needs: those of smaller
    training sets first, and of one size those that were worst on validation data.

    UserError, before anything is removed, for a study that is not finished, a name that it does not have, and a budget
    that what stays exceeds; also for a disk that refuses.
    """
    from medtune_jax.report.runs import MISSING
    from medtune_jax.study.report import evidence_of

    evidence = evidence_of(Path(directory))
    study, names = evidence.study, items(keep)
    if waiting := study.with_status(MISSING):
        raise UserError(
            f"{directory} is not finished ({len(waiting)} of {len(study.runs)} runs are missing): what it recommends "
            "may change, so run the sweep to its end first"
        )
    check_names(names, [*study.depths, *(run.run for run in study.runs)])
    held = [run for run in study.runs if _weights(study, run).is_dir()]
    answer = study.cell(*evidence.recommended) if evidence.recommended else []
    everything = ALL in names or not answer
    stay = [r for r in held if everything or r in answer or {r.run, r.depth} & set(names)]
    removed, why = [run for run in held if run not in stay], _why(names, answer)
    sizes = {run.run: _size(_weights(study, run)) for run in held}
    if budget is not None:
        removed = _over(Path(directory), budget, sorted(removed, key=_worth), sizes, why)
        why = f"{why}; all of the study within {budget / _GIB:,.3g} GiB"
    kept = [run for run in held if run not in removed]
    with written_to(Path(directory)):
        for run in removed:
            _remove(_weights(study, run))
    return Pruned(
        tuple(run.run for run in kept),
        tuple(run.run for run in removed),
        tuple(run.run for run in answer if run not in held),
        sum(sizes[run.run] for run in kept),
        sum(sizes[run.run] for run in removed),
        why,
    )


def check_names(names: Sequence[str], known: Sequence[str]) -> None:
    """UserError with the nearest for a name that is no depth, run, 'recommended' or 'all'."""
    for name in names:
        if name not in (RECOMMENDED, ALL, *known):
            near = get_close_matches(name, [*known, RECOMMENDED, ALL], 1, 0)[0]
            raise UserError(
                f"the study has no depth or run '{name}' to keep; did you mean '{near}'?"
            )


def _worth(run: Run) -> tuple[float, float]:
    """What goes first is least: a smaller training set, then a worse validation metric."""
    return run.fraction, float(run.result.get("validation") or 0)


def _over(
    directory: Path, budget: int, runs: Sequence[Run], sizes: Mapping[str, int], why: str
) -> list[Run]:
    """The first of `runs`, as few as bring the study within its budget. UserError where all of them would not."""
    size, removed = _size(directory), []
    least = size - sum(sizes[run.run] for run in runs)
    if least > budget:
        raise UserError(
            f"{directory} takes {least / _GIB:,.4g} GiB without any weights that may go, which is more than "
            f"{budget / _GIB:,.4g} (kept: {why}): give a larger budget, or name fewer runs to keep"
        )
    for run in runs:
        if size <= budget:
            break
        removed.append(run)
        size -= sizes[run.run]
    return removed


def _why(names: Sequence[str], answer: Sequence[Run]) -> str:
    if ALL in names:
        return "all, as asked"
    if not answer:
        return "all, since the study recommends no depth"
    named = [name for name in names if name != RECOMMENDED]
    return ", ".join([f"recommended: {answer[0].depth}", *(f"named: {name}" for name in named)])


def _weights(study: StudyResults, run: Run) -> Path:
    return study.directory / "runs" / run.run / "weights"


def _size(folder: Path) -> int:
    """0 where another launcher has just removed it."""
    with suppress(FileNotFoundError):
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return 0


def _remove(weights: Path) -> None:
    """By way of a rename: nobody sees half of it. Launchers that end together all prune."""
    with scratch_beside(weights.parent) as scratch, suppress(FileNotFoundError):
        weights.replace(scratch / "weights")
    discard(scratch)
