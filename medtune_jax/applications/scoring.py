"""Patches through the networks of an ensemble, exactly as a study scores its test set."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from medtune_jax import compilation
from medtune_jax.applications.ensemble import Ensemble
from medtune_jax.evaluation import log_odds
from medtune_jax.networks import Network, Params
from medtune_jax.patches import PatchSet
from medtune_jax.training.objectives import SIGMOID, SOFTMAX
from medtune_jax.training.precision import precision

_BATCH = 64


class Scorer:
    """Log-odds of patches under each member. All patches that it is given are of one kind, size and window."""

    def __init__(self, ensemble: Ensemble) -> None:
        first = ensemble.members[0].checkpoint
        self._network: Network = first.build()
        self._network.check_size(ensemble.size)
        self._params: list[Params] = [jax.device_put(m.checkpoint.params) for m in ensemble.members]
        self._preprocess = first.preprocessing
        self._dtype = precision(ensemble.config["training"]["dtype"])
        self._log_odds = (SIGMOID if ensemble.findings else SOFTMAX).log_odds
        self._first: Callable[..., jax.Array] | None = None

    def __call__(self, patches: PatchSet) -> np.ndarray:
        """float64 [S, P, C] by the S members."""
        arrays = jax.tree.map(jnp.asarray, patches.arrays())
        first = self._first_input(patches)
        parts = []
        for start in range(0, len(patches), _BATCH):
            # Always as many rows, so that each stage compiles once.
            rows = np.minimum(np.arange(start, start + _BATCH), len(patches) - 1)
            x = first(arrays, rows.astype(np.int32))
            parts.append([np.asarray(self._network.run(p, x), np.float32) for p in self._params])
        logits = np.concatenate(parts, axis=1)[:, : len(patches)]
        return self._log_odds(logits)

    def _first_input(self, patches: PatchSet) -> Callable[..., jax.Array]:
        """From the arrays of any patches of this kind, and row numbers, to the input of the first stage."""
        if self._first is None:

            def first(arrays: dict[str, jax.Array], rows: jax.Array) -> jax.Array:
                return self._preprocess(patches.take(arrays, rows), self._dtype)

            self._first = jax.jit(first, compiler_options=compilation.options())
        return self._first


def by_case(of_patches: np.ndarray, member: np.ndarray, count: int) -> np.ndarray:
    """Log-odds float32 [S, count, C] of the mean probability over each case's patches, from theirs [S, P, C]."""
    means = [log_odds.mean_by(scores, member, count) for scores in of_patches]
    return np.stack(means).astype(np.float32)


def mean_of_runs(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over the S runs of scores [S, N, C]: log-odds [N, C] of the mean probability, and the probabilities' standard
    deviation [N, C] (0 of a single run)."""
    runs, count, classes = scores.shape
    flat = scores.reshape(runs * count, classes)
    mean = log_odds.mean_by(flat, np.tile(np.arange(count), runs), count) if count else flat
    probabilities = log_odds.probabilities(scores)
    spread = probabilities.std(axis=0, ddof=1) if runs > 1 else np.zeros((count, classes))
    return mean.astype(np.float32), spread
