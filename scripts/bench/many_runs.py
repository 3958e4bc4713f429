"""What does a study of many runs cost beside the training? Ten depths, ten sizes, as many seeds as it takes.

python scripts/bench/many_runs.py --runs 10000

A real sweep plans, claims and writes every run; only the training is replaced, by scores drawn at random. Then the
commands that read the study, each as a process of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from medtune_jax import networks
from medtune_jax.evaluation.scores import score_rows
from medtune_jax.paths import csv_bytes
from medtune_jax.study import default_config, runs
from medtune_jax.study.plan import PlannedRun
from medtune_jax.study.prepare import Study
from medtune_jax.study.store import DONE, Outcome
from medtune_jax.training import Epoch

ROOT = Path(__file__).resolve().parents[2]
SIDE, PATIENTS, FRACTIONS, EPOCHS = 64, 100, 10, 5
Cost = tuple[float, float, float]
"""Seconds on the wall, of processors, and MiB at the most."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10000, help="a multiple of 100")
    parser.add_argument("--keep", type=Path, help="an empty folder, to keep the study there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        images, study = folder / "images", folder / "study"
        write_images(images)
        fields = {
            "data.dir": str(images),
            "image_size": SIDE,
            "sweep.depths": ",".join(networks.get("squeezenet").names),
            "sweep.fractions": ",".join(f"{(n + 1) / FRACTIONS:g}" for n in range(FRACTIONS)),
            "sweep.seeds": given.runs // (10 * FRACTIONS),
        }
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            costs = {"plan, claim and write": alone.submit(run_all, fields, study).result()}
        for name, words in commands(study, fields).items():
            costs[f"medtune {name}"] = command([name, *words])
    show(given.runs, costs)


def commands(study: Path, fields: dict[str, object]) -> dict[str, list[str]]:
    """Verbs with their arguments."""
    config = [f"--config.{name}={value}" for name, value in fields.items()]
    again = [f"--config={ROOT / 'configs' / 'image_folder.py'}", *config, f"--output={study}"]
    return {"status": [str(study)], "report": [str(study)], "sweep": again}


def write_images(folder: Path) -> None:
    """Two images of every patient, of noise."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    rows = [("image", "label", "patient")]
    for number in range(2 * PATIENTS):
        name, patient = f"{number}.png", number // 2
        Image.fromarray(draw.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(folder / name)
        rows.append((name, ("healthy", "ill")[patient % 2], f"p{patient}"))
    (folder / "labels.csv").write_bytes(csv_bytes(rows))


def run_all(fields: dict[str, object], study: Path) -> Cost:
    """A sweep that trains nothing."""
    config = default_config()
    config.update_from_flattened_dict(fields)
    sweeping = import_module("medtune_jax.study.sweep")
    sweeping.outcomes = drawn
    began, worked = time.perf_counter(), time.process_time()
    sweeping.sweep(config, study, quiet=True)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return time.perf_counter() - began, time.process_time() - worked, most


def drawn(
    study: Study, depth: object, waiting: list[PlannedRun], *_: object
) -> Iterator[tuple[PlannedRun, Outcome]]:
    """In place of training: scores that know a little of the label."""
    for planned in waiting:
        draw = np.random.default_rng(
            [len(planned.depth.tuned), int(100 * planned.fraction), planned.seed]
        )
        subset = study.subsets[planned.fraction, planned.seed]
        tables = []
        for patches in (study.test, subset.valid):
            judged, _ = study.dataset.judged_by(patches)
            logit = judged.labels - 0.5 + draw.normal(size=len(judged.labels))
            scores = np.stack([-logit, logit], 1).astype(np.float32)
            tables.append((judged, scores, score_rows(judged, study.dataset.classes, scores)))
        (test, scores, rows), (_, _, valid) = tables
        result = {
            **runs.result_of(study, planned, DONE, None),
            "validation": 0.7,
            "test": study.metric(test.labels, scores),
            "best_epoch": EPOCHS,
            "epochs": EPOCHS,
            "steps": EPOCHS * len(subset.train),
            "train_images": len(subset.train),
            "val_images": len(subset.valid),
        }
        history = [
            Epoch(n, n * len(subset.train), 1 / n, 0.7 - 0.1 / n) for n in range(1, EPOCHS + 1)
        ]
        timing = {"seconds": 1.0, "epoch_seconds": 0.2}
        yield (
            planned,
            Outcome(result, history, rows, timing, study.config.to_dict(), validation=valid),
        )


def command(words: list[str]) -> Cost:
    """A medtune command as a process of its own."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "medtune_jax", *words],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"medtune {words[0]} failed")
    wall = time.perf_counter() - began
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def show(count: int, costs: dict[str, Cost]) -> None:
    table = Table(title=f"{count} runs; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for name in ("", "wall, s", "processor, s", "processor, ms per run", "MiB"):
        table.add_column(name, justify="right" if name else "left")
    for name, (wall, worked, most) in costs.items():
        table.add_row(
            name, f"{wall:.1f}", f"{worked:.1f}", f"{1000 * worked / count:.2f}", f"{most:.0f}"
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
