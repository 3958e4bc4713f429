"""What survives what: kills, signals and damaged files at random, counted.

python scripts/bench/survival.py kills --count 200
python scripts/bench/survival.py kills --count 200 --workers 3
python scripts/bench/survival.py signals --count 130
python scripts/bench/survival.py checkpoints --count 1000
python scripts/bench/survival.py files --count 500

Each part prints how often what happened, and ends with 1 where something happened that must not. The same --seed gives
the same damages, and the same moments as far as the machine keeps its pace.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 75}
OBEYED = 5.0  # seconds
TABLES = ("result.json", "history.csv", "scores.csv", "validation.csv")
EIGHT = {
    "sweep.depths": "fire9",
    "sweep.fractions": ",".join(f"{1 - 0.05 * n:.2f}" for n in range(8)),
    "sweep.seeds": 1,
    "training.epochs": 6,
    "training.batch": 8,
}
SIX = {
    "sweep.depths": "conv10",
    "sweep.fractions": "1.0,0.75,0.5",
    "sweep.seeds": 2,
    "training.epochs": 1,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1, help="of `kills`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which it ends")
    given = parser.parse_args()
    # A shell starts what it runs in the background with Ctrl-C ignored, and launchers would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        draw, until = random.Random(given.seed), time.monotonic() + 60 * given.minutes
        trials = Trials(Path(folder), draw, given.workers, until)
        PARTS[given.part](trials, given.count)
    for what, count in sorted(trials.good.items()):
        print(f"{count:6}  {what}")
    for what, count in sorted(trials.bad.items()):
        print(f"{count:6}  WRONG: {what}")
    return int(bool(trials.bad))


class Trials:
    """What happened, and what all parts need: a folder, chance, images."""

    def __init__(self, folder: Path, draw: random.Random, workers: int, until: float) -> None:
        self.folder, self.draw, self.workers, self.until = folder, draw, workers, until
        self.good: Counter[str] = Counter()
        self.bad: Counter[str] = Counter()
        self.images = folder / "images"
        _write_images(self.images)

    def numbers(self, count: int) -> Iterator[int]:
        """Of the trials: `count`, or as many as there is time for."""
        return takewhile(lambda _: time.monotonic() < self.until, range(count))

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.bad[what] += 1
            print(f"WRONG: {what}", file=sys.stderr, flush=True)

    def launch(self, study: Path, fields: dict[str, object], *more: str) -> subprocess.Popen[str]:
        """A launcher on one core, or on two where it has workers, each of them on one."""
        cores = sorted(os.sched_getaffinity(0))[: 1 if self.workers == 1 else 2]
        values = {"data.dir": self.images, "image_size": 64, **fields}
        return subprocess.Popen(
            [
                *("taskset", "-c", ",".join(map(str, cores))),
                *(sys.executable, "-m", "medtune_jax", "sweep"),
                f"--config={ROOT / 'configs' / 'image_folder.py'}",
                f"--output={study}",
                *(f"--config.{name}={value}" for name, value in values.items()),
                *more,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        )


def kills(trials: Trials, count: int) -> None:
    """SIGKILL of a launcher or of one of its workers at a random moment, until `count` of them; studies end as ever."""
    quiet, began = trials.folder / "quiet", time.monotonic()
    process = trials.launch(quiet, EIGHT, *(["--executor.workers=2"] if trials.workers > 1 else []))
    said = process.communicate()[1]
    assert process.returncode == 0, said
    wanted, most = _results(quiet), time.monotonic() - began
    while trials.good["kills"] < count and time.monotonic() < trials.until:
        study = trials.folder / f"study{trials.good['studies finished']}"
        finished: Counter[str] = Counter()
        while not _killed_once(trials, study, finished, most, count):
            pass
        trials.good["studies finished"] += 1
        trials.expect(_results(study) == wanted, "another result than without kills")
        trials.expect(not _leftovers(study), f"left behind: {_leftovers(study)}")
        trials.expect(max(finished.values(), default=1) == 1, f"finished twice: {finished}")
        shutil.rmtree(study)


def _killed_once(
    trials: Trials, study: Path, finished: Counter[str], most: float, count: int
) -> bool:
    """A launcher, killed unless there were `count` kills or the time is over; whether it was the last of the study."""
    kill = trials.good["kills"] < count and time.monotonic() < trials.until
    process = trials.launch(study, EIGHT, f"--executor.workers={trials.workers}")
    until = time.monotonic() + trials.draw.uniform(0.1, most)
    while process.poll() is None and kill and time.monotonic() < until:
        time.sleep(0.01)
    if kill and process.poll() is None:
        workers = _workers(study)
        victim = trials.draw.choice([process.pid, trials.draw.choice(workers or [process.pid])])
        with contextlib.suppress(ProcessLookupError):  # a worker that has just ended
            os.kill(victim, signal.SIGKILL)
            trials.good["kills"] += 1
            trials.good["of them of a worker process"] += victim != process.pid
    said = process.communicate()[1]
    finished.update(_finished(said))
    give_up = time.monotonic() + 30
    while (alive := _workers(study)) and time.monotonic() < give_up:
        time.sleep(0.1)
    trials.expect(not alive, "a worker outlived its launcher")
    for log in study.glob("submitted/*/worker-*.log"):
        finished.update(_finished(log.read_text()))
        log.unlink()
    trials.expect(
        process.returncode in (0, -signal.SIGKILL), f"exit code {process.returncode}: {said[-300:]}"
    )
    return process.returncode == 0 or not kill


def signals(trials: Trials, count: int) -> None:
    """Ctrl-C and SIGTERM, from 0.1 s after the start to the midst of training; obeyed in time, in one sentence."""
    study, fields = (
        trials.folder / "study",
        {**EIGHT, "training.epochs": 5000, "training.patience": 5000},
    )
    slowest = 0.0
    for number in trials.numbers(count):
        sent = list(CODES)[number % 2]
        process = trials.launch(study, fields)
        time.sleep(
            trials.draw.uniform(0.1, 1.0) if number % 4 < 2 else trials.draw.uniform(1.0, 12.0)
        )
        process.send_signal(sent)
        asked = time.monotonic()
        said = process.communicate()[1]
        took = time.monotonic() - asked
        slowest = max(slowest, took)
        trials.good[sent.name] += 1
        trials.expect(took < OBEYED, f"{sent.name} took {took:.1f} s")
        trials.expect(
            process.returncode == CODES[sent], f"{sent.name} ends with {process.returncode}"
        )
        once = said.count("medtune: interrupted") == 1 and "Traceback" not in said
        trials.expect(once, f"{sent.name} says: {said[-300:]}")
    trials.good[f"the slowest took {slowest:.1f} s"] = 1


def checkpoints(trials: Trials, count: int) -> None:
    """A damaged file of a kept network: refused, or the very same network."""
    import jax

    from medtune_jax import networks, weights
    from medtune_jax.errors import UserError

    network = networks.get("squeezenet", 2)
    params = networks.initial_params(network, jax.random.key(0), "msra", 64)
    whole = weights.save(
        trials.folder / "whole",
        params,
        "squeezenet",
        network.preprocessing,
        {"source": "drawn", "sha256": ""},
    )
    wanted = weights.load(whole)
    for number in trials.numbers(count):
        copy = trials.folder / f"copy{number}"
        shutil.copytree(whole, copy)
        what, _ = _damage(trials.draw, copy, [path for path in copy.rglob("*") if path.is_file()])
        try:
            found = weights.load(copy)
            same = jax.tree.all(jax.tree.map(np.array_equal, found.params, wanted.params))
            trials.expect(
                same and repr(found.preprocessing) == repr(wanted.preprocessing),
                f"other weights: {what}",
            )
            trials.good["the same network"] += 1
        except UserError:
            trials.good["refused in one sentence"] += 1
        except Exception as error:
            trials.expect(False, f"{type(error).__name__}: {what}")
        shutil.rmtree(copy)


def files(trials: Trials, count: int) -> None:
    """Damaged files of a finished study, one of a folder at once: `status`, `report` and `sweep` heal or name them."""
    from medtune_jax.sharing.status import described, status
    from medtune_jax.study import default_config, report, sweep

    config = default_config()
    fields = {
        **SIX,
        "data.dir": str(trials.images),
        "image_size": 64,
        "training.keep_weights": True,
    }
    config.update_from_flattened_dict(fields)
    whole = trials.folder / "whole"
    sweep(config, whole, quiet=True)
    report(whole)
    wanted, rows = _results(whole), _rows(whole)
    # The figures and tables of a report are written anew, and networks have a part of their own: once each.
    names = sorted(
        {path.name for path in whole.rglob("*") if path.is_file() and path.parent.name != "figures"}
    )
    study = trials.folder / "copy"
    while trials.good["damaged"] < count and time.monotonic() < trials.until:
        shutil.copytree(whole, study)
        damages = _damages(trials.draw, study, names)
        trials.good["damaged"] += len(damages)

        def refused(verb: Callable[[], object], damages: dict[Path, str] = damages) -> str:
            return _refusal(trials, verb, damages)

        refused(lambda: described(status(study)))
        if not refused(lambda: report(study)):
            false = [row for row in _rows(study) if row["status"] == "done" and row not in rows]
            trials.expect(not false, f"report shows {false} of {damages}")
        while said := refused(lambda: sweep(config, study, quiet=True)):
            # As the sentence says: the damaged file is removed, and the command given again.
            named = next((path for path in damages if str(path) in said and path.exists()), None)
            if named is None:
                break
            named.unlink()
        trials.expect(not refused(lambda: report(study)), f"report refuses for ever: {damages}")
        found = _results(study)
        changed = sorted(name for name in wanted if found.get(name) != wanted[name])
        trials.expect(not changed, f"another result in silence: {changed} of {damages}")
        trials.expect(_rows(study) == rows, f"another results.csv: {damages}")
        shutil.rmtree(study)


def _rows(study: Path) -> list[dict[str, str]]:
    """Of results.csv, without what a run took."""
    with (study / "results.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    return [
        {name: cell for name, cell in row.items() if "seconds" not in name and cell} for row in rows
    ]


def _damages(draw: random.Random, study: Path, names: Sequence[str]) -> dict[Path, str]:
    """What was done to each of some files: one of a folder, every name as likely."""
    done: dict[Path, str] = {}
    for name in draw.sample(names, len(names)):
        folders = {path.parent for path in done}
        known = [
            path for path in study.rglob(name) if path.is_file() and path.parent not in folders
        ]
        if known:
            what, path = _damage(draw, study, known)
            done[path] = what
    return done


def _refusal(trials: Trials, verb: Callable[[], object], damages: Mapping[Path, str]) -> str:
    """In which sentence, that must name a damaged file, a verb refuses; '' where it goes through."""
    from medtune_jax.errors import UserError

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            verb()
    except UserError as error:
        said = str(error)
        named = [path for path in damages if str(path.parent) in said and path.name in said]
        trials.expect(bool(named), f"blames another: {said} of {damages}")
        trials.good["refusals, the file named"] += bool(named)
        return said
    except Exception as error:
        trials.expect(False, f"{type(error).__name__}: {error} of {damages}")
    return ""


def _damage(draw: random.Random, folder: Path, known: list[Path]) -> tuple[str, Path]:
    """Damage one file; what was done to it, and which."""
    path = draw.choice(sorted(known))
    content = path.read_bytes()
    place, other = draw.randrange(len(content) or 1), bytes(draw.randrange(256) for _ in range(4))
    kinds = {
        "a bit turned over": content[:place]
        + bytes([content[place] ^ 1 << draw.randrange(8)])
        + content[place + 1 :]
        if content
        else b"\0",
        "four bytes overwritten": content[:place] + other + content[place + 4 :],
        "cut off": content[:place],
        "empty": b"",
        "zeros": bytes(len(content)),
        "a piece lost": content[:place] + content[place + 1 + len(content) // 8 :],
        "gone": None,
    }
    kind = draw.choice(list(kinds))
    damaged = kinds[kind]
    if damaged is None:
        path.unlink()
    else:
        path.write_bytes(damaged)
    name = re.sub(r"[0-9a-f]{8,}", "*", str(path.relative_to(folder)))
    return f"{name}, {kind}", path


def _results(study: Path) -> dict[str, bytes]:
    """All that must not depend on what happened."""
    runs = [path for path in sorted((study / "runs").glob("*")) if not path.name.startswith(".")]
    return {f"{run.name}/{name}": (run / name).read_bytes() for run in runs for name in TABLES}


def _leftovers(study: Path) -> list[str]:
    return [path.name for path in (study / "runs").iterdir() if path.name.startswith(".")]


def _workers(study: Path) -> list[int]:
    """Process numbers of all workers of a study that live, whether or not their launcher noted them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ends at this moment
            words = (process / "cmdline").read_bytes()
            if b"executors.worker" in words and os.fsencode(study.resolve()) + b"/" in words:
                found.append(int(process.name))
    return found


def _finished(said: str) -> list[str]:
    return re.findall(r"^\[\d+/\d+\] (.*?): ", said, re.MULTILINE)


def _write_images(folder: Path) -> None:
    """Ten patients, four images each, dark or bright."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    rows = ["image,label,patient,site"]
    for number in range(96):
        bright = number // 4 % 2
        pixels = draw.normal(80 + 90 * bright, 30, (64, 64, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append(
            f"{number}.png,{('dark', 'bright')[bright]},p{number // 4},{'AB'[number // 8 % 2]}"
        )
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


PARTS = {"kills": kills, "signals": signals, "checkpoints": checkpoints, "files": files}

if __name__ == "__main__":
    sys.exit(main())
