"""Long preparations: on several cores, and with word of when they will be done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")
_EVERY = 10.0  # seconds between the lines in a log


def parallel(
    function: Callable[..., T], arguments: Iterable[tuple[Any, ...]], jobs: int = -1, batch: int = 8
) -> Iterator[T]:
    """function(*a) for each a, in order, in `jobs` processes (-1: one a core; 1: in this one).

    batch: calls sent to a process at once; what they share is sent once.
    """
    import joblib  # takes a moment, which a command that prepares nothing should not wait for

    pool = joblib.Parallel(jobs, batch_size=batch, return_as="generator")
    results: Iterator[T] = pool(joblib.delayed(function)(*each) for each in arguments)
    return results


def reported(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The items, with the time left on stderr: a bar on a terminal, a line every ten seconds in a log."""
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(items, what, total, console=console)
        return
    began = last = time.monotonic()
    for done, item in enumerate(items, 1):
        now = time.monotonic()
        if now - last >= _EVERY:
            last = now
            left = clock((now - began) * (total - done) / done)
            say(f"{what}: {done} of {total}, {left} left")
        yield item


def say(text: str) -> None:
    """A line on stderr."""
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """M:SS, from an hour on H:MM:SS."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
