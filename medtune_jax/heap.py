"""What the C library does with memory that is freed. For Linux with glibc; elsewhere nothing here has an effect."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h


def share() -> None:
    """One heap for all threads that are yet to come.

    To be called before any other thread: a second heap maps and clears large blocks anew each time, whatever
    `keep_freed` says, and the threads of XLA would share one that scikit-learn's libraries have made.
    """
    _set({_M_ARENA_MAX: 1})


def keep_freed() -> None:
    """Let the C library keep what is freed instead of giving it back to the system.

    XLA's CPU backend takes the memory of every step anew, more than a gigabyte for a batch of large images, and the
    system maps and clears it page by page each time: 30% of a step (docs/notes/memory.md).
    """
    _set({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1})  # no mapping of large blocks, no trimming


def give_back_freed() -> None:
    """Give back what the C library keeps free: of blocks of other sizes, what is done next could use a part only."""
    if libc := _glibc():
        libc.malloc_trim(0)


def _set(options: dict[int, int]) -> None:
    if libc := _glibc():
        for option, value in options.items():
            libc.mallopt(option, value)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
