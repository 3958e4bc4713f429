"""A layer-wise study: every depth, training-set size and seed of a config, resumable at any moment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import jax
from ml_collections import ConfigDict

from medtune_jax import signals
from medtune_jax.errors import UserError
from medtune_jax.fields import items
from medtune_jax.networks import parameter_count
from medtune_jax.paths import written_to
from medtune_jax.sharing.claims import Claims, LostError
from medtune_jax.study.check import short_form
from medtune_jax.study.jobs import Board, Job, Ours, jobs
from medtune_jax.study.plan import PlannedRun
from medtune_jax.study.prepare import Study, prepare, without_weights
from medtune_jax.study.progress import Progress
from medtune_jax.study.prune import check_names, prune
from medtune_jax.study.runs import outcomes
from medtune_jax.study.store import Attempt, versions
from medtune_jax.training import devices
from medtune_jax.training.devices import hosts
from medtune_jax.words import count


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
    _check_same(study)
    plan, store = study.plan, study.store
    known = [*(depth.name for depth in plan.depths), *(run.name for run in plan.runs)]
    check_names(items(config.training.keep), known)
    with progress_of(study, quiet or not hosts.first()) as progress:
        claims = Claims(store.directory / "claims", lambda: progress.doing)
        board = Board(plan, store, claims, progress.skip, progress.note, before)
        say_what_was_read(study, progress)
        _expect(study, board, progress)
        _state_weights(study, progress)
        for job, ours in board.claimed():
            with suppress(LostError), ours, signals.deferred():
                _do(study, job, board, ours, progress)
        # With our runs, should another launcher have added its own at the same moment.
        store.open(store.manifest)
        if _finished(study):
            _prune(study, progress)
            _explain(study, progress)
    return store.directory


def _finished(study: Study) -> bool:
    """Whether there are networks to keep, this host is to do so, and no other sweep of this study is still at work."""
    if not study.config.training.keep_weights or not hosts.first():
        return False
    runs = study.store.manifest["runs"]
    return all(study.store.result(run["run"]) is not None for run in runs)


def _prune(study: Study, progress: Progress) -> None:
    """Of a finished study the weights of the answer stay, and those that the config names."""
    training = study.config.training
    for line in str(prune(study.store.directory, training.keep)).splitlines():
        progress.note(line)


def _explain(study: Study, progress: Progress) -> None:
    """What the recommended networks went by in the test set, for the report; without it the study is no less done."""
    if jax.process_count() > 1:
        return  # the others, which computing would wait for, are done
    try:
        study.store.keep(study.application.explain(study.dataset, study.store.directory))
    except (UserError, RuntimeError, MemoryError) as error:
        progress.note(f"no maps for the report: {error}".splitlines()[0])


def _check_same(study: Study) -> None:
    """All processes that train together must plan the same runs, of the same code."""
    here = json.dumps([study.plan.identity, study.plan.manifest(), versions()])
    if not hosts.same(hashlib.sha256(here.encode()).hexdigest()):
        raise UserError(
            "the processes of this run do not plan the same: start all with the same command, data, weights "
            "and versions of all packages"
        )


def progress_of(study: Study, quiet: bool = False) -> Progress:
    """What counts the runs of a study and guesses when all will be done."""
    runs = study.plan.runs
    return Progress(runs, [_cost(study, run) for run in runs], study.metric.title, quiet)


def _do(study: Study, job: Job, board: Board, ours: Ours, progress: Progress) -> None:
    """What is left of a job. Raises LostError once it is another launcher's."""
    waiting = board.waiting(job)
    if hosts.first():
        study.store.clear({run.name for run in waiting})
    for run, outcome in outcomes(study, job.depth, waiting, progress, ours.check):
        ours.check()
        with signals.saving(), written_to(study.store.directory):
            study.store.write(run.name, outcome)
        ours.settle(run.name)
        board.close(run)
        progress.finish(run, outcome.result)
        hosts.check()


def say_what_was_read(study: Study, progress: Progress) -> None:
    """The short form of `medtune check`."""
    for line in short_form(study.dataset, study.application.words):
        progress.note(line)
    if new := without_weights(study.plan, study.source):
        progress.note(
            f"weights: none for {', '.join(new)} at {study.plan.size} px: these start anew at every depth"
        )


def _expect(study: Study, board: Board, progress: Progress) -> None:
    """Tell the cache which depths are to come, and the user what they will keep."""
    waiting = {job.depth for job in jobs(study.plan) if board.waiting(job)}
    known = [d for d in study.plan.depths if d in waiting and not d.scratch]
    depths = [phase for depth in known for phase in depth.steps if not phase.brief]
    once = all(len(depth.steps) == 1 for depth in known)
    boundaries = study.cache.expect([depth.tuned[0] for depth in depths], in_order=once)
    where = {"device": "on the device", "host": "in memory", "disk": "on disk"}
    for depth, boundary in zip(depths, boundaries, strict=True):
        if boundary.place:
            progress.note(
                f"{depth.label}: starts from the features before {boundary.stage}, "
                f"{boundary.bytes / 2**20:,.1f} MiB {where[boundary.place]}"
            )
        else:
            how = ", augmented in every epoch" if study.augments(depth) else ""
            progress.note(f"{depth.label}: starts from the patches{how}")


def _state_weights(study: Study, progress: Progress) -> None:
    """How much disk the networks will take."""
    if not study.config.training.keep_weights:
        return
    each = 4 * parameter_count(study.network.abstract_params(study.plan.size)) / 2**20
    runs, seeds = len(study.plan.runs), study.plan.seeds
    progress.note(
        f"weights: up to {each * runs:,.1f} MiB on disk for {count(runs, 'runs')}, {each * seeds:,.1f} MiB when "
        f"all are done and only the recommended depth is kept (training.keep)"
    )


def _cost(study: Study, run: PlannedRun) -> float:
    """A guess at a run's share of the time: training patches times tuned stages. Only the ETA uses it."""
    patches = len(study.subsets[run.fraction, run.seed].train)
    return patches * (3 + len(run.depth.tuned)) ** 2
