"""Signals that ask the program to stop: obeyed within seconds wherever it is, and never lost.

What a signal's handler raises can be lost (in a callback of the garbage collector it is printed and forgotten) or abort
the process (in a C++ library), and no handler runs while a compiled program does. So a thread ends the process, at once
where nothing would be lost. Training defers that: it asks for the flag between steps, saves its state, and has a grace
for it. Everything on disk is written whole, so that an end costs no more than what was not saved yet. A second Ctrl-C
ends at once.

Only the command line listens; who uses the package from Python keeps the handlers that are there.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from medtune_jax.paths import remove_unfinished

INTERRUPTED, AGAIN, HUNG_UP = 130, 75, 129  # 75 is EX_TEMPFAIL of sysexits.h: try again later
CODES = {
    signal.SIGINT: INTERRUPTED,
    signal.SIGTERM: AGAIN,  # Slurm's at a time limit or preemption, a cloud's, Kubernetes'
    signal.SIGUSR1: AGAIN,  # the warning that sbatch --signal=USR1@60 asks for
    signal.SIGHUP: HUNG_UP,
}
GRACE = 4.0  # seconds between a signal and the end, where it is deferred
_SPEECH = 1.0  # seconds that another thread has for its sentence

RUNS_KEPT = "finished runs are kept, the same command goes on from there"
PARTS_KEPT = "finished parts are kept, the same command goes on from there"

_asked = 0
_consequence = "the same command starts anew"
_deferred = 0
_writer = -1
_saving = threading.Lock()
_speaking = threading.Lock()
_spoken = threading.Event()


class Stop(KeyboardInterrupt):
    """A signal asked to stop."""


def listen() -> None:
    """Obey the signals in CODES from now on; those that the caller ignores (nohup) stay ignored. For a main thread.

    Raises Stop where one of them came before and was blocked.
    """
    global _writer
    reader, _writer = os.pipe()
    os.set_blocking(_writer, False)
    signal.set_wakeup_fd(_writer, warn_on_full_buffer=False)
    for number in CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    os.register_at_fork(after_in_child=_forget)
    threading.Thread(target=_watch, args=(reader,), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CODES)
    check()


def asked() -> int:
    """The number of the signal that asked to stop; 0 as long as none did."""
    return _asked


def check() -> None:
    """Raise Stop where a signal asked to."""
    if _asked:
        raise Stop


def say_at_the_end(consequence: str) -> None:
    """What an interruption means for the command that runs: a clause."""
    global _consequence
    _consequence = consequence


def adopt(number: int) -> None:
    """A signal that another process of the same run was sent; 0 is none."""
    global _asked
    _asked = _asked or number


def end(sentence: str, code: int) -> NoReturn:
    """From any thread: say why, and end the process at once."""
    written = _saving.acquire(timeout=GRACE)
    remove_unfinished()
    if _speaking.acquire(blocking=False):
        print(f"medtune: {sentence}", file=sys.stderr, flush=True)
        os._exit(code)
    if written:
        _saving.release()
    while True:  # another thread ends it
        time.sleep(GRACE)


def stop() -> None:
    """From any thread: end as by Ctrl-C, also where that is ignored. For a process that listens."""
    os.write(_writer, bytes([signal.SIGINT]))


@contextmanager
def deferred() -> Iterator[None]:
    """Here a signal does not end the process before the grace is over: what runs asks for it at moments that suit.

    Asked for once more in the end.
    """
    global _deferred
    _deferred += 1
    try:
        yield
    finally:
        _deferred -= 1
    check()


@contextmanager
def saving() -> Iterator[None]:
    """The end waits until what is written here is written, but for a second Ctrl-C."""
    with _saving:
        yield


def farewell() -> int:
    """Say that the program was interrupted, once, and return the exit code."""
    number = signal.Signals(_asked or signal.SIGINT)
    if _speaking.acquire(blocking=False):
        cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # a bar of progress hides it
        print(
            f"{cursor}medtune: interrupted ({number.name}); {_consequence}",
            file=sys.stderr,
            flush=True,
        )
        _spoken.set()
    else:
        _spoken.wait(_SPEECH)
    return CODES[number]


def over() -> None:
    """All is done: a signal that comes while the interpreter ends changes nothing."""
    for number in CODES:
        signal.signal(number, signal.SIG_IGN)


def _handle(number: int, _: object) -> None:
    global _asked
    _asked = _asked or number


def _watch(reader: int) -> None:
    """Python writes the number of every signal into the pipe, whatever the main thread is doing."""
    global _asked
    timer: threading.Timer | None = None
    while True:
        number = os.read(reader, 1)[0]
        if number not in CODES:
            continue
        if timer and number == signal.SIGINT:
            os._exit(farewell())
        if not timer:
            _asked = _asked or number
            timer = threading.Timer(GRACE if _deferred else 0, _end)
            timer.daemon = True
            timer.start()


def _end() -> None:
    with _saving:
        remove_unfinished()
        os._exit(farewell())


def _forget() -> None:
    """In a forked child, whose signals are its own affair."""
    signal.set_wakeup_fd(-1)
    for number in CODES:
        if signal.getsignal(number) is _handle:
            signal.signal(number, signal.SIG_DFL)
