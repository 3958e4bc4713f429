"""One worker: a launcher that an engine started.

`python -m medtune_jax.executors.worker FOLDER PARENT [--cores=0,1]`; PARENT: the process that it ends with.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

# What takes long to import is imported where it is used, after the cores are chosen and signals are obeyed.
_PR_SET_PDEATHSIG = 1  # prctl.h


def work(folder: str) -> None:
    """Do jobs of the study that a submission's folder lies in, until none is left.

    To be called in the main thread of a process of its own. A signal, or `medtune cancel`, ends it as it ends a
    launcher: SystemExit with the codes of `signals`.
    """
    from medtune_jax import signals

    try:
        signals.say_at_the_end(signals.RUNS_KEPT)
        signals.listen()
        _work(Path(folder))
    except KeyboardInterrupt:
        sys.exit(signals.farewell())


def _work(folder: Path) -> None:
    from medtune_jax.executors.submission import read
    from medtune_jax.sharing.cancel import obey_cancel

    submission = read(folder)
    if submission.cancelled_since():
        return
    obey_cancel(submission.study, submission.cancelled)
    with suppress(OSError):  # a host without that folder can still do a study of whole paths
        os.chdir(submission.directory)

    from ml_collections import ConfigDict

    from medtune_jax.compilation import keep_programs
    from medtune_jax.study import sweep
    from medtune_jax.training.devices import hosts

    keep_programs()
    sweep(ConfigDict(submission.config), submission.study, before=submission.before)
    hosts.leave()


def die_with_parent(parent: int) -> None:
    """Be asked to stop when the process of that number, which started this one, is gone, however it went. Linux."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it went before
        os.kill(os.getpid(), signal.SIGTERM)


def _main(folder: str, parent: str, cores: str = "") -> None:
    from medtune_jax.errors import UserError

    if cores:
        os.sched_setaffinity(0, [int(core) for core in cores.removeprefix("--cores=").split(",")])
    die_with_parent(int(parent))
    try:
        work(folder)
    except UserError as error:
        print(f"medtune: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    _main(*sys.argv[1:])
