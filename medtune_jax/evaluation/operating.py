"""The threshold of a run, chosen on its own validation scores by a rule that is stated beforehand.

Test data play no part, and every run has a threshold of its own, so that the chance of its choice is among what runs
differ by (`readers`). The rules use the share of each class that is called right, never the numbers of both classes: a
validation set of another mix than the test set gives the same threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.evaluation.labels import sides
from medtune_jax.evaluation.metric import task_score
from medtune_jax.evaluation.sweep import ThresholdSweep

YOUDEN, SENSITIVITY, SPECIFICITY = "youden", "sensitivity", "specificity"
_KINDS = (YOUDEN, SENSITIVITY, SPECIFICITY)
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Rule:
    """kind: "youden" (the largest sensitivity + specificity), or which of both is to be at least `target` (0..1)."""

    kind: str = YOUDEN
    target: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Rule:
        """From config.threshold: youden, sensitivity=0.95 or specificity=0.9; UserError that says what to give."""
        kind, given, number = (part.strip() for part in str(text).partition("="))
        if kind not in _KINDS:
            near = get_close_matches(kind, _KINDS, 1, 0)[0]
            raise UserError(
                f"threshold is '{text}': did you mean '{near}'? (youden, sensitivity=0.95 or specificity=0.9)"
            )
        if bool(given) == (kind == YOUDEN):
            meant = YOUDEN if kind == YOUDEN else f"{kind}=0.95"
            raise UserError(f"threshold is '{text}': write {meant}")
        try:
            target = float(number) if given else 0.0
        except ValueError:
            target = -1.0
        if given and not 0 < target <= 1:
            raise UserError(
                f"threshold is '{text}': give a number above 0 and at most 1, as in {kind}=0.95"
            )
        return cls(kind, target)

    def __str__(self) -> str:
        """As the page says it."""
        if self.kind == YOUDEN:
            return "the largest sum of sensitivity and specificity (Youden)"
        other = SPECIFICITY if self.kind == SENSITIVITY else SENSITIVITY
        return f"the highest {other} with a {self.kind} of at least {self.target:g}"

    def threshold(self, positive: np.ndarray, score: np.ndarray) -> float:
        """Log-odds from which on an image is called positive (score >= threshold).

        Half-way between two neighbouring scores; the lowest score where all must be called. Of equal ones, the lowest:
        it calls more of the positives.

        Args:
          positive: bool [N]. score: log-odds [N], of validation images.

        Raises:
          UserError: scores that are no numbers, a class without an image, nothing but equal scores, or no threshold
            that reaches the target.
        """
        if not np.isfinite(score).all():
            raise UserError("a validation score is no number, since training diverged")
        if positive.all() or not positive.any():
            raise UserError("the validation images are all of one class")
        levels = np.unique(score)[::-1]
        if len(levels) == 1:
            raise UserError("all validation scores are equal")
        sweep = ThresholdSweep(score)
        hits, alarms = (sweep.counts(side.astype(float))[1:] for side in (positive, ~positive))
        sensitivity, specificity = hits / hits[-1], 1 - alarms / alarms[-1]
        if (
            self.kind == YOUDEN
        ):  # the last cut would call everything, and sums to 1 whatever the scores
            value = (sensitivity + specificity)[:-1]
        else:
            reached, value = (
                (sensitivity, specificity)
                if self.kind == SENSITIVITY
                else (specificity, sensitivity)
            )
            value = np.where(reached >= self.target - _ROUNDING, value, -np.inf)
            if not np.isfinite(value).any():
                raise UserError(
                    f"no threshold has a {self.kind} of {self.target:g} on its validation images"
                )
        cut = int(np.flatnonzero(value >= value.max() - _ROUNDING)[-1])
        below = levels[cut + 1] if cut + 1 < len(levels) else levels[cut]
        return float((levels[cut] + below) / 2)

    def thresholds(
        self, labels: np.ndarray, scores: np.ndarray, tasks: Sequence[tuple[int, ...]]
    ) -> np.ndarray:
        """[K] of the K binary tasks, from labels (`evaluation.labels`) and log-odds [N, C]; raises as `threshold`."""
        scores = np.asarray(scores, float)
        found = []
        for task in tasks:
            positive, negative = sides(labels, task)
            known = positive | negative
            found.append(self.threshold(positive[known], task_score(scores[known], task)))
        return np.array(found)
