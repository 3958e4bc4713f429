"""A study's workers: handed to an engine, looked after until nothing is left to do."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ml_collections import ConfigDict

from medtune_jax import signals
from medtune_jax.errors import UserError
from medtune_jax.executors.options import Executor, Workers
from medtune_jax.executors.submission import Submission, submissions, submit
from medtune_jax.sharing.claims import Claims
from medtune_jax.study.jobs import Board
from medtune_jax.study.prepare import Study, prepare
from medtune_jax.study.progress import Progress
from medtune_jax.study.sweep import progress_of, say_what_was_read
from medtune_jax.training import devices
from medtune_jax.training.devices.hosts import Place

_LOOK = 0.5  # seconds between looks at the study
_PATIENCE = 12.0  # seconds for cancelled workers to save their state


def launch(config: ConfigDict, output: str | Path, executor: Executor) -> Path:
    """Have the executor's workers run what is not done yet of the config's study, and return its directory.

    Returns when nothing is left to do; UserError where workers ended before, and for all that
    `sweep` refuses. Ctrl-C is a `signals.Stop` here; a sentence says what goes on.
    """
    if Place.of(os.environ):
        raise UserError(
            "the processes of one run are their own workers: leave out --executor, or start one process"
        )
    devices.start("cpu")  # this process trains nothing, and leaves the accelerators to the workers
    study = prepare(config, output)
    with progress_of(study) as progress:
        claims = Claims(study.store.directory / "claims")
        board = Board(study.plan, study.store, claims, progress.skip, progress.note)
        say_what_was_read(study, progress)
        left = board.left()
        if not left:
            return study.store.directory
        with signals.deferred():
            submission, workers = _workers(study, board, executor, progress)
            _watch(submission, board, workers, progress)
        if left := board.left():
            raise UserError(
                f"the workers ended and left {len(left)} jobs, the first is {left[0].name}: "
                f"see the logs in {submission.folder}, and run the same command again"
            )
    return study.store.directory


def _workers(
    study: Study, board: Board, executor: Executor, progress: Progress
) -> tuple[Submission, Workers]:
    """Those that an earlier launcher left, or new ones."""
    directory, left = study.store.directory, len(board.left())
    for earlier in submissions(directory)[-1:]:
        workers = executor.rejoin(earlier) if _same(earlier, study, executor) else None
        if workers and (alive := workers.alive()):
            progress.note(
                f"{executor.name} still has {alive} of the workers submitted before: waiting for those"
            )
            return earlier, workers
    submission = submit(directory, executor.name, study.config, board.attempts)
    count = executor.count(left)
    workers = executor.start(submission, count)
    progress.note(f"{count} workers ({executor.name}) for {left} jobs; logs: {submission.folder}")
    return submission, workers


def _same(earlier: Submission, study: Study, executor: Executor) -> bool:
    """Whether workers that were submitted before will do all that is asked for now."""
    return (
        earlier.executor == executor.name
        and earlier.config == study.config.to_dict()
        and not earlier.cancelled_since()
    )


def _watch(submission: Submission, board: Board, workers: Workers, progress: Progress) -> None:
    """Until nothing is left, or no worker. Raises signals.Stop where the study is cancelled, or a signal asks to."""
    left = board.left()
    while left and workers.alive():
        if signals.asked():
            progress.note(workers.stop())
            signals.check()
        if submission.cancelled_since():
            break
        time.sleep(_LOOK)
        before, left = len(left), board.left()
        if done := before - len(left):
            progress.note(f"{done} jobs done, {len(left)} left")
    if submission.cancelled_since():
        progress.note("cancelled by `medtune cancel`")
        _wait(workers)
        raise signals.Stop
    workers.close()


def _wait(workers: Workers) -> None:
    """Until the workers have ended, or have had time enough."""
    give_up = time.monotonic() + _PATIENCE
    while workers.alive() and time.monotonic() < give_up:
        time.sleep(_LOOK)
    workers.close()
