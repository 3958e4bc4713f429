"""An unfinished run on disk: all that its next epoch depends on, in one file that is written whole."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medtune_jax import signals
from medtune_jax.paths import beside
from medtune_jax.training.history import Epoch, Fitted
from medtune_jax.training.step import TrainState

_FILE = "state.npz"
_SHARE = 20  # writing takes at most one twentieth of the time


@dataclass
class Partial:
    """Where a run keeps its state between epochs.

    folder: the run's own. interval: least seconds of training between two writes, so that a short run writes nothing;
    0 writes after every epoch. lasting: written after the last epoch too, since more epochs may be asked for later.
    seconds: what the run took before it was interrupted.
    """

    folder: Path
    interval: float = 10.0
    seconds: float = 0.0
    lasting: bool = False
    _began: float = field(default_factory=time.monotonic)
    _written: float = field(default_factory=time.monotonic)
    _pause: float = 0.0

    def due(self) -> bool:
        """Whether the time has come for another write."""
        pause = max(self.interval, self._pause) if self.interval else 0
        return time.monotonic() - self._written >= pause

    def keep(
        self, state: TrainState, fitted: Fitted, begun: Sequence[float] | np.ndarray = ()
    ) -> None:
        """Write the state. A disk that refuses costs the resume, not the run.

        begun: the losses of the steps that were taken since the last epoch of `fitted`.
        """
        began = time.monotonic()
        seconds = self.seconds + began - self._began
        with signals.saving(), suppress(OSError):
            self._write(_arrays(state, fitted), json.dumps(_record(fitted, begun, seconds)))
        self._written = time.monotonic()
        self._pause = _SHARE * (self._written - began)

    def _write(self, arrays: dict[str, np.ndarray], record: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with beside(self.folder / _FILE) as scratch:
            with scratch.open("wb") as stream:
                np.savez(stream, record=np.array(record), **arrays)  # type: ignore[arg-type]
            scratch.replace(self.folder / _FILE)

    def load(self, fresh: TrainState) -> tuple[TrainState, Fitted, np.ndarray] | None:
        """What was kept: the state in the structure of a fresh one, epochs, losses of the epoch that was begun.

        None when nothing that fits is there: absent, cut short, damaged (each array has a CRC in the archive), or of
        another program. Then the run starts anew.
        """
        try:
            with np.load(self.folder / _FILE) as kept:
                record = json.loads(str(kept["record"]))
                state = _restored(kept, "state", fresh)
                best = _restored(kept, "best", fresh.params) if record["best"] else None
                history = [Epoch(*row) for row in record["history"]]
                begun = np.array(record.get("begun", ()), np.float32)
                self.seconds = float(record["seconds"])
        except Exception:  # a damaged archive can raise whatever its readers do
            return None
        chosen = next((epoch for epoch in history if epoch.epoch == record["best"]), None)
        return state, Fitted(best, history, chosen, record["failure"]), begun


def digest(kept: tuple[TrainState, Fitted, np.ndarray] | None) -> str:
    """What tells a kept state from another one, or from none."""
    if kept is None:
        return ""
    state, fitted, begun = kept
    sums = {name: zlib.crc32(array.tobytes()) for name, array in _arrays(state, fitted).items()}
    return json.dumps([sums, _record(fitted, begun, 0.0)])


def _arrays(state: TrainState, fitted: Fitted) -> dict[str, np.ndarray]:
    trees = {"state": state, "best": fitted.params}
    return {
        f"{name}{number}": np.asarray(leaf)
        for name, tree in trees.items()
        for number, leaf in enumerate(jax.tree.leaves(tree))
    }


def _record(fitted: Fitted, begun: Sequence[float] | np.ndarray, seconds: float) -> dict[str, Any]:
    history = [(e.epoch, e.batches, float(e.loss), float(e.validation)) for e in fitted.history]
    best = fitted.best.epoch if fitted.best else 0
    return {
        "history": history,
        "best": best,
        "failure": fitted.failure,
        "seconds": seconds,
        "begun": [float(loss) for loss in begun],
    }


def _restored(kept: Mapping[str, np.ndarray], name: str, like: Any) -> Any:
    leaves, structure = jax.tree.flatten(like)
    restored = [kept[f"{name}{number}"] for number in range(len(leaves))]
    for leaf, wanted in zip(restored, leaves, strict=True):
        if leaf.shape != wanted.shape or leaf.dtype != wanted.dtype:
            raise ValueError(f"{name}: {leaf.dtype}{leaf.shape}, not {wanted.dtype}{wanted.shape}")
    return jax.tree.unflatten(structure, restored)
