"""What training a run leaves: its epochs and its best snapshot."""

from __future__ import annotations

from dataclasses import dataclass, field

from medtune_jax.networks import Params


@dataclass(frozen=True)
class Epoch:
    """One finished epoch. batches: steps taken since the run began. loss: mean over the epoch's steps."""

    epoch: int
    batches: int
    loss: float
    validation: float


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

    def finished(self, epochs: int, patience: int) -> bool:
        """Whether no epoch is left to train."""
        if self.failure is not None or len(self.history) >= epochs:
            return True
        return bool(self.history) and self.waiting() >= patience
