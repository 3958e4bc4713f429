"""What the scores of candidates are judged against, in every application that finds lesions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medtune_jax.evaluation.froc import Detections, sensitivities


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The test images [I], their lesions [L], found or not, and their candidates [M].

    images: str [I]. groups: str [I], what intervals draw (video, patient). lesion_image: int [L]. candidates: str [M].
    candidate_image: int [M]. hits: int [H, 2], (candidate, lesion); a candidate may hit several lesions and a lesion
    several candidates. hand_crafted: float [M], scores of the hand-crafted judge.
    """

    images: np.ndarray
    groups: np.ndarray
    lesion_image: np.ndarray
    candidates: np.ndarray
    candidate_image: np.ndarray
    hits: np.ndarray
    hand_crafted: np.ndarray

    @property
    def positive(self) -> np.ndarray:
        """bool [M]: the candidate hits a lesion."""
        return np.isin(np.arange(len(self.candidates)), self.hits[:, 0])

    @property
    def candidate_groups(self) -> np.ndarray:
        """str [M]: the group of each candidate."""
        return self.groups[self.candidate_image]

    @property
    def reachable(self) -> float:
        """Share of the lesions that any candidate hits: no sensitivity can be higher."""
        return len(np.unique(self.hits[:, 1])) / len(self.lesion_image)

    def in_order(self, names: Sequence[str] | np.ndarray, values: np.ndarray) -> np.ndarray:
        """Values [..., M] of candidates by name, in the order of `candidates`."""
        row = {name: number for number, name in enumerate(names)}
        return np.asarray(values)[..., [row[name] for name in self.candidates]]

    def detections(self, scores: np.ndarray) -> Detections:
        """The candidates with scores [M] for the FROC: a row per hit and a row per false candidate."""
        false = np.flatnonzero(~self.positive)
        rows = np.concatenate([self.hits, np.stack([false, np.full(len(false), -1)], 1)])
        candidate, lesion = rows[np.lexsort(rows.T[::-1])].T
        return Detections(
            len(self.images),
            self.lesion_image,
            self.candidate_image[candidate],
            scores[candidate],
            lesion,
        )

    def figures(
        self, names: np.ndarray, scores: np.ndarray, rates: Sequence[float]
    ) -> dict[str, float]:
        """sensitivity_at_RATE at each number of false positives per image, of scores [M] by name."""
        figures = sensitivities([self.detections(self.in_order(names, scores))], rates)
        return {f"sensitivity_at_{r:g}": float(s) for r, s in zip(rates, figures, strict=True)}
