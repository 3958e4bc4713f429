"""A layer-wise study: every depth, training-set size and seed of a config, resumable at any moment."""

from __future__ import annotations

import errno
from pathlib import Path

from ml_collections import ConfigDict

from medtune_jax.applications.splits import by_class
from medtune_jax.errors import UserError
from medtune_jax.folders import named
from medtune_jax.study.plan import PlannedRun
from medtune_jax.study.prepare import Study, prepare
from medtune_jax.study.progress import Progress
from medtune_jax.study.runs import outcomes
from medtune_jax.study.store import Outcome, Store
from medtune_jax.training import devices
from medtune_jax.tuning import Depth
from medtune_jax.words import count

_CLASSES = 20  # shown on the screen


def sweep(config: ConfigDict, output: str | Path, quiet: bool = False) -> Path:
    """Run what is not done yet of the config's study under `output`, and return that directory.

    A run that fails is recorded with its reason and the others go on. Raises UserError for bad input and for a disk
    that refuses; what is finished stays finished.
    """
    devices.start(config.device)
    study = prepare(config, output)
    waiting = {
        depth: [run for run in study.plan.of_depth(depth) if not study.store.settled(run.name)]
        for depth in study.plan.depths
    }
    costs = [_cost(study, run) for run in study.plan.runs]
    with Progress(study.plan.runs, costs, study.metric.title, quiet) as progress:
        _say_what_was_read(study, progress)
        _expect(study, waiting, progress)
        for depth in study.plan.depths:
            for run in study.plan.of_depth(depth):
                if run not in waiting[depth]:
                    progress.skip(run)
            for run, outcome in outcomes(study, depth, waiting[depth], progress):
                _write(study.store, run, outcome)
                progress.finish(run, outcome.result)
    return study.store.directory


def _say_what_was_read(study: Study, progress: Progress) -> None:
    """What the user should know of the data, what of them is not used, and who of each class is on which side."""
    dataset, words = study.dataset, study.application.words
    who = words.groups if dataset.groups_known else words.cases
    for note in dataset.notes:
        progress.note(f"data: {note}")
    if dataset.passed_over:
        progress.note(f"data: passed over {named(dataset.passed_over)}")
    table = by_class(dataset)
    for name, sides in list(table.items())[:_CLASSES]:
        train, test = (count(sides[side][0], who) for side in ("train", "test"))
        progress.note(f"class {name}: {train} to train and validate on, {test} to test")
    if len(table) > _CLASSES:
        progress.note(f"... and {len(table) - _CLASSES} more classes: study.json has all")


def _expect(study: Study, waiting: dict[Depth, list[PlannedRun]], progress: Progress) -> None:
    """Tell the cache which depths are to come, and the user what they will keep."""
    depths = [d for d in study.plan.depths if waiting[d] and not d.scratch]
    boundaries = study.cache.expect([depth.tuned[0] for depth in depths])
    where = {"device": "on the device", "host": "in memory", "disk": "on disk"}
    for depth, boundary in zip(depths, boundaries, strict=True):
        if boundary.place:
            progress.note(
                f"{depth.label}: starts from the features before {boundary.stage}, "
                f"{boundary.bytes / 2**20:,.1f} MiB {where[boundary.place]}"
            )
        else:
            progress.note(f"{depth.label}: starts from the patches")


def _cost(study: Study, run: PlannedRun) -> float:
    """A guess at a run's share of the time: training patches times tuned stages. Only the ETA uses it."""
    patches = len(study.subsets[run.fraction, run.seed].train)
    return patches * (3 + len(run.depth.tuned)) ** 2


def _write(store: Store, run: PlannedRun, outcome: Outcome) -> None:
    try:
        store.write(run.name, outcome)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"the disk of {store.directory} is full: free some space and run the same command again; "
                f"the finished runs are kept"
            ) from error
        raise UserError(f"cannot write to {store.directory}: {error.strerror}") from error
