"""The runs of one depth, from starting parameters to scores; those that pay to stack train together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import jax
import numpy as np

from medtune_jax import weights
from medtune_jax.evaluation import log_odds
from medtune_jax.evaluation.scores import TestSet, score_rows
from medtune_jax.study.plan import PlannedRun
from medtune_jax.study.prepare import Study
from medtune_jax.study.progress import Progress
from medtune_jax.study.start import starting_params, starting_rates, trained_stages
from medtune_jax.study.store import DONE, FAILED, Outcome
from medtune_jax.training import (
    Epoch,
    Fitted,
    Inputs,
    Partial,
    Run,
    Runner,
    Task,
    fit,
    predict,
    runner_for,
)
from medtune_jax.tuning import Depth

_FAILURES = (RuntimeError, ValueError, ArithmeticError, MemoryError)


@dataclass(frozen=True)
class _Depth:
    """What the runs of a depth share."""

    study: Study
    depth: Depth
    inputs: Inputs
    runner: Runner
    progress: Progress
    check: Callable[[], None]

    def epoch(self, planned: PlannedRun, epoch: Epoch) -> None:
        self.progress.epoch(planned, epoch)
        self.check()

    def run(self, planned: PlannedRun) -> Run:
        study, seed = self.study, planned.seed
        network, size, sides = study.network, study.plan.size, study.config.training.auxiliary
        params, new = starting_params(network, study.source, self.depth, seed, size, sides)
        trained = self.runner.task.tuned
        rates = starting_rates(network, self.depth, study.config, new, trained)
        subset = study.subsets[planned.fraction, seed]
        return Run(params, rates, subset.train, subset.valid, seed)


def outcomes(
    study: Study,
    depth: Depth,
    waiting: Sequence[PlannedRun],
    progress: Progress,
    check: Callable[[], None] = lambda: None,
) -> Iterator[tuple[PlannedRun, Outcome]]:
    """Train the waiting runs of a depth; a run that fails has its reason as outcome.

    check: called after every epoch; what it raises ends the training.
    """
    if not waiting:
        return
    # The seeds of one fraction take equally many steps (but for the balance of their classes).
    seeds = [list(runs) for _, runs in groupby(waiting, key=lambda run: run.fraction)]
    inputs = study.cache.inputs(depth.tuned[0], pretrained=not depth.scratch)
    runner = _runner(study, depth, inputs)
    shared = _Depth(study, depth, inputs, runner, progress, check)
    groups = seeds if runner.stacks else [[run] for run in waiting]
    for group in groups:
        yield from _together(shared, group)


def _runner(study: Study, depth: Depth, inputs: Inputs) -> Runner:
    """Depths that train the same stages on the same inputs (the deepest, and from scratch) share theirs.

    Chosen by the seeds planned, not by those that wait, so that a study that is interrupted ends in the same bits.
    """
    trained = trained_stages(study.network, depth, study.config)
    task = Task(
        study.network, trained, inputs.start, inputs.take, study.cache.dtype, study.optimizer
    )
    if task not in study.runners:
        shapes = study.network.abstract_params(study.plan.size, auxiliary=True)
        study.runners[task] = runner_for(
            task, shapes, inputs, study.plan.seeds, study.settings.batch
        )
    return study.runners[task]


def _together(shared: _Depth, group: Sequence[PlannedRun]) -> Iterator[tuple[PlannedRun, Outcome]]:
    for planned in group:
        shared.progress.start(planned)
    try:
        results = _train(shared, group)
    except _FAILURES as error:
        if len(group) > 1:  # one of them may be to blame: each alone, so that the others go on
            for planned in group:
                yield from _together(shared, [planned])
            return
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        config = shared.study.config.to_dict()
        results = [Outcome(_result(shared.study, group[0], FAILED, reason), config=config)]
    yield from zip(group, results, strict=True)


def _train(shared: _Depth, group: Sequence[PlannedRun]) -> list[Outcome]:
    began, study = time.perf_counter(), shared.study
    runs = [shared.run(planned) for planned in group]
    partials = [Partial(study.store.partial(planned.name)) for planned in group]
    fits = fit(
        shared.runner,
        runs,
        shared.inputs,
        study.settings,
        study.capacity,
        lambda labels, logits: study.metric(labels, log_odds.of_logits(logits)),
        lambda number, epoch: shared.epoch(group[number], epoch),
        # Several hosts would not agree on when a write is due.
        partials if jax.process_count() == 1 else (),
    )
    share = (time.perf_counter() - began) / len(group)  # of a member of a stack
    return [
        _outcome(shared, planned, run, fitted, partial.seconds + share)
        for planned, run, fitted, partial in zip(group, runs, fits, partials, strict=True)
    ]


def _outcome(
    shared: _Depth, planned: PlannedRun, run: Run, fitted: Fitted, trained: float
) -> Outcome:
    """All that a run leaves behind. trained: seconds."""
    began, study = time.perf_counter(), shared.study
    outcome = _judged(shared, planned, run, fitted)
    timing = {
        "seconds": trained + time.perf_counter() - began,
        "epoch_seconds": trained / max(len(fitted.history), 1),
    }
    config, kept = study.config.to_dict(), _kept(study, run, fitted)
    return replace(outcome, history=fitted.history, timing=timing, config=config, kept=kept)


def _judged(shared: _Depth, planned: PlannedRun, run: Run, fitted: Fitted) -> Outcome:
    """The scores of the best snapshot on the test set and on its validation images, and its figures."""
    study, best = shared.study, fitted.best
    if fitted.failure:
        return Outcome(_result(study, planned, FAILED, fitted.failure))
    assert fitted.params is not None and best is not None
    params = {**run.params, **fitted.params}
    subset, classes = study.subsets[planned.fraction, planned.seed], study.dataset.classes

    def scored(patches: np.ndarray) -> tuple[TestSet, np.ndarray]:
        logits = predict(shared.runner, params, shared.inputs, patches, study.settings)
        judged, member = study.dataset.judged_by(patches)
        return judged, judged.scores(logits, member)

    test, scores = scored(study.test)
    result = {
        **_result(study, planned, DONE, None),
        "validation": best.validation,
        "test": study.metric(test.labels[test.judged], scores[test.judged]),
        "best_epoch": best.epoch,
        "epochs": len(fitted.history),
        "steps": fitted.history[-1].batches,
        "train_images": len(subset.train),
        "val_images": len(subset.valid),
        **study.application.evaluate(study.dataset, scores),
    }
    valid, valid_scores = scored(subset.valid)
    return Outcome(
        result,
        scores=score_rows(test, classes, scores),
        validation=score_rows(valid, classes, valid_scores),
    )


def _result(study: Study, run: PlannedRun, status: str, reason: str | None) -> dict[str, Any]:
    return {
        "run": run.name,
        "network": study.network.name,
        **run.cell,
        "status": status,
        "reason": reason,
        "metric": study.metric.name,
        "validation": None,
        "test": None,
    }


def _kept(study: Study, run: Run, fitted: Fitted) -> weights.Checkpoint | None:
    """The best snapshot as a checkpoint, where the config asks for it."""
    if fitted.params is None or not study.config.training.keep_weights:
        return None
    trained = {"source": "trained by medtune", "from": study.source.provenance}
    return weights.Checkpoint(
        study.network.name,
        {**run.params, **fitted.params},
        study.source.preprocessing,
        {**trained, "config": study.config.to_dict()},
        study.network.classes,
    )
