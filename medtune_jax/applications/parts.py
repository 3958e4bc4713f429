"""How every task predicts: in parts of bounded memory, read beside computing, going on where one was interrupted; what
cannot be read is listed at the end.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from medtune_jax import signals
from medtune_jax.applications.ensemble import Ensemble
from medtune_jax.applications.kept import keep, read_kept
from medtune_jax.applications.protocol import Predicted
from medtune_jax.errors import UserError
from medtune_jax.images import reason
from medtune_jax.paths import SUMS, discard
from medtune_jax.progress import reported, say

Item = TypeVar("Item")
Data = TypeVar("Data")
Arrays = dict[str, np.ndarray]
TABLES = ("predictions.csv", "metrics.csv", "frames.csv", "volumes.csv", "thickness.csv")
_FOLDER = ".unfinished"
_PLACE, _BAD = "place", "bad"
_SHOWN = 20


class Steps(NamedTuple):
    """What a task does with its inputs.

    read: some inputs -> of each what was read, or why it cannot be. work: which of all inputs could be read, int [n],
    and what was read -> what is kept of them until all are done; called for n > 0, and writes its pictures itself.
    write: the inputs that could be read, int [N], and what `work` made of each part -> what to tell of the tables.
    size: of a part; as much is read ahead. noun: for the progress.
    """

    read: Callable[[Sequence[Any]], Sequence[Any]]
    work: Callable[[np.ndarray, Sequence[Any]], Arrays]
    write: Callable[[np.ndarray, Sequence[Arrays]], list[str]]
    size: int
    noun: str


def predicted(
    ensemble: Ensemble,
    steps: Steps,
    items: Sequence[Any],
    paths: Sequence[Path],
    output: Path,
    options: Mapping[str, Any],
    lost: Sequence[str] = (),
) -> Predicted:
    """Take all inputs through the steps, and remove what waited in `output` once its tables are written.

    paths: all files that are read; with `options` they decide what `work` makes. lost: why inputs that are not among
    the items cannot be read. Raises UserError where none can.
    """

    def read(places: Sequence[int]) -> list[tuple[int, Any]]:
        return list(zip(places, steps.read([items[k] for k in places]), strict=True))

    def work(part: Sequence[tuple[int, Any]]) -> Arrays:
        good = [(k, data) for k, data in part if not isinstance(data, str)]
        bad = np.array([why for _, why in part if isinstance(why, str)], str)
        place = np.array([k for k, _ in good], int)
        made = steps.work(place, [data for _, data in good]) if good else {}
        return {**made, _PLACE: place, _BAD: bad}

    key, numbers = key_of(ensemble, options, paths), range(len(items))
    parts = in_parts(numbers, steps.size, read, work, output, key, steps.noun)
    bad = [*lost, *(line for part in parts for line in part[_BAD].tolist())]
    good = [part for part in parts if len(part[_PLACE])]
    said = _unreadable(bad, len(items) + len(lost))
    for table in TABLES:  # of an earlier prediction, which may have had labels
        (output / table).unlink(missing_ok=True)
    told = steps.write(np.concatenate([part[_PLACE] for part in good]), good) if good else []
    discard(output / _FOLDER)
    if not good:
        raise UserError(said)
    return Predicted("\n".join(told), said)


def each(
    read: Callable[[Any], Any], name: Callable[[Any], str] = str
) -> Callable[[Sequence[Any]], list[Any]]:
    """`read` of one input, on all cores, as that of `Steps`: what it raises says why an input cannot be read.

    name: of an input, for what nobody foresaw; a UserError gives the name itself.
    """

    def tried(item: Any) -> Any:
        try:
            return read(item)
        except UserError as error:
            return str(error)
        except Exception as error:  # one broken file among a thousand must not end the others
            return f"{name(item)}: {reason(error)}"

    def all_of(items: Sequence[Any]) -> list[Any]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(tried, items))

    return all_of


def joined(parts: Sequence[Arrays]) -> Arrays:
    """What `work` made of all parts: scores [S, N, C] along N, all else along its first axis."""
    return {
        name: np.concatenate([part[name] for part in parts], axis=int(name == "scores"))
        for name in parts[0]
    }


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


def key_of(ensemble: Ensemble, options: Mapping[str, Any], paths: Sequence[Path]) -> str:
    """A digest of all that decides a prediction: networks, options, and the files by name, size and time."""
    digest = hashlib.sha256(repr(sorted(options.items())).encode())
    for member in ensemble.members:
        sums = member.run / "weights" / SUMS if member.run else None
        digest.update(sums.read_bytes() if sums and sums.is_file() else repr(member.run).encode())
    for path in paths:
        state = path.stat()
        digest.update(os.fsencode(path.absolute()))  # a name need not be UTF-8
        digest.update(f" {state.st_size} {state.st_mtime_ns}\n".encode())
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


def _unreadable(bad: Sequence[str], count: int) -> str:
    """The sentence, and the list below it, of what could not be read; empty where all could."""
    if not bad:
        return ""
    more = f"\n  ... and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else ""
    listed = "\n  ".join(bad[:_SHOWN])
    others = ", the others are done" if len(bad) < count else ""
    return f"{len(bad):,} of {count:,} could not be used{others}; mend or remove:\n  {listed}{more}"
