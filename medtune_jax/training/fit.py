"""Training one run, or a stack of runs of one depth: epochs, validation, the best snapshot, when to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medtune_jax.networks import Params
from medtune_jax.training.program import Inputs, Program, Work
from medtune_jax.tuning.sgd import GroupRates

Monitor = Callable[[np.ndarray, np.ndarray], float]
"""(labels [n], probabilities [n, C]) -> the validation figure to maximise (an AUC)."""
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
class Epoch:
    epoch: int
    batches: int
    loss: float
    val_auc: float


@dataclass
class Fitted:
    """The best snapshot of a run and its history. `failure` says why it was stopped, if it was."""

    params: Params | None = None
    history: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    failure: str | None = None

    def waiting(self) -> int:
        """Epochs since the best one."""
        return self.history[-1].epoch - self.best.epoch if self.best and self.history else 0


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
) -> list[Fitted]:
    """Train the runs together (one program) and return each one's best snapshot by validation figure.

    labels: int [N] of all patches. A run whose loss diverges is stopped and keeps its last good snapshot.
    """
    stack = _Stack(program, runs, inputs)
    fitted = [Fitted() for _ in runs]
    keys = [jax.random.key(run.seed) for run in runs]
    for epoch in range(1, settings.epochs + 1):
        work = [
            training_work(run, epoch, settings, capacity, key)
            for run, key in zip(runs, keys, strict=True)
        ]
        decay = settings.rate_decay ** (epoch - 1)
        losses, probabilities = stack.advance(work, decay)
        for number, (run, result) in enumerate(zip(runs, fitted, strict=True)):
            if _done(result, settings):
                continue
            steps = int(work[number].steps)
            batches = (result.history[-1].batches if result.history else 0) + steps
            scores = probabilities[number].reshape(-1, probabilities.shape[-1])[: len(run.valid)]
            trouble = _divergence(losses[number, :steps], scores, batches - steps, run.rates, decay)
            if trouble:
                result.failure = trouble
                continue
            figure = monitor(labels[run.valid], scores)
            record = Epoch(epoch, batches, float(losses[number, :steps].mean()), figure)
            result.history.append(record)
            if result.best is None or figure > result.best.val_auc:
                result.best, result.params = record, stack.snapshot(number)
            progress(number, record)
        if all(_done(result, settings) for result in fitted):
            break
    return fitted


def _done(result: Fitted, settings: Settings) -> bool:
    return result.failure is not None or result.waiting() >= settings.patience


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
    """Class probabilities [n, C] of the patches `index` under tuned parameters, by the program that trained them."""
    per_call = capacity.score_batches * settings.score_batch
    run = Run({**params, **frozen}, rates, index, index, 0)
    parts = []
    for chunk in _chunks(index, per_call):
        stack = _Stack(program, [run], inputs)
        _, probabilities = stack.advance([scoring_work(chunk, settings, capacity)], 1.0)
        parts.append(probabilities[0].reshape(-1, probabilities.shape[-1])[: len(chunk)])
    return np.concatenate(parts)


def _chunks(index: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for first in range(0, len(index), size):
        yield index[first : first + size]


class _Stack:
    """The device state of one or several runs; a single run goes without the run axis."""

    def __init__(self, program: Program, runs: Sequence[Run], inputs: Inputs) -> None:
        self._program, self._inputs, self._runs = program, inputs, runs
        states = [program.initial_state(run.params) for run in runs]
        self._alone = len(runs) == 1
        self._frozen = states[0][2]
        # The program donates its state, so it must own it: the caller's parameters are copied.
        self._tuned = jax.tree.map(jnp.array, self._join([state[0] for state in states]))
        self._state = self._join([state[1] for state in states])

    def _join(self, trees: Sequence[Any]) -> Any:
        if self._alone:
            return trees[0]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    def advance(self, work: Sequence[Work], decay: float) -> tuple[np.ndarray, np.ndarray]:
        """-> losses [R, S], probabilities [R, E, B', C]."""
        rates = self._join(
            [{k: np.float32(v * decay) for k, v in run.rates.items()} for run in self._runs]
        )
        advance = self._program.advance if self._alone else self._program.advance_stack
        self._tuned, self._state, losses, probabilities = advance(
            self._tuned,
            self._state,
            self._frozen,
            rates,
            self._inputs.arrays,
            self._inputs.labels,
            self._join(list(work)),
        )
        losses, probabilities = np.asarray(losses), np.asarray(probabilities)
        return (losses[None], probabilities[None]) if self._alone else (losses, probabilities)

    def snapshot(self, number: int) -> Params:
        """A copy of one run's tuned parameters."""
        return jax.tree.map(lambda x: jnp.array(x if self._alone else x[number]), self._tuned)
