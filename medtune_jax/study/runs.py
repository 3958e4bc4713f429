"""The runs of one depth, from starting parameters to scores; those that pay to stack train together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import jax
import numpy as np

from medtune_jax import networks, tuning, weights
from medtune_jax.evaluation import log_odds
from medtune_jax.evaluation.scores import score_rows
from medtune_jax.networks import Network, Params, Rates
from medtune_jax.study.plan import PlannedRun
from medtune_jax.study.prepare import Study
from medtune_jax.study.progress import Progress
from medtune_jax.study.store import DONE, FAILED, Outcome
from medtune_jax.training import Fitted, Inputs, Partial, Program, Run, fit, predict
from medtune_jax.training.stacking import stacking_pays

_FAILURES = (RuntimeError, ValueError, ArithmeticError, MemoryError)


@dataclass(frozen=True)
class _Depth:
    """What the runs of a depth share."""

    study: Study
    depth: tuning.Depth
    program: Program
    inputs: Inputs
    progress: Progress


def outcomes(
    study: Study, depth: tuning.Depth, waiting: Sequence[PlannedRun], progress: Progress
) -> Iterator[tuple[PlannedRun, Outcome]]:
    """Train the waiting runs of a depth; a run that fails has its reason as outcome."""
    if not waiting:
        return
    inputs = study.features.inputs(depth.tuned[0], pretrained=not depth.scratch)
    shared = _Depth(study, depth, _program(study, depth, inputs), inputs, progress)
    for group in _groups(shared, waiting):
        yield from _together(shared, group)


def _program(study: Study, depth: tuning.Depth, inputs: Inputs) -> Program:
    """Depths that train the same stages on the same inputs (the deepest, and from scratch) share theirs."""
    trained, training = _trained(study, depth), study.config.training
    known = trained, inputs.start
    if known not in study.programs:
        study.programs[known] = Program(
            study.network,
            trained,
            inputs.start,
            inputs.fetch,
            study.features.dtype,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
        )
    return study.programs[known]


def _groups(shared: _Depth, waiting: Sequence[PlannedRun]) -> Iterator[list[PlannedRun]]:
    """The seeds of one fraction, which take equally many steps (but for the balance of their classes), or each run."""
    for _, runs in groupby(waiting, key=lambda run: run.fraction):
        group = list(runs)
        if len(group) > 1:
            params = _start(shared, group[0])[0]
            pays = stacking_pays(
                shared.program, params, shared.inputs, len(group), shared.study.settings
            )
            if pays:
                yield group
                continue
        yield from ([run] for run in group)


def _together(shared: _Depth, group: Sequence[PlannedRun]) -> Iterator[tuple[PlannedRun, Outcome]]:
    for run in group:
        shared.progress.start(run)
    try:
        found = _train(shared, group)
    except _FAILURES as error:
        if len(group) > 1:  # one of them may be to blame: each alone, so that the others go on
            for run in group:
                yield from _together(shared, [run])
            return
        study = shared.study
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        result = _result(study, group[0], FAILED, reason)
        found = [Outcome(result, config=study.config.to_dict())]
    yield from zip(group, found, strict=True)


def _start(shared: _Depth, planned: PlannedRun) -> tuple[Params, tuple[str, ...]]:
    study = shared.study
    return starting_params(
        study.network,
        study.source,
        shared.depth,
        planned.seed,
        study.plan.size,
        study.config.training.auxiliary,
    )


def _run(shared: _Depth, planned: PlannedRun) -> Run:
    study = shared.study
    subset = study.subsets[planned.fraction, planned.seed]
    params, new = _start(shared, planned)
    rates = tuning.group_rates(
        study.network,
        shared.depth,
        new,
        _rates(study),
        study.config.rates.stage_decay,
        shared.program.tuned,
    )
    return Run(params, rates, subset.train, subset.valid, planned.seed)


def _train(shared: _Depth, group: Sequence[PlannedRun]) -> list[Outcome]:
    began, study = time.perf_counter(), shared.study
    runs = [_run(shared, planned) for planned in group]
    partials = [Partial(study.store.partial(planned.run)) for planned in group]
    fitted = fit(
        shared.program,
        runs,
        shared.inputs,
        study.dataset.labels,
        study.settings,
        study.capacity,
        lambda labels, logits: study.metric(labels, log_odds.of_logits(logits)),
        lambda number, epoch: shared.progress.epoch(group[number], epoch),
        # Several hosts would not agree on when a write is due.
        partials if jax.process_count() == 1 else (),
    )
    training = (time.perf_counter() - began) / len(group)
    found = []
    for planned, run, own, partial in zip(group, runs, fitted, partials, strict=True):
        began = time.perf_counter()
        outcome = _outcome(shared, planned, run, own)
        trained = partial.seconds + training  # a member of a stack took its share
        timing = {
            "seconds": trained + time.perf_counter() - began,
            "epoch_seconds": trained / max(len(own.history), 1),
        }
        config = study.config.to_dict()
        kept = _kept(study, run, own)
        found.append(Outcome(outcome.result, own.history, outcome.scores, timing, config, kept))
    return found


def _outcome(shared: _Depth, planned: PlannedRun, run: Run, fitted: Fitted) -> Outcome:
    study = shared.study
    if fitted.failure:
        return Outcome(_result(study, planned, FAILED, fitted.failure))
    assert fitted.params is not None
    logits = predict(
        shared.program,
        fitted.params,
        tuning.split(run.params, shared.program.tuned)[1],
        shared.inputs,
        study.test,
        run.rates,
        study.settings,
        study.capacity,
    )
    return _scored(study, planned, fitted, logits)


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


def _scored(study: Study, planned: PlannedRun, fitted: Fitted, logits: np.ndarray) -> Outcome:
    dataset, best = study.dataset, fitted.best
    test, member = dataset.test_set
    scores = test.scores(logits, member)
    subset = study.subsets[planned.fraction, planned.seed]
    assert best is not None
    result = {
        **_result(study, planned, DONE, None),
        "validation": best.validation,
        "test": study.metric(test.labels[test.judged], scores[test.judged]),
        "best_epoch": best.epoch,
        "epochs": len(fitted.history),
        "steps": fitted.history[-1].batches,
        "train_images": len(subset.train),
        "val_images": len(subset.valid),
        **study.application.evaluate(dataset, scores),
    }
    return Outcome(result, scores=score_rows(test, dataset.classes, scores))


def _result(study: Study, run: PlannedRun, status: str, reason: str | None) -> dict[str, Any]:
    return {
        "run": run.run,
        "network": study.network.name,
        "depth": run.depth,
        "fraction": run.fraction,
        "seed": run.seed,
        "status": status,
        "reason": reason,
        "metric": study.metric.name,
        "validation": None,
        "test": None,
    }


def starting_params(
    network: Network,
    source: weights.Checkpoint,
    depth: tuning.Depth,
    seed: int,
    size: int,
    auxiliary: bool = True,
) -> tuple[Params, tuple[str, ...]]:
    """(parameters a run starts from, names of the stages that are new in them)."""
    # The new head of a pre-trained network is drawn as its authors drew it: Caffe's Gaussian.
    filler, key = depth.filler or "gaussian", jax.random.key(seed)
    if depth.scratch:
        sides = auxiliary and bool(network.auxiliary)
        initial = networks.initial_params(network, key, filler, size, sides)
        return initial, tuple(initial)
    absent = [name for name in network.names if name not in source.params]
    drawn = networks.initial_params(network, key, filler, size, only={*absent, network.head})
    initial = {**network.abstract_params(size), **drawn}
    return weights.transplant(source.params, initial, network)


def _trained(study: Study, depth: tuning.Depth) -> tuple[str, ...]:
    """The tuned stages, and the side heads that exist only while they are trained."""
    if not (depth.scratch and study.config.training.auxiliary):
        return depth.tuned
    return (*depth.tuned, *(side.stage.name for side in study.network.auxiliary))


def _rates(study: Study) -> Rates:
    own, given = study.network.rates, study.config.rates
    return Rates(given.tuned or own.tuned, given.head or own.head, given.scratch or own.scratch)
