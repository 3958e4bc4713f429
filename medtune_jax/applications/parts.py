"""Long predictions in parts: bounded memory, reading beside computing, and going on where one was interrupted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from medtune_jax import signals
from medtune_jax.applications.ensemble import Ensemble
from medtune_jax.applications.kept import keep, read_kept
from medtune_jax.paths import SUMS, discard
from medtune_jax.progress import reported, say

Item = TypeVar("Item")
Data = TypeVar("Data")
Arrays = dict[str, np.ndarray]
_FOLDER = ".unfinished"


def in_parts(
    items: Sequence[Item],
    size: int,
    read: Callable[[Sequence[Item]], Data],
    work: Callable[[Data], Arrays],
    folder: Path,
    key: str,
    what: str,
) -> list[Arrays]:
    """work(read(part)) of each part of `size` items; one part is read while the one before it is computed.

    folder: the output, where what is done waits until all is; a later call with the same `key` (`key_of`) goes on from
    there. what: of the items, for the progress.
    """
    parts = [items[at : at + size] for at in range(0, len(items), size)]
    waiting = folder / _FOLDER / key
    done = [read_kept(waiting / f"{number:06d}.npz") for number in range(len(parts))]
    if any(part is not None for part in done):
        say(f"{sum(part is not None for part in done)} of {len(parts)} parts are done already")
        signals.say_at_the_end(signals.PARTS_KEPT)
    missing = [number for number, part in enumerate(done) if part is None]
    ahead = _one_ahead(read, [parts[number] for number in missing])
    for number, data in zip(missing, reported(ahead, len(missing), what), strict=True):
        signals.check()
        result = work(data)
        keep(waiting / f"{number:06d}.npz", **result)
        signals.say_at_the_end(signals.PARTS_KEPT)
        done[number] = result
    return [part for part in done if part is not None]


def finished(folder: Path) -> None:
    """Remove what waited, now that the output is written."""
    discard(folder / _FOLDER)


def key_of(ensemble: Ensemble, options: Mapping[str, Any], paths: Sequence[Path]) -> str:
    """A digest of all that decides a prediction: networks, options, and the files by name, size and time."""
    digest = hashlib.sha256(repr(sorted(options.items())).encode())
    for member in ensemble.members:
        sums = member.run / "weights" / SUMS if member.run else None
        digest.update(sums.read_bytes() if sums and sums.is_file() else repr(member.run).encode())
    for path in paths:
        state = path.stat()
        digest.update(f"{path.absolute()} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def _one_ahead(
    read: Callable[[Sequence[Item]], Data], parts: Sequence[Sequence[Item]]
) -> Iterator[Data]:
    """Each part read, the next one by another thread meanwhile."""
    with ThreadPoolExecutor(1) as reader:
        coming = [reader.submit(read, part) for part in parts[:1]]
        for part in [*parts[1:], None]:
            if not coming:
                return
            data = coming.pop().result()
            if part is not None:
                coming.append(reader.submit(read, part))
            yield data
