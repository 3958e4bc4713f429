"""Who works at which job: leases as files on a file system that all launchers share.

A claim is a file JOB.NUMBER that is made exclusively (O_EXCL, atomic on NFS 3 and later as well); whose file has the
highest number has the job. Its owner renews it by a rename. Who finds it given back, or its owner dead, makes the next
number: of several who try, one succeeds. No file is ever removed, so that a number is never given twice, however late
another host sees what happened.

Whether an owner lives is told by its process where both are on one host, and elsewhere by a lease that changes. That is
measured by the onlooker's own clock from when it first saw it, so that no two clocks need agree.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from medtune_jax.paths import write_whole

BEAT = 5.0  # seconds between renewals
PATIENCE = 60.0  # seconds without one after which an owner on another host counts as dead

_SHOWN = 200  # characters
_LATEST = 1e11  # seconds since 1970


class LostError(Exception):
    """Another launcher has taken the job over, since it saw no renewal for too long."""


@dataclass(frozen=True)
class Lease:
    """What a claim's file says.

    node: of which boot and process namespace `pid` is a number. birth: when that process began, in the kernel's count.
    doing: for people. renewed: seconds since 1970 by the owner's clock, for people. settled: runs that need not run
    again, for who cannot see their folders yet.
    """

    job: str
    host: str = ""
    pid: int = 0
    node: str = ""
    birth: str = ""
    began: float = 0.0
    renewed: float = 0.0
    released: bool = False
    doing: str = ""
    settled: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """For people. Whoever may write to a study can write anything into a lease."""
        return f"{shown(self.host) or 'unknown host'}, process {self.pid}"

    @property
    def dead(self) -> bool:
        """Whether its owner is known to be dead; of another host's nothing is known."""
        return bool(self.node) and self.node == _node() and self.birth != _birth(self.pid)


class Claim:
    """A job that is ours until the `with` block ends; renewed by a thread meanwhile."""

    def __init__(self, path: Path, lease: Lease, doing: Callable[[], str], beat: float) -> None:
        self._path, self._lease, self._doing, self._beat = path, lease, doing, beat
        self._over = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def settle(self, run: str) -> None:
        """Note that a run is in place."""
        self._lease = replace(self._lease, settled=(*self._lease.settled, run))

    def check(self) -> None:
        """Raise LostError where the job is another's by now."""
        if self._lost:
            raise LostError

    def __enter__(self) -> Claim:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._write(released=True)

    def _renew(self) -> None:
        following = numbered(self._lease.job, number_of(self._path) + 1)
        while not self._over.wait(self._beat):
            self._lost = self._path.with_name(following).exists()
            self._write(doing=self._doing())

    def _write(self, **changes: object) -> None:
        self._lease = replace(self._lease, renewed=time.time(), **changes)  # type: ignore[arg-type]
        with suppress(OSError):  # a full disk: the next renewal may succeed
            write_whole(self._path, _bytes(self._lease))


@dataclass
class Claims:
    """The claims of a study, as one launcher sees and makes them.

    doing: what this launcher says of itself. OSError where the folder cannot be written.
    """

    folder: Path
    doing: Callable[[], str] = str
    beat: float = BEAT
    patience: float = PATIENCE
    _seen: dict[Path, tuple[bytes, float]] = field(default_factory=dict)
    _over: dict[str, Lease] = field(default_factory=dict)  # given back: such a file changes no more

    def take(self, job: str) -> Claim | None:
        """The job, or None where a living launcher has it."""
        name = _newest(self.folder).get(job)
        last = self.folder / name if name else None
        if last and self._held(last):
            return None
        now = time.time()
        pid = os.getpid()
        settled = self._read(last.name).settled if last else ()
        lease = Lease(
            job, socket.gethostname(), pid, _node(), _birth(pid), now, now, settled=settled
        )
        path = self.folder / numbered(job, number_of(last) + 1 if last else 1)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as stream:
                stream.write(_bytes(lease))
        except FileExistsError:
            return None
        return Claim(path, lease, self.doing, self.beat)

    def held(self) -> list[Lease]:
        """The leases that living launchers have."""
        names = [name for name in _newest(self.folder).values() if name not in self._over]
        return [self._read(name) for name in names if self._held(self.folder / name)]

    def settled(self) -> set[str]:
        """All runs that any launcher noted."""
        return {run for name in _newest(self.folder).values() for run in self._read(name).settled}

    def _read(self, name: str) -> Lease:
        if name in self._over:
            return self._over[name]
        lease = read(self.folder / name)
        if lease.released:
            self._over[name] = lease
        return lease

    def _held(self, path: Path) -> bool:
        try:
            content = path.read_bytes()
        except OSError:  # renamed over at this moment, on NFS
            return True
        lease = _parsed(path, content)
        if lease.released or lease.dead:
            return False
        now = time.monotonic()
        before, since = self._seen.get(path, (None, now))
        if before != content:
            self._seen[path] = content, now
            return True
        return now - since < self.patience


def shown(text: str) -> str:
    """Text of a lease as a terminal may have it: on one line, without control characters."""
    return "".join(letter for letter in text if letter.isprintable())[:_SHOWN]


def latest(folder: Path) -> dict[str, Path]:
    """Of every job that was ever claimed the file with the highest number."""
    return {job: folder / name for job, name in _newest(folder).items()}


def _newest(folder: Path) -> dict[str, str]:
    names: Iterable[str] = ()
    with suppress(FileNotFoundError):
        names = os.listdir(folder)  # noqa: PTH208 (asks the server anew, without a stat of each)
    found: dict[str, tuple[int, str]] = {}
    for name in names:
        job, _, number = name.rpartition(".")
        if number.isdecimal() and not name.startswith("."):
            found[job] = max(found.get(job, (0, "")), (int(number), name))
    return {job: name for job, (_, name) in found.items()}


def read(path: Path) -> Lease:
    """A lease; one that says nothing of its owner where the file is damaged or being made."""
    try:
        return _parsed(path, path.read_bytes())
    except OSError:
        return Lease(path.name.rpartition(".")[0])


def _parsed(path: Path, content: bytes) -> Lease:
    nobody = Lease(path.name.rpartition(".")[0])
    try:
        known = json.loads(content)
        settled = tuple(map(str, known["settled"]))
        lease = Lease(**{**known, "job": nobody.job, "settled": settled})
    except (ValueError, TypeError, KeyError):
        return nobody
    alike = all(type(value) is type(vars(nobody)[name]) for name, value in vars(lease).items())
    return lease if alike and 0 <= lease.renewed < _LATEST else nobody


def numbered(job: str, number: int) -> str:
    return f"{job}.{number:04}"


def number_of(path: Path) -> int:
    return int(path.name.rpartition(".")[2])


def _bytes(lease: Lease) -> bytes:
    return json.dumps(asdict(lease)).encode() + b"\n"


def _node() -> str:
    """Where a process number means the same process: this boot of this host, this container; '' where unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _birth(pid: int) -> str:
    """When a process began, in the kernel's ticks; '' where it is gone, or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
