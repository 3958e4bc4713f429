"""A layer-wise study: every depth, training-set size and seed of a config, resumable at any moment."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ml_collections import ConfigDict

from medtune_jax import signals
from medtune_jax.applications.splits import by_class
from medtune_jax.evaluation.labels import several
from medtune_jax.folders import named
from medtune_jax.paths import written_to
from medtune_jax.sharing.claims import Claims, LostError
from medtune_jax.study.jobs import Board, Job, Ours, jobs
from medtune_jax.study.plan import PlannedRun
from medtune_jax.study.prepare import Study, prepare
from medtune_jax.study.progress import Progress
from medtune_jax.study.runs import outcomes
from medtune_jax.study.store import Attempt
from medtune_jax.training import devices
from medtune_jax.words import count

_CLASSES = 20  # shown on the screen


def sweep(
    config: ConfigDict,
    output: str | Path,
    quiet: bool = False,
    before: Mapping[str, Attempt] | None = None,
) -> Path:
    """Run what is not done yet of the config's study under `output`, and return that directory.

    Any number of launchers may do so at once, on hosts that share the directory: each takes what is left, and all
    return when nothing is. A run that fails is recorded with its reason and the others go on. Raises UserError for bad
    input and for a disk that refuses; what is finished stays finished.

    before: which attempts had failed when this launcher was submitted (`Board`).
    """
    devices.start(config.device)
    study = prepare(config, output)
    plan, store = study.plan, study.store
    with progress_of(study, quiet) as progress:
        claims = Claims(store.directory / "claims", lambda: progress.doing)
        board = Board(plan, store, claims, progress.skip, progress.note, before)
        say_what_was_read(study, progress)
        _expect(study, board, progress)
        for job, ours in board.claimed():
            with suppress(LostError), ours, signals.deferred():
                _do(study, job, board, ours, progress)
    store.open(
        store.manifest
    )  # with our runs, should another launcher have added its own at the same moment
    return store.directory


def progress_of(study: Study, quiet: bool = False) -> Progress:
    """What counts the runs of a study and guesses when all will be done."""
    runs = study.plan.runs
    return Progress(runs, [_cost(study, run) for run in runs], study.metric.title, quiet)


def _do(study: Study, job: Job, board: Board, ours: Ours, progress: Progress) -> None:
    """What is left of a job. Raises LostError once it is another launcher's."""
    waiting = board.waiting(job)
    for run in waiting:
        study.store.clear(run.name)
    for run, outcome in outcomes(study, job.depth, waiting, progress, ours.check):
        ours.check()
        with signals.saving(), written_to(study.store.directory):
            study.store.write(run.name, outcome)
        ours.settle(run.name)
        board.close(run)
        progress.finish(run, outcome.result)
        signals.check()


def say_what_was_read(study: Study, progress: Progress) -> None:
    """What the user should know of the data, what of them is not used, and who of each class is on which side."""
    dataset, words = study.dataset, study.application.words
    who = words.groups if dataset.groups_known else words.cases
    for note in dataset.notes:
        progress.note(f"data: {note}")
    if dataset.passed_over:
        progress.note(f"data: passed over {named(dataset.passed_over)}")
    table, noun = by_class(dataset), "finding" if several(dataset.labels) else "class"
    for name, sides in list(table.items())[:_CLASSES]:
        train, test = (count(sides[side][0], who) for side in ("train", "test"))
        progress.note(f"{noun} {name}: {train} to train and validate on, {test} to test")
    if len(table) > _CLASSES:
        progress.note(f"... and {len(table) - _CLASSES} more: study.json has all")


def _expect(study: Study, board: Board, progress: Progress) -> None:
    """Tell the cache which depths are to come, and the user what they will keep."""
    waiting = {job.depth for job in jobs(study.plan) if board.waiting(job)}
    depths = [d for d in study.plan.depths if d in waiting and not d.scratch]
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
