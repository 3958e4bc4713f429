"""What an epoch of a run is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jax import Array

from medtune_jax.networks import Params
from medtune_jax.training.inputs.batch import AnyArray
from medtune_jax.tuning import StageRates


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
    """What one run does not share: start parameters, rates, patches to train on and to validate on, seed.

    weights: of the classes (`Objective.weights`); None: all count alike.
    """

    params: Params
    rates: dict[str, StageRates]
    train: np.ndarray
    valid: np.ndarray
    seed: int
    weights: np.ndarray | None = None

    def rates_at(self, decay: float) -> dict[str, StageRates]:
        """The rates times a factor, as a program takes them."""
        return {
            stage: StageRates(*(np.float32(rate * decay) for rate in rates))
            for stage, rates in self.rates.items()
        }


@dataclass(frozen=True)
class Capacity:
    """Row counts that all runs of a study share, so that each depth compiles once."""

    steps: int
    score_batches: int

    @classmethod
    def of(cls, most_train: int, most_scored: int, settings: Settings) -> Capacity:
        return cls(-(-most_train // settings.batch), -(-most_scored // settings.score_batch))


Count = np.integer | Array


class EpochPlan(NamedTuple):
    """The patches of every step int32 [S, B] and of every batch to score after them [E, B']; the epoch's key; the
    class weights of the run, where it has any.

    Index -1 is padding: of rows in the end, and rows of nothing else are no steps.
    """

    order: AnyArray
    score: AnyArray
    key: Array
    weights: AnyArray | None = None

    @property
    def steps(self) -> Count:
        return _rows(self.order)

    @property
    def batches(self) -> Count:
        return _rows(self.score)

    @classmethod
    def of(
        cls, run: Run, epoch: int, settings: Settings, capacity: Capacity, key: Array
    ) -> EpochPlan:
        """The run's training patches in an order drawn from (seed, epoch), then its validation patches."""
        order = np.random.default_rng([run.seed, epoch]).permutation(run.train)
        return cls(
            in_rows(order, settings.batch, capacity.steps),
            in_rows(run.valid, settings.score_batch, capacity.score_batches),
            jax.random.fold_in(key, epoch),
            run.weights,
        )


def _rows(index: AnyArray) -> Count:
    count: Count = (index[:, 0] >= 0).sum()
    return count


def in_rows(index: np.ndarray, width: int, count: int) -> np.ndarray:
    """Indices as `count` rows of `width`, padded with -1."""
    padded = np.full(count * width, -1, np.int32)
    padded[: len(index)] = index
    return padded.reshape(count, width)
