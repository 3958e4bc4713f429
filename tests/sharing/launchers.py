"""Launchers as processes, and studies small enough to start many."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = ("result.json", "history.csv", "scores.csv")


def command(images: Path, output: Path, **fields: object) -> list[str]:
    given = {
        "image_size": 64,
        "data.dir": images,
        "sweep.depths": "conv10",
        "sweep.fractions": "1.0,0.75,0.5",
        "sweep.seeds": 2,
        "training.epochs": 1,
        "training.keep_weights": False,
        **{name.replace("__", "."): value for name, value in fields.items()},
    }
    return [
        "sweep",
        f"--config={ROOT / 'configs' / 'image_folder.py'}",
        f"--output={output}",
        *(f"--config.{name}={value}" for name, value in given.items()),
    ]


def launch(words: list[str], **environment: str) -> subprocess.Popen[str]:
    """A process of its own; what it says goes through its stderr."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.quick", "medtune_jax", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), **environment},
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and what it said."""
    said = process.communicate(timeout=300)[1]
    return process.returncode, said


def stopped(words: list[str], study: Path, sent: int, seconds: float) -> tuple[int, str]:
    """`finished` of a launcher that got a signal so long after it had begun a job."""
    process = launch(words)
    while not list(study.glob("claims/*.0001")) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(seconds)
    process.send_signal(sent)
    return finished(process)


def results(study: Path) -> dict[str, bytes]:
    """All that must not depend on who ran what."""
    runs = sorted(path for path in (study / "runs").iterdir() if not path.name.startswith("."))
    return {f"{run.name}/{name}": (run / name).read_bytes() for run in runs for name in FILES}


def leftovers(study: Path) -> list[str]:
    return [path.name for path in (study / "runs").iterdir() if path.name.startswith(".")]
