"""The runs of one depth, from starting parameters to scores; those that pay to stack train together.

A run that searches its rates is several candidates to train, and one to score (`study/search.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from medtune_jax import heap, tuning, weights
from medtune_jax.evaluation.convergence import still_improving
from medtune_jax.evaluation.scores import TestSet, score_rows
from medtune_jax.networks import Params
from medtune_jax.networks.low_rank import merged
from medtune_jax.study import search
from medtune_jax.study.norms import norm_of
from medtune_jax.study.plan import PlannedRun
from medtune_jax.study.prepare import Study
from medtune_jax.study.progress import Progress
from medtune_jax.study.search import Candidate
from medtune_jax.study.start import starting_params, starting_rates, trained_stages
from medtune_jax.study.store import DONE, FAILED, Outcome
from medtune_jax.training import (
    Epoch,
    Inputs,
    Partial,
    PrefixCache,
    Run,
    Runner,
    Settings,
    Task,
    TrainState,
    fit,
    predict,
    runner_for,
)
from medtune_jax.training.devices import hosts
from medtune_jax.tuning import Depth, Optimizer

FAILURES = (RuntimeError, ValueError, ArithmeticError, MemoryError)


class Try(NamedTuple):
    """A planned run at a factor on its rates."""

    planned: PlannedRun
    factor: float
    run: Run


@dataclass(frozen=True)
class Shared:
    """What the runs of a depth share.

    check: called after every epoch; what it raises ends the training. lasting: what is trained waits on disk for more
    epochs. before: the same of the phases that go before, each of which leaves its state in a folder `part` of its own.
    """

    study: Study
    depth: Depth
    inputs: Inputs
    runner: Runner
    progress: Progress
    check: Callable[[], None]
    lasting: bool = False
    before: tuple[Shared, ...] = ()
    part: str = ""

    def epoch(self, tried: Try, epoch: Epoch) -> None:
        self.progress.epoch(tried.planned, epoch, tried.factor)
        self.check()

    def partial(self, tried: Try) -> Partial:
        folder = self.study.store.partial(tried.planned.name)
        searched = len(self.study.factors) > 1
        place = folder / f"x{tried.factor:.3g}" if searched else folder
        return Partial(place / self.part, lasting=self.lasting)

    def tries(self, planned: PlannedRun) -> list[Try]:
        """The run at each rate of its grid."""
        run = self._run(planned)
        return [
            Try(planned, factor, replace(run, rates=tuning.scaled(run.rates, factor)))
            for factor in self.study.factors
        ]

    def begun(self, tried: Try, before: Candidate | None) -> Try:
        """A try as this phase begins it: the rates of its stages, the best snapshot of the phase before."""
        rates = {stage: tried.run.rates[stage] for stage in self.runner.task.tuned}
        params = (
            {**before.run.params, **(before.fitted.params or {})} if before else tried.run.params
        )
        run = replace(tried.run, rates=rates, params=params, views=self.study.views(self.depth))
        return tried._replace(run=run)

    def scored(self, params: Params, patches: np.ndarray) -> tuple[TestSet, np.ndarray]:
        """What patches are patches of, and its log-odds [N, C]."""
        study = self.study
        logits = predict(self.runner, params, self.inputs, patches, study.settings)
        judged, member = study.dataset.judged_by(patches)
        return judged, judged.scores(study.dataset.objective.log_odds(logits), member)

    def _run(self, planned: PlannedRun) -> Run:
        study, seed = self.study, planned.seed
        network, size, sides = study.network, study.plan.size, study.config.training.auxiliary
        params, new = starting_params(network, study.source, self.depth, seed, size, sides)
        trained = self.runner.task.tuned
        rates = starting_rates(network, self.depth, study.config, new, trained)
        subset = study.subsets[planned.fraction, seed]
        views, patches = study.views(self.depth), len(study.dataset.labels)
        own = (subset.train, subset.valid, seed, views, patches, subset.weights)
        return Run(params, rates, *own)


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
    shared = shared_by(study, depth, progress, check)
    groups = seeds if shared.runner.stacks else [[run] for run in waiting]
    for group in groups:
        yield from _together(shared, group)


def shared_by(
    study: Study,
    depth: Depth,
    progress: Progress,
    check: Callable[[], None] = lambda: None,
    lasting: bool = False,
) -> Shared:
    """Inputs and programs of a depth, those of its last phase and, in it, those of the phases before."""
    *before, last = depth.steps
    earlier = [(phase, None if phase.brief else _inputs(study, phase)) for phase in before]
    inputs = _inputs(study, last)
    # A brief phase is not worth features of its own: it starts where the last one does.
    parts = tuple(
        Shared(
            study, phase, own, _runner(study, phase, own), progress, check, True, (), f"phase{n}"
        )
        for n, (phase, own) in enumerate(((phase, own or inputs) for phase, own in earlier), 1)
    )
    runner = _runner(study, last, inputs)
    return Shared(study, last, inputs, runner, progress, check, lasting, parts)


def _inputs(study: Study, phase: Depth) -> Inputs:
    return study.cache.inputs(phase.tuned[0], pretrained=not phase.scratch)


def task_of(study: Study, depth: Depth, inputs: Inputs, cache: PrefixCache) -> Task:
    """What the runs of a depth of a single phase train, on inputs of a cache."""
    return Task(
        study.network,
        trained_stages(study.network, depth, study.config),
        inputs.start,
        inputs.take,
        cache.dtype,
        _optimizer(study, depth),
        augmented=cache.augmented if study.augments(depth) else None,
        objective=study.dataset.objective,
        norm=norm_of(study.config, study.network, depth),
    )


def _optimizer(study: Study, depth: Depth) -> Optimizer:
    """L2-SP pulls stages that were pre-trained: neither the new head, nor anything from scratch, nor factors."""
    known = set(study.source.params) - {study.network.head}
    anchored = study.optimizer.l2_sp and not depth.scratch and not depth.rank
    pulled = tuple(stage for stage in depth.tuned if stage in known) if anchored else ()
    moving = tuning.FACTORS if depth.rank else tuning.LIGHT
    return replace(study.optimizer, anchored=pulled, light=depth.light, moving=moving)


def _runner(study: Study, depth: Depth, inputs: Inputs) -> Runner:
    """Depths that train the same stages on the same inputs (the deepest, and from scratch) share theirs.

    Chosen by the seeds and rates planned, not by those that wait, so that a study that is interrupted ends in the same
    bits.
    """
    task = task_of(study, depth, inputs, study.cache)
    if task not in study.runners:
        shapes = study.network.abstract_params(study.plan.size, auxiliary=True)
        runs = study.plan.seeds * len(study.factors)
        study.runners[task] = runner_for(task, shapes, inputs, runs, study.settings.batch)
    return study.runners[task]


def _together(shared: Shared, group: Sequence[PlannedRun]) -> Iterator[tuple[PlannedRun, Outcome]]:
    for planned in group:
        shared.progress.start(planned)
    try:
        results = _train(shared, group)
    except FAILURES as error:
        reason = f"{type(error).__name__}: {error!s}".splitlines()[0]
        hosts.meet(reason)
        if len(group) > 1:  # one of them may be to blame: each alone, so that the others go on
            for planned in group:
                yield from _together(shared, [planned])
            return
        config = shared.study.config.to_dict()
        results = [Outcome(result_of(shared.study, group[0], FAILED, reason), config=config)]
    yield from zip(group, results, strict=True)


def _train(shared: Shared, group: Sequence[PlannedRun]) -> list[Outcome]:
    """Runs and rates that stack are trained as one; else each alone."""
    heap.give_back_freed()
    tries = [tried for planned in group for tried in shared.tries(planned)]
    candidates: list[Candidate] = []
    try:
        for stack in stacks(shared, tries):
            candidates += fitted(shared, stack)
    except KeyboardInterrupt:
        _keep(shared, tries, candidates)
        raise
    each = len(shared.study.factors)
    by_run = [candidates[at : at + each] for at in range(0, len(tries), each)]
    return [_outcome(shared, *pair) for pair in zip(group, by_run, strict=True)]


def stacks(shared: Shared, tries: Sequence[Try]) -> list[Sequence[Try]]:
    """Those that are trained together in a phase."""
    return [tries] if shared.runner.stacks else [[tried] for tried in tries]


def fitted(
    shared: Shared, tries: Sequence[Try], settings: Settings | None = None
) -> list[Candidate]:
    """Train together, one phase after another, each from the best snapshot of the phase before.

    One that diverges has no further phase. settings: where not those of the study.
    """
    reached: dict[int, Candidate] = {}
    for phase in (*shared.before, shared):
        going = [n for n in range(len(tries)) if n not in reached or not reached[n].fitted.failure]
        starts = [phase.begun(tries[n], reached.get(n)) for n in going]
        found = [c for stack in stacks(phase, starts) for c in _fitted(phase, stack, settings)]
        for number, candidate in zip(going, found, strict=True):
            reached[number] = replace(candidate, before=reached.get(number))
    return [reached[number] for number in range(len(tries))]


def _fitted(shared: Shared, tries: Sequence[Try], settings: Settings | None) -> list[Candidate]:
    """One phase. Each takes an equal share of the time, with what an interrupted stack took before."""
    if not tries:
        return []
    began, study = time.perf_counter(), shared.study
    partials = [shared.partial(tried) for tried in tries]
    fits = fit(
        shared.runner,
        [tried.run for tried in tries],
        shared.inputs,
        settings or study.settings_of(shared.depth),
        study.capacity,
        # Its last bit may differ between hosts, and decides when all of them stop.
        lambda labels, logits: hosts.of_first(
            study.metric(labels, study.dataset.objective.log_odds(logits))
        ),
        lambda number, epoch: shared.epoch(tries[number], epoch),
        partials,
    )
    seconds = time.perf_counter() - began
    return [
        Candidate(tried.factor, tried.run, fitted, (partial.seconds + seconds) / len(tries))
        for tried, fitted, partial in zip(tries, fits, partials, strict=True)
    ]


def _keep(shared: Shared, tries: Iterable[Try], candidates: Iterable[Candidate]) -> None:
    """What is trained of an interrupted search waits on disk: nothing but its snapshot and epochs will be read."""
    if not hosts.first():
        return
    for tried, candidate in zip(tries, candidates, strict=False):
        state = TrainState.of(shared.runner.task, tried.run.params)
        replace(shared.partial(tried), seconds=candidate.seconds).keep(state, candidate.fitted)


def _outcome(shared: Shared, planned: PlannedRun, candidates: Sequence[Candidate]) -> Outcome:
    """All that a run leaves behind."""
    began, study, best = time.perf_counter(), shared.study, search.chosen(candidates)
    outcome = _judged(shared, planned, candidates)
    trained = sum(candidate.all_seconds for candidate in candidates)
    epochs = sum(len(candidate.whole.history) for candidate in candidates)
    timing = {
        "seconds": trained + time.perf_counter() - began,
        "epoch_seconds": trained / max(epochs, 1),
    }
    return replace(
        outcome,
        history=best.whole.history,
        search=search.curves(candidates),
        timing=timing,
        config=study.config.to_dict(),
        kept=checkpoint_of(study, best) if study.config.training.keep_weights else None,
    )


def _judged(shared: Shared, planned: PlannedRun, candidates: Sequence[Candidate]) -> Outcome:
    """The figures of the chosen candidate's best snapshot, and its scores of test and validation images."""
    study, searched = shared.study, search.record(candidates)
    if reason := search.failure(candidates):
        return Outcome({**result_of(study, planned, FAILED, reason), **searched})
    candidate = search.chosen(candidates)
    fitted, best = candidate.whole, candidate.whole.best
    assert fitted.params is not None and best is not None
    params = merged({**candidate.run.params, **fitted.params})
    subset, classes = study.subsets[planned.fraction, planned.seed], study.dataset.classes

    test, scores = shared.scored(params, study.test)
    result = {
        **result_of(study, planned, DONE, None),
        "validation": best.validation,
        "test": study.metric(test.labels[test.judged], scores[test.judged]),
        "best_epoch": best.epoch,
        "epochs": len(fitted.history),
        "still_improving": still_improving(best.epoch, len(fitted.history)),
        "steps": fitted.history[-1].batches,
        "train_images": len(subset.train),
        "val_images": len(subset.valid),
        **candidate.rates,
        **candidate.phases,
        **searched,
        **study.application.evaluate(study.dataset, scores),
    }
    valid, valid_scores = shared.scored(params, subset.valid)
    return Outcome(
        result,
        scores=score_rows(test, classes, scores),
        validation=score_rows(valid, classes, valid_scores),
    )


def result_of(study: Study, run: PlannedRun, status: str, reason: str | None) -> dict[str, Any]:
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


def checkpoint_of(study: Study, best: Candidate) -> weights.Checkpoint | None:
    """The best snapshot as a checkpoint; None where there is none."""
    if best.fitted.params is None:
        return None
    made_by = {"source": "trained by medtune", "from": study.source.provenance}
    return weights.Checkpoint(
        study.network.name,
        merged({**best.run.params, **best.fitted.params}),
        replace(study.source.preprocessing, size=study.plan.size),
        {**made_by, "config": study.config.to_dict()},
        study.network.classes,
    )
