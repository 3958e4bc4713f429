"""Which depth to use: the paper's advice turned into a rule, and checked against the sweep.

The paper advises to start at the last layer and to include more layers until the validation
performance stops improving (Tajbakhsh et al. 2016, conclusions), without saying when that is. The
rule here, for one training-set size:

1. The first depth that has results (normally only the last stage) is the depth to beat.
2. Go one depth deeper. Over the seeds that both depths have, take the paired differences of
   validation performance. The deeper one wins if their mean exceeds both `minimum_gain` and
   `tolerance` standard errors of that mean (one seed has no standard error: `minimum_gain` decides
   alone). The winner is the new depth to beat.
3. Stop after `patience` depths in a row that did not win.

Ties so go to the shallower depth, which is cheaper and has less to overfit. A depth without
results (failed, not run) is passed over and uses up no patience. Test data play no part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

PATIENCE = 3
TOLERANCE = 1.0
MINIMUM_GAIN = 0.002

# depth -> seed -> performance (higher is better)
Performance = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Step:
    """One look at a depth: its mean validation performance, its gain over the depth to beat,
    the gain it needed, and whether it won. The first step has no gain."""

    depth: str
    mean: float
    gain: float | None
    needed: float | None
    won: bool


@dataclass(frozen=True)
class Recommendation:
    """The chosen depth and the steps that led to it, in the order they were taken."""

    depth: str
    steps: tuple[Step, ...]
    stopped_early: bool


@dataclass(frozen=True)
class Regret:
    """What the rule gives up against training every depth and taking the best validation mean.

    validation, test: performance of `best` minus performance of the rule's depth. `test` may be
    negative (the rule did better), and is None without test performance.
    """

    best: str
    validation: float
    test: float | None


def recommend(
    order: Sequence[str],
    validation: Performance,
    *,
    patience: int = PATIENCE,
    tolerance: float = TOLERANCE,
    minimum_gain: float = MINIMUM_GAIN,
) -> Recommendation | None:
    """Applies the rule of the module docstring; None when no depth has a result.

    Args:
      order: depths from shallow to deep, without scratch.
      validation: validation performance by depth and seed.
    """
    known = [depth for depth in order if validation.get(depth)]
    if not known:
        return None
    best, misses = known[0], 0
    steps = [Step(best, fmean(validation[best].values()), None, None, True)]
    for depth in known[1:]:
        if misses == patience:
            break
        differences = _paired(validation[depth], validation[best])
        if not differences:
            continue
        needed = max(minimum_gain, tolerance * _standard_error(differences))
        gain = fmean(differences)
        won = gain > needed
        steps.append(Step(depth, fmean(validation[depth].values()), gain, needed, won))
        best, misses = (depth, 0) if won else (best, misses + 1)
    return Recommendation(best, tuple(steps), len(steps) < len(known))


def regret(
    recommendation: Recommendation,
    order: Sequence[str],
    validation: Performance,
    test: Performance | None = None,
) -> Regret:
    """Compares the rule's depth with the best mean validation performance of the whole sweep.

    Of equal means the shallower depth is the best.
    """
    known = [depth for depth in order if validation.get(depth)]
    best = max(known, key=lambda depth: fmean(validation[depth].values()))

    def lost(performance: Performance) -> float:
        chosen = performance[recommendation.depth].values()
        return fmean(performance[best].values()) - fmean(chosen)

    return Regret(best, lost(validation), lost(test) if test else None)


def _paired(first: Mapping[int, float], second: Mapping[int, float]) -> list[float]:
    return [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]


def _standard_error(differences: Sequence[float]) -> float:
    if len(differences) < 2:
        return 0.0
    return stdev(differences) / math.sqrt(len(differences))
