"""The network that `tune` ends with: of the chosen depth, on all data but the test set, which it is scored on once."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from medtune_jax.applications.splits import Subset, whole_subset
from medtune_jax.evaluation.scores import score_rows
from medtune_jax.sharing.claims import Claim
from medtune_jax.study.plan import PlannedRun, digest
from medtune_jax.study.prepare import Study, capacity_of
from medtune_jax.study.probes import Probe, failures_named
from medtune_jax.study.progress import Progress
from medtune_jax.study.runs import Shared, checkpoint_of, fitted, result_of, shared_by
from medtune_jax.study.search import Candidate
from medtune_jax.study.store import DONE, FAILED, Outcome

FRACTION = 1.0


def make_room(study: Study) -> None:
    """The final network is trained on all training and validation data, under a seed that no look has had.

    It needs no validation data; some of its own are scored after each epoch and not looked at.
    """
    seed, balance = study.plan.seeds, study.config.training.balance
    index = whole_subset(study.dataset, seed, balance)
    study.subsets[FRACTION, seed] = Subset(index, study.subsets[FRACTION, 0].valid)
    study.capacity = capacity_of(study.subsets, study.settings)


def planned_final(study: Study, probe: Probe) -> PlannedRun:
    """Its name digests what was chosen."""
    depth = next(depth for depth in study.plan.depths if depth.name == probe.depth)
    chosen = (study.plan.identity, depth.name, probe.best_epochs, probe.factor)
    return PlannedRun(f"{depth.name}-final-{digest(chosen)[:8]}", depth, FRACTION, study.plan.seeds)


def train_final(
    study: Study, planned: PlannedRun, probe: Probe, progress: Progress, claim: Claim
) -> Outcome:
    """All that it leaves; a network that diverges has its reason."""
    began, epochs = time.perf_counter(), probe.best_epochs
    shared = shared_by(study, planned.depth, progress, claim.check)
    progress.start(planned)
    tried = next(tried for tried in shared.tries(planned) if tried.factor == probe.factor)
    settings = replace(study.settings, epochs=epochs, patience=epochs, keep_last=True)
    with failures_named(planned.depth):
        [candidate] = fitted(shared, [tried], settings)
        outcome = _judged(shared, planned, candidate)
    seconds = candidate.seconds
    timing = {
        "seconds": time.perf_counter() - began,
        "epoch_seconds": seconds / max(len(candidate.fitted.history), 1),
    }
    return replace(outcome, timing=timing, config=study.config.to_dict())


def _judged(shared: Shared, planned: PlannedRun, candidate: Candidate) -> Outcome:
    study, fit = shared.study, candidate.fitted
    history = [replace(epoch, validation=math.nan) for epoch in fit.history]
    if fit.failure or fit.params is None:
        return Outcome(result_of(study, planned, FAILED, fit.failure), history)
    test, scores = shared.scored({**candidate.run.params, **fit.params}, study.test)
    result = {
        **result_of(study, planned, DONE, None),
        "test": study.metric(test.labels[test.judged], scores[test.judged]),
        "best_epoch": len(history),
        "epochs": len(history),
        "steps": history[-1].batches,
        "train_images": len(candidate.run.train),
        "val_images": 0,
        **candidate.rates,
        **study.application.evaluate(study.dataset, scores),
    }
    rows = score_rows(test, study.dataset.classes, scores)
    return Outcome(result, history, rows, kept=checkpoint_of(study, candidate))
