"""Training one run, or a stack of runs of one depth: epochs, validation, the best snapshot, when to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from medtune_jax import signals, tuning
from medtune_jax.networks import Params
from medtune_jax.training.devices import hosts
from medtune_jax.training.devices.mesh import Layout
from medtune_jax.training.epoch import Capacity, EpochPlan, Run, Settings, in_rows
from medtune_jax.training.history import Epoch, Fitted
from medtune_jax.training.inputs.batch import Inputs
from medtune_jax.training.inputs.memory import within_memory
from medtune_jax.training.partial import Partial, digest
from medtune_jax.training.runners import Runner
from medtune_jax.training.stack import Stack
from medtune_jax.training.step import STORED, TrainState
from medtune_jax.tuning import StageRates

Monitor = Callable[[np.ndarray, np.ndarray], float]
"""(labels [n], logits [n, C]) -> the validation figure to maximise (an AUC)."""
Progress = Callable[[int, Epoch], Any]
"""(number of the run, its epoch that is over): told after every epoch of every run."""
_HOPELESS_LOSS = 100.0  # mean loss of an epoch; a guess among C classes has log C


def fit(
    runner: Runner,
    runs: Sequence[Run],
    inputs: Inputs,
    settings: Settings,
    capacity: Capacity,
    monitor: Monitor,
    progress: Progress = lambda number, epoch: None,
    partials: Sequence[Partial] = (),
) -> list[Fitted]:
    """Train the runs together (one program) and return each one's best snapshot by validation figure.

    A run whose loss diverges is stopped and keeps its last good snapshot.
    partials: where each run keeps its state between epochs, and goes on from if it was interrupted.
    A signal that asks to stop (`signals.deferred`) is a `signals.Stop` here, once the state is kept: between two
    steps where a step is a dispatch, else at the end of the epoch.
    When the device runs out of memory, the batches are divided and the runs start again, or go on from `partials`.
    """

    def train() -> list[Fitted]:
        kept = partials or (None,) * len(runs)
        members = [
            _Member(number, run, runner, settings, partial)
            for number, (run, partial) in enumerate(zip(runs, kept, strict=True))
        ]
        labels = np.asarray(inputs.labels)
        frozen = tuning.split(runs[0].params, runner.task.tuned)[1]
        active = [member for member in members if not member.finished]
        while active:
            stacked, stack = active, Stack(runner, inputs, frozen, [m.leave() for m in active])
            for slot, member in enumerate(stacked):
                member.enter(stack, slot)
            # Members that stopped cost their share until half of the stack has; then the others go on in a smaller one.
            while len(active) > stack.members / 2:
                _epoch(stack, stacked, labels, capacity, monitor, progress)
                active = [member for member in stacked if not member.finished]
        return [member.fitted for member in members]

    # A batch whose own statistics count cannot be divided.
    rows = settings.batch if runner.task.norm == STORED else 1
    return within_memory(train, lambda: _divide(runner, rows))


def predict(
    runner: Runner, params: Params, inputs: Inputs, index: np.ndarray, settings: Settings
) -> np.ndarray:
    """Logits [n, C] of the patches `index` under all parameters."""
    layout, width = Layout.of(1), settings.score_batch
    rows = in_rows(index, width, -(-len(index) // width))
    laid, everywhere = layout.inputs(inputs), layout.everywhere(params)

    def score() -> np.ndarray:
        batches = map(layout.batch, laid.batches(rows))
        logits = layout.to_host(runner.scores(everywhere, batches))
        hosts.check()
        return np.concatenate([batch[:width] for batch in logits])[: len(index)]

    return within_memory(score, lambda: _divide(runner, width))


def _divide(runner: Runner, rows: int) -> str:
    hosts.meet("the device is out of memory")
    if runner.task.parts >= rows:
        return ""
    runner.divide()
    return f"every batch is computed in {runner.task.parts} parts, with the same result"


class _Member:
    """One run of a stack: how far it is, and where its state lies."""

    def __init__(
        self, number: int, run: Run, runner: Runner, settings: Settings, partial: Partial | None
    ) -> None:
        self.number, self.run = number, run
        self._settings, self._partial = settings, partial
        self._key = jax.random.key(run.seed)
        self._state: TrainState | None = TrainState.of(runner.task, run.params)
        self.fitted = Fitted()
        self.begun = np.zeros(0, np.float32)  # losses of the steps of an epoch that was stopped
        kept = partial.load(self._state) if partial else None
        if kept and not runner.by_steps and len(kept[2]):
            kept = None
        if hosts.several() and not hosts.same(digest(kept)):
            kept = None  # not every host sees the file yet that another one wrote
        if kept:
            self._state, self.fitted, self.begun = kept

    def enter(self, stack: Stack, slot: int) -> None:
        self._stack, self._slot, self._state = stack, slot, None

    def leave(self) -> TrainState:
        """The state to go on with."""
        return self._state or self._stack.member(self._slot)

    @property
    def finished(self) -> bool:
        return self.fitted.finished(self._settings.epochs, self._settings.patience)

    @property
    def steps(self) -> int:
        """Taken so far."""
        return self.fitted.history[-1].batches if self.fitted.history else 0

    @property
    def _epoch(self) -> int:
        """The next one, from 1."""
        return len(self.fitted.history) + 1

    def plan(self, capacity: Capacity) -> EpochPlan:
        return EpochPlan.of(self.run, self._epoch, self._settings, capacity, self._key)

    def rates(self) -> dict[str, StageRates]:
        return self.run.rates_at(self._settings.rate_decay ** (self._epoch - 1))

    def record(self, losses: np.ndarray, figure: float) -> Epoch:
        """The epoch that is over; the best one leaves a snapshot."""
        loss = float(losses.mean(dtype=float))
        epoch = Epoch(self._epoch, self.steps + len(losses), loss, figure)
        self.fitted.history.append(epoch)
        self.begun = self.begun[:0]
        best = self.fitted.best
        if best is None or self._settings.keep_last or figure > best.validation:
            self.fitted.best, self.fitted.params = epoch, self._stack.snapshot(self._slot)
        due = self._partial and hosts.of_first(self._partial.due())
        if self._partial and (due or (self._partial.lasting and self.finished)):
            self.keep()
        return epoch

    def keep(self) -> None:
        if self._partial:
            state = self._stack.member(self._slot)
            if hosts.first():
                self._partial.keep(state, self.fitted, self.begun)


def _epoch(
    stack: Stack,
    members: Sequence[_Member],
    labels: np.ndarray,
    capacity: Capacity,
    monitor: Monitor,
    progress: Progress,
) -> None:
    """One epoch of all members. Those that are finished go along, and what becomes of them is not looked at."""
    plans = [member.plan(capacity) for member in members]
    begun = len(
        members[0].begun
    )  # of a single one: those who train in a stack do not stop between steps
    figures = stack.epoch(plans, [member.rates() for member in members], begun)
    for member, plan, (losses, logits) in zip(members, plans, figures, strict=True):
        if member.finished:
            continue
        losses = np.concatenate([member.begun, losses])
        if len(logits) < plan.batches:
            member.begun = losses
            continue
        valid = member.run.valid
        scores = logits.reshape(-1, logits.shape[-1])[: len(valid)]
        trouble = _divergence(losses, scores, member.steps, member.rates())
        if trouble:
            member.fitted.failure = trouble
        else:
            epoch = member.record(losses, monitor(labels[valid], scores))
            progress(member.number, epoch)
    if hosts.asked():
        for member in members:
            member.keep()
        raise signals.Stop


def _divergence(
    losses: np.ndarray, scores: np.ndarray, before: int, rates: dict[str, StageRates]
) -> str | None:
    """Why a run must stop after an epoch, `before` which it had taken so many steps; None when all is well."""
    bad = np.flatnonzero(~np.isfinite(losses))
    hopeless = losses.mean() >= _HOPELESS_LOSS
    if not bad.size and not hopeless and np.isfinite(scores).all():
        return None
    # Finite losses and broken scores: it was the last step that broke the parameters.
    at = int(bad[0] if bad.size else losses.argmax() if hopeless else len(losses) - 1)
    rate = max(float(rate) for rate in jax.tree.leaves(rates))
    return (
        f"diverged at step {before + at + 1}: loss {losses[at]:.4g} at a highest rate of {rate:.4g}"
    )
