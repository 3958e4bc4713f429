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

_VIEWS = 1  # apart from the order, whose draws have no such number


@dataclass(frozen=True)
class Settings:
    """How to train. rate_decay is per epoch; patience counts epochs without a better validation figure.

    keep_last: the snapshot is that of the last epoch, where no data are held back that could choose another.
    """

    batch: int = 32
    score_batch: int = 64
    epochs: int = 30
    patience: int = 6
    rate_decay: float = 0.95
    keep_last: bool = False


@dataclass(frozen=True)
class Run:
    """What one run does not share: start parameters, rates, patches to train on and to validate on, seed.

    views: how many fixed views there are of each patch, `patches` rows apart (`patches.Views`); an epoch takes one of
    them, drawn from (seed, epoch, patch). weights: of the classes (`Objective.weights`); None: all count alike.
    """

    params: Params
    rates: dict[str, StageRates]
    train: np.ndarray
    valid: np.ndarray
    seed: int
    views: int = 1
    patches: int = 0
    weights: np.ndarray | None = None

    def order(self, epoch: int) -> np.ndarray:
        """The rows int [n] to train on in an epoch, in an order drawn from (seed, epoch)."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self.train)
        if self.views == 1:
            return order
        draws = np.random.default_rng([self.seed, epoch, _VIEWS])
        return order + self.patches * draws.integers(self.views, size=self.patches)[order]

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
        """The run's training patches (`Run.order`), then its validation patches."""
        return cls(
            in_rows(run.order(epoch), settings.batch, capacity.steps),
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
