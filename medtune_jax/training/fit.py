"""Training one run, or a stack of runs of one depth: epochs, validation, the best snapshot, when to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from medtune_jax import tuning
from medtune_jax.networks import Params
from medtune_jax.training.history import Epoch, Fitted
from medtune_jax.training.memory import within_memory
from medtune_jax.training.partial import Partial
from medtune_jax.training.program import Inputs, Program, Work
from medtune_jax.training.stack import Stack
from medtune_jax.tuning.sgd import GroupRates

Monitor = Callable[[np.ndarray, np.ndarray], float]
"""(labels [n], logits [n, C]) -> the validation figure to maximise (an AUC)."""
_HOPELESS_LOSS = 100.0  # mean loss of an epoch; a guess among C classes has log C


@dataclass(frozen=True)
class Settings:
    """How to train. rate_decay is per epoch; patience counts epochs without a better validation figure."""

    batch: int = 32
    score_batch: int = 64
    epochs: int = 30
    patience: int = 6
    rate_decay: float = 0.95


@dataclass(frozen=True)
class Run:
    """What is one run's own: start parameters, rates, patches to train on and to validate on, seed."""

    params: Params
    rates: GroupRates
    train: np.ndarray
    valid: np.ndarray
    seed: int


@dataclass(frozen=True)
class Capacity:
    """Row counts that all runs of a study share, so that each depth compiles once."""

    steps: int
    score_batches: int

    @classmethod
    def of(cls, most_train: int, most_scored: int, settings: Settings) -> Capacity:
        return cls(-(-most_train // settings.batch), -(-most_scored // settings.score_batch))


def rows(index: np.ndarray, width: int, count: int) -> np.ndarray:
    """Indices as `count` rows of `width`, padded with -1."""
    padded = np.full(count * width, -1, np.int32)
    padded[: len(index)] = index
    return padded.reshape(count, width)


def training_work(
    run: Run, epoch: int, settings: Settings, capacity: Capacity, key: jax.Array
) -> Work:
    """One epoch over the run's training patches in an order drawn from (seed, epoch), then its validation patches."""
    order = np.random.default_rng([run.seed, epoch]).permutation(run.train)
    return Work(
        order=rows(order, settings.batch, capacity.steps),
        steps=np.int32(-(-len(order) // settings.batch)),
        score=rows(run.valid, settings.score_batch, capacity.score_batches),
        batches=np.int32(-(-len(run.valid) // settings.score_batch)),
        key=jax.random.fold_in(key, epoch),
    )


def scoring_work(index: np.ndarray, settings: Settings, capacity: Capacity) -> Work:
    """No step, only scores."""
    return Work(
        order=np.full((capacity.steps, settings.batch), -1, np.int32),
        steps=np.int32(0),
        score=rows(index, settings.score_batch, capacity.score_batches),
        batches=np.int32(-(-len(index) // settings.score_batch)),
        key=jax.random.key(0),
    )


def fit(
    program: Program,
    runs: Sequence[Run],
    inputs: Inputs,
    labels: np.ndarray,
    settings: Settings,
    capacity: Capacity,
    monitor: Monitor,
    progress: Callable[[int, Epoch], Any] = lambda number, epoch: None,
    partials: Sequence[Partial] = (),
) -> list[Fitted]:
    """Train the runs together (one program) and return each one's best snapshot by validation figure.

    labels: int [N] of all patches. A run whose loss diverges is stopped and keeps its last good snapshot.
    partials: where each run keeps its state between epochs, and goes on from if it was interrupted.
    When the device runs out of memory, the batches are divided and the runs start again, or go on from `partials`.
    """
    return within_memory(
        lambda: _fit(
            program, runs, inputs, labels, settings, capacity, monitor, progress, partials
        ),
        lambda: _divide(program, settings.batch),
    )


def _divide(program: Program, rows: int) -> str:
    if program.parts >= rows:
        return ""
    program.divide()
    return f"every batch is computed in {program.parts} parts, with the same result"


def _fit(program, runs, inputs, labels, settings, capacity, monitor, progress, partials):
    members = [_Member(program, number, run) for number, run in enumerate(runs)]
    for member, partial in zip(members, partials, strict=False):
        member.resume(partial)
    frozen = tuning.split(runs[0].params, program.tuned)[1]
    active = [member for member in members if not member.done(settings)]
    stacked: list[_Member] = []
    while active:
        # Members that stopped cost their share until half of the stack has; then the others go on in a smaller one.
        if len(active) <= len(stacked) / 2 or not stacked:
            for member in active:
                member.leave()
            stacked = active
            stack = Stack(program, inputs, frozen, [m.start for m in stacked if m.start])
            for place, member in enumerate(stacked):
                member.enter(stack, place)
        _epoch(stack, stacked, labels, settings, capacity, monitor, progress)
        active = [member for member in stacked if not member.done(settings)]
    return [member.fitted for member in members]


class _Member:
    """One run of a stack: how far it is, and where its state lies."""

    def __init__(self, program: Program, number: int, run: Run) -> None:
        self.number, self.run, self.fitted = number, run, Fitted()
        self.key = jax.random.key(run.seed)
        self.start: tuple[Params, Any] | None = program.initial_state(run.params)[:2]
        self._partial: Partial | None = None
        self._stack: Stack | None = None
        self._place = 0

    def resume(self, partial: Partial) -> None:
        self._partial = partial
        assert self.start is not None
        kept = partial.load(*self.start)
        if kept:
            self.start, self.fitted = kept[:2], kept[2]

    def enter(self, stack: Stack, place: int) -> None:
        self._stack, self._place, self.start = stack, place, None

    def leave(self) -> None:
        if self._stack:
            self.start = self._stack.member(self._place)

    def done(self, settings: Settings) -> bool:
        return self.fitted.finished(settings.epochs, settings.patience)

    @property
    def epoch(self) -> int:
        """The next one, from 1."""
        return len(self.fitted.history) + 1

    def record(self, epoch: Epoch) -> None:
        assert self._stack is not None
        self.fitted.history.append(epoch)
        if self.fitted.best is None or epoch.validation > self.fitted.best.validation:
            self.fitted.best, self.fitted.params = epoch, self._stack.snapshot(self._place)
        if self._partial and self._partial.due():
            self._partial.keep(*self._stack.member(self._place), self.fitted)


def _epoch(stack, members, labels, settings, capacity, monitor, progress) -> None:
    """One epoch of all members. Those that are done go along, and what becomes of them is not looked at."""
    work = [
        training_work(member.run, member.epoch, settings, capacity, member.key)
        for member in members
    ]
    decays = [settings.rate_decay ** (member.epoch - 1) for member in members]
    rates = [member.run.rates for member in members]
    losses, logits = stack.advance(work, rates, decays)
    for place, member in enumerate(members):
        if member.done(settings):
            continue
        run, history, steps = member.run, member.fitted.history, int(work[place].steps)
        before = history[-1].batches if history else 0
        own = losses[place, :steps]
        scores = logits[place].reshape(-1, logits.shape[-1])[: len(run.valid)]
        trouble = _divergence(own, scores, before, run.rates, decays[place])
        if trouble:
            member.fitted.failure = trouble
            continue
        figure = monitor(labels[run.valid], scores)
        epoch = Epoch(member.epoch, before + steps, float(own.mean()), figure)
        member.record(epoch)
        progress(member.number, epoch)


def _divergence(
    losses: np.ndarray, scores: np.ndarray, before: int, rates: GroupRates, decay: float
) -> str | None:
    bad = np.flatnonzero(~np.isfinite(losses))
    hopeless = losses.mean() >= _HOPELESS_LOSS
    if not bad.size and not hopeless and np.isfinite(scores).all():
        return None
    # Finite losses and broken scores: it was the last step that broke the parameters.
    at = bad[0] if bad.size else losses.argmax() if hopeless else len(losses) - 1
    step = before + int(at) + 1
    value = losses[step - before - 1]
    rate = decay * max(float(r) for r in rates.values())
    return f"diverged at step {step}: loss {value:.4g} at a highest rate of {rate:.4g}"


def predict(
    program: Program,
    params: Params,
    frozen: Params,
    inputs: Inputs,
    index: np.ndarray,
    rates: GroupRates,
    settings: Settings,
    capacity: Capacity,
) -> np.ndarray:
    """Logits [n, C] of the patches `index` under tuned parameters, by the program that trained them."""
    return within_memory(
        lambda: _predict(program, params, frozen, inputs, index, rates, settings, capacity),
        lambda: _divide(program, settings.score_batch),
    )


def _predict(program, params, frozen, inputs, index, rates, settings, capacity) -> np.ndarray:
    per_call = capacity.score_batches * settings.score_batch
    state = program.initial_state({**params, **frozen})[1]
    stack = Stack(program, inputs, frozen, [(params, state)])
    parts = []
    for chunk in _chunks(index, per_call):
        _, logits = stack.advance([scoring_work(chunk, settings, capacity)], [rates], [1.0])
        parts.append(logits[0].reshape(-1, logits.shape[-1])[: len(chunk)])
    return np.concatenate(parts)


def _chunks(index: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for first in range(0, len(index), size):
        yield index[first : first + size]
