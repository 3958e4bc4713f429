"""Ending all who work at a study, wherever they are: a number in a file that all of them look at.

Every `medtune cancel` makes the number larger. Who began under a smaller one ends as by Ctrl-C, with its state saved;
who was submitted under a smaller one and begins late has nothing to do. So no host needs to reach another.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from medtune_jax import signals
from medtune_jax.paths import write_whole, written_to
from medtune_jax.sharing.claims import Claims, Lease

LOOK = 2.0  # seconds between looks at the number
_SETTLE = 15.0  # seconds that workers of this host and of others are given to be gone


def times_cancelled(study: Path) -> int:
    """How often a study was cancelled; 0 where never, or where the file cannot be read."""
    try:
        return int((study / "cancelled").read_text())
    except (OSError, ValueError):
        return 0


def obey_cancel(study: Path, since: int, look: float = LOOK) -> None:
    """From now on end this process as by Ctrl-C once the study is cancelled. For a process that listens to signals."""
    threading.Thread(target=_watch, args=(study, since, look), daemon=True).start()


def cancel(study: Path, engines: Callable[[], None] = lambda: None) -> list[Lease]:
    """Ask all who work at a study to end, then tell the engines; returns the leases that are still held after that.

    engines: takes what waits in queues out of them. UserError for a disk that refuses.
    """
    with written_to(study):
        write_whole(study / "cancelled", f"{times_cancelled(study) + 1}\n".encode())
    engines()
    claims, give_up = Claims(study / "claims"), time.monotonic() + _SETTLE
    while (held := claims.held()) and time.monotonic() < give_up:
        time.sleep(0.2)
    return held


def _watch(study: Path, since: int, look: float) -> None:
    while times_cancelled(study) <= since:
        time.sleep(look)
    print("medtune: cancelled by `medtune cancel`", file=sys.stderr, flush=True)
    signals.stop()
