"""The pixels of images: in memory, or decoded once into files of records where they are more than it should hold.

A file of records is named by a digest of what it holds: the paths, sizes and times of the files that the images come
from, and the side they are scaled to. So an interrupted decoding goes on where it was, a changed image is decoded anew
with its neighbours, and studies of the same images share the files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from medtune_jax.applications.image_folder.reader import read_images, stacked, try_read, unreadable
from medtune_jax.errors import UserError
from medtune_jax.patches import Records
from medtune_jax.paths import at_home, beside, make_room, user_cache, written_to
from medtune_jax.progress import reported, say
from medtune_jax.training.devices import hosts

SUFFIX = ".array_record"
_FORM = 2  # counts up when the same file would give other pixels
_FILE = 2**27  # bytes of pixels in a file of records: what an interruption costs
_AHEAD = 16  # images that are decoded before they are written
_GIB = 2**30


@dataclass(frozen=True)
class Pictures:
    """Images that are read one by one.

    keys: of each image a text that changes with all that decides its pixels. read: of rows among them that ascend, one
    after another uint8 [S, S, 3] RGB, or why one cannot be read.
    """

    keys: Sequence[str]
    read: Callable[[Sequence[int]], Iterable[np.ndarray | str]]


def pixels_of(paths: Sequence[Path], size: int, memory: ConfigDict) -> np.ndarray | Records:
    """uint8 [N,size,size,3] RGB of image files; see `held`."""
    if _fits(len(paths), size, memory):
        return read_images(paths, size)
    keys = [stamp(path) for path in paths]
    return held(
        Pictures(keys, lambda rows: read_ahead(rows, lambda k: try_read(paths[k], size))),
        size,
        memory,
    )


def held(pictures: Pictures, size: int, memory: ConfigDict) -> np.ndarray | Records:
    """uint8 [N,size,size,3] RGB; of more than `memory.images_gib` as Records.

    memory: of a config. Raises UserError that lists the images which cannot be read, and where `memory.disk_images_gib`
    or the disk is too small.
    """
    number = len(pictures.keys)
    if _fits(number, size, memory):
        return stacked(pictures.read(range(number)), number, size)
    folder = Path(at_home(memory.disk_dir)) if memory.disk_dir else user_cache() / "images"
    each = max(1, _FILE // (size * size * 3))
    parts = [range(number)[first : first + each] for first in range(0, number, each)]
    files = {folder / f"{_digest(pictures.keys, part, size)}{SUFFIX}": part for part in parts}
    with written_to(folder), hosts.one_of_a_host_first():
        folder.mkdir(parents=True, exist_ok=True)
        missing = {file: part for file, part in files.items() if not _used(file, len(part))}
        total, new = (size * size * 3 * sum(map(len, p.values())) for p in (files, missing))
        _make_room(folder, [*files], total, new, memory.disk_images_gib)
        if missing:
            try:
                _decode(pictures, missing)
            except RuntimeError as error:  # of array_record, for whatever the disk says
                raise UserError(
                    f"cannot write to {folder} ({error}): free some space, or give another disk by "
                    "--config.memory.disk_dir"
                ) from error
    return Records([*files], size, np.arange(number))


def stamp(path: Path) -> str:
    """A text that changes with a file; empty where there is none, which its reader tells of."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{path.absolute()} {status.st_size} {status.st_mtime_ns}"


def read_ahead(
    rows: Sequence[int], read: Callable[[int], np.ndarray | str]
) -> Iterator[np.ndarray | str]:
    """read(row) of each row in order, by several threads that are a few images ahead."""
    import grain

    source = grain.MapDataset.source(rows).map(read)
    threads = grain.ReadOptions(num_threads=os.cpu_count() or 1, prefetch_buffer_size=_AHEAD)
    return iter(source.to_iter_dataset(threads))


def _fits(number: int, size: int, memory: ConfigDict) -> bool:
    return bool(number * size * size * 3 <= memory.images_gib * _GIB)


def _digest(keys: Sequence[str], part: Sequence[int], size: int) -> str:
    """Of all that decides the pixels of a file of records."""
    digest = hashlib.sha256(f"{_FORM} {size}".encode())
    for row in part:
        digest.update(f"\n{keys[row]}".encode())
    return digest.hexdigest()[:32]


def _used(file: Path, images: int) -> bool:
    """Whether a file is there and whole; then it is the last that others make room of."""
    from array_record.python.array_record_module import ArrayRecordReader

    try:
        os.utime(file)
        with closing(ArrayRecordReader(str(file))) as reader:
            return reader.num_records() == images
    except (FileNotFoundError, RuntimeError):
        return False


def _make_room(folder: Path, files: Sequence[Path], total: int, new: int, limit: float) -> None:
    """Say what the images take on disk, all and those that are `new` (bytes), and see that it is there.

    The longest unused of other images go where they and these are more than `limit` GiB.
    """
    if total > limit * _GIB:
        raise UserError(
            f"the images take {_gib(total)} decoded, and memory.disk_images_gib is {limit:g}: raise it, or give a "
            "smaller image_size"
        )
    make_room(folder, SUFFIX, int(limit * _GIB) - total, keep=files)
    free = shutil.disk_usage(folder).free
    if new > free:
        raise UserError(
            f"the images take {_gib(new)} more in {folder}, whose disk has {_gib(free)} free: free some space, or give "
            "another disk by --config.memory.disk_dir"
        )
    done = "" if new == total else f", of which {_gib(total - new)} are there"
    say(
        f"images are streamed from disk (memory.images_gib): they take {_gib(total)} in {folder}{done}"
    )


def _gib(size: int) -> str:
    return f"{size / _GIB:.3g} GiB"


def _decode(pictures: Pictures, missing: Mapping[Path, Sequence[int]]) -> None:
    """Write the files of records that are missing, one after another."""
    from array_record.python.array_record_module import ArrayRecordWriter

    rows = [row for part in missing.values() for row in part]
    images = reported(iter(pictures.read(rows)), len(rows), "decoding images")
    bad: list[str] = []
    for file, part in missing.items():
        before = len(bad)
        with beside(file) as scratch:
            writer = ArrayRecordWriter(str(scratch), "group_size:1,uncompressed")
            for image in islice(images, len(part)):
                if isinstance(image, str):
                    bad.append(image)
                else:
                    writer.write(image.tobytes())
            writer.close()
            if len(bad) == before:
                scratch.replace(file)
    if bad:
        raise unreadable(bad, len(rows))
