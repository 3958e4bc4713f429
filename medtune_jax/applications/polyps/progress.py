"""Long preparations: on several cores, with lines that say when they will be done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import joblib

T = TypeVar("T")
_EVERY = 10.0  # seconds between lines
_TOGETHER = 8  # calls sent to a process at once: what they share is sent once


def parallel(
    function: Callable[..., T], arguments: Iterable[tuple[Any, ...]], jobs: int = -1
) -> Iterator[T]:
    """function(*a) for each a, in order, in `jobs` processes (-1: one a core; 1: in this one)."""
    pool = joblib.Parallel(jobs, batch_size=_TOGETHER, return_as="generator")
    return pool(joblib.delayed(function)(*each) for each in arguments)


def reported(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The items; every ten seconds a line on stderr with the count and the time left."""
    began = last = time.monotonic()
    for done, item in enumerate(items, 1):
        now = time.monotonic()
        if now - last >= _EVERY and done >= _TOGETHER:  # sooner would be a wild guess
            last = now
            left = round((now - began) * (total - done) / done)
            said(f"{what}: {done} of {total}, {left // 60}:{left % 60:02} left")
        yield item


def said(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)
