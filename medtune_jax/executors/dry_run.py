"""`medtune sweep --dry-run`: the jobs of a study, how large they are, and the device hours that they may take."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from medtune_jax.errors import UserError
from medtune_jax.executors.options import Executor
from medtune_jax.patches import PatchSet
from medtune_jax.study.jobs import Job, jobs
from medtune_jax.study.prepare import Study, prepare
from medtune_jax.study.runs import task_of
from medtune_jax.study.start import starting_params, starting_rates
from medtune_jax.training import Capacity, Memory, Run, fit, runner_for
from medtune_jax.training import devices as this_machines
from medtune_jax.tuning import Depth

# An epoch that is measured has four batches to train on and one to validate on, as the default fifth for validation.
_BATCHES = 4
_MEASURED = 3  # epochs, after one that compiles; the fastest counts
_FAILURES = (RuntimeError, ValueError, ArithmeticError, MemoryError)


def dry_run(config: ConfigDict, output: str | Path, executor: Executor) -> str:
    """As text, a line a job. Reads the data, and trains a few steps of each depth on this machine; writes nothing.

    What is done already counts as not done. UserError for all that `sweep` refuses before its first run.
    """
    elsewhere = executor.accelerated or config.device in ("gpu", "tpu")
    this_machines.start("cpu" if executor.accelerated else config.device)
    with TemporaryDirectory(prefix="medtune-dry-run-") as folder:
        study = prepare(config, folder)
    planned = jobs(study.plan)
    workers = 1 if executor.in_process else executor.count(len(planned))
    head = (
        f"{len(planned)} jobs, {len(study.plan.runs)} runs, {workers} workers ({executor.name}); "
        f"nothing is written to {output}"
    )
    if elsewhere and jax.default_backend() == "cpu":
        lines = [_line(study, job) for job in planned]
        why = "this machine has no accelerator as the workers will have"
        return "\n".join(
            [head, *lines, f"device hours: not estimated, since {why}: ask on such a machine"]
        )
    seconds = {
        depth: sum(_share(study, phase) * _seconds_of_step(study, phase) for phase in depth.steps)
        for depth in study.plan.depths
    }
    lines = [_line(study, job, seconds[job.depth]) for job in planned]
    total = sum(_steps(study, job) * seconds[job.depth] for job in planned) / 3600
    kind = jax.devices()[0].device_kind
    return "\n".join(
        [
            head,
            *lines,
            f"device hours: at most {total:.2g}, by steps measured on this machine ({kind}), one run at a time; "
            f"training that stops early takes less, and reading data, compiling and features come on top",
        ]
    )


def _share(study: Study, phase: Depth) -> float:
    """Of a run's steps, where none stops early."""
    return phase.brief / study.settings.epochs if phase.brief else 1.0


def _line(study: Study, job: Job, seconds: float | None = None) -> str:
    train = max(len(study.subsets[run.fraction, run.seed].train) for run in job.runs)
    hours, phases = "", len(job.depth.phases)
    each = f" in each of {phases} phases" if phases > 1 else ""
    if seconds is not None:
        hours = f", {1000 * seconds:.3g} ms a step, {_steps(study, job) * seconds / 3600:.2g} h"
    return (
        f"  {job.name}: {len(job.runs)} runs, {train} patches, {len(job.depth.tuned)} stages tuned, "
        f"at most {_steps(study, job)} steps{each}{hours}"
    )


def _steps(study: Study, job: Job) -> int:
    """Of all its runs, in each of their phases, where none stops early."""
    batch, epochs = study.settings.batch, study.settings.epochs
    sizes = (len(study.subsets[run.fraction, run.seed].train) for run in job.runs)
    return sum(-(-size // batch) * epochs for size in sizes)


@dataclass(frozen=True)
class _Few:
    """Some rows of patches, as a set of their own."""

    patches: PatchSet
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def arrays(self) -> dict[str, np.ndarray]:
        return self.patches.subset(self.rows)

    @property
    def bulk(self) -> str:
        return self.patches.bulk

    def subset(self, rows: np.ndarray, at: np.ndarray | None = None) -> dict[str, np.ndarray]:
        return self.patches.subset(self.rows[rows], at)

    def take(self, arrays: dict[str, Array], index: Array) -> Array:
        return self.patches.take(arrays, index)

    def fingerprint(self) -> str:
        return self.patches.fingerprint() + str(self.rows.tolist())


def _seconds_of_step(study: Study, depth: Depth) -> float:
    """Seconds of a step with its share of validation, measured on a few patches; as everywhere else a run would."""
    subset = study.subsets[max(study.plan.fractions), 0]
    settings = replace(study.settings, epochs=1 + _MEASURED, patience=1 + _MEASURED)
    count = _BATCHES * settings.batch
    rows = np.resize(subset.train, count)
    start = study.cache.boundary(depth.tuned[0]).stage
    few = replace(
        study.cache,
        patches=_Few(study.dataset.patches, rows),
        labels=study.dataset.labels[rows],
        memory=Memory(device=2**40),
    )
    inputs = few.inputs(start, pretrained=not depth.scratch)
    task = task_of(study, depth, inputs, few)
    shapes = study.network.abstract_params(study.plan.size, auxiliary=True)
    runner = runner_for(task, shapes, inputs, 1, settings.batch)
    sides = study.config.training.auxiliary
    params, new = starting_params(study.network, study.source, depth, 0, study.plan.size, sides)
    rates = starting_rates(study.network, depth, study.config, new, runner.task.tuned)
    index = np.arange(count)
    run = Run(params, rates, index, index[: settings.score_batch], 0)
    capacity = Capacity.of(count, settings.score_batch, settings)
    ends: list[float] = []
    try:
        fit(
            runner,
            [run],
            inputs,
            settings,
            capacity,
            lambda labels, logits: 1.0 + len(ends),  # better every time: none stops early
            lambda number, epoch: ends.append(time.perf_counter()),
        )
    except _FAILURES as error:
        raise UserError(
            f"a step of depth '{depth.name}' fails ({str(error).splitlines()[0]}): no estimate"
        ) from error
    if len(ends) < 1 + _MEASURED:
        raise UserError(f"depth '{depth.name}' diverges in its first steps: lower its rates")
    return float(np.diff(ends).min()) / _BATCHES
