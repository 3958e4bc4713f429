"""Which depth to use, without training all: bisection by the paper's rule, then successive halving over epochs.

The paper advises to start at the last layer and to include more layers until the validation performance stops
improving. If it rises with the depth and then stays or falls, the depth at which it stops is found by bisection:

1. The head is trained for a few epochs. Then the depth halfway to the deepest: where it is better by the paper's rule
   (`recommend`), depths shallower than it are skipped, else those deeper than it; and so on until none is left between.
2. Of the depths that were tried, the better half is trained for twice as many epochs, and so on (successive halving:
   Jamieson and Talwalkar, AISTATS 2016). The depth that the paper's rule prefers is always in that half; the rest go by
   their mean. One is trained to the end; once it has no rival, `measure` may go on with fewer seeds.

Of depths that are equally good bisection may find one that is deeper than need be, and what is better behind a dip may
not be found: only a sweep tells. A deeper depth has to gain `recommend.MINIMUM_GAIN` in the mean. One standard error,
which the rule asks for in a sweep, is not asked for: over a few seeds and epochs it is so large that no search would
leave the head.

After equally many epochs a shallow depth is further than a deep one, which learns longer and ends higher. So before the
end a depth is judged by its outlook: its best validation figure, and once more what the second half of its epochs
brought, as if another doubling brought as much as the last. One without figures (all its seeds diverged) has lost.
Test data play no part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from medtune_jax.evaluation.recommend import recommend

LEAST_EPOCHS = 4
_FIRST_SHARE = 8  # the first look at a depth takes an eighth of the epochs

Curves = Mapping[int, Sequence[float]]
"""seed -> validation figure after each epoch, 0 to 1, higher is better; fewer where patience ended"""
Measure = Callable[[Sequence[str], int], Mapping[str, Curves]]
"""(depths, epochs that each is to have been trained) -> curves of each"""


@dataclass(frozen=True)
class Search:
    """depth: the chosen one; None where none has a figure. epochs: how far each tried depth was trained.

    reasons: why each other depth was skipped or left.
    """

    order: tuple[str, ...]
    depth: str | None
    epochs: Mapping[str, int]
    reasons: Mapping[str, str]

    @property
    def tried(self) -> list[str]:
        return [depth for depth in self.order if depth in self.epochs]

    @property
    def skipped(self) -> list[str]:
        """Depths that were not trained at all."""
        return [depth for depth in self.order if depth not in self.epochs]


def rungs(epochs: int) -> list[int]:
    """How many epochs a depth has been trained each time it is looked at: 30 gives 4, 8, 16, 30."""
    rung, found = max(LEAST_EPOCHS, -(-epochs // _FIRST_SHARE)), []
    while rung < epochs:
        found.append(rung)
        rung *= 2
    return [*found, epochs]


def outlook(curve: Sequence[float], epochs: int) -> float:
    """The figure to expect after twice as many epochs: the best yet, plus what the second half of them brought."""
    best = max(curve[:epochs])
    return min(2 * best - max(curve[: max(epochs // 2, 1)]), 1.0)


def search(order: Sequence[str], epochs: int, measure: Measure) -> Search:
    """Applies the rule of the module docstring.

    Args:
      order: one depth or more, shallow to deep. epochs: the most of any.
    """
    return _Searching(tuple(order), rungs(epochs), measure).run()


@dataclass
class _Searching:
    order: tuple[str, ...]
    rungs: list[int]
    measure: Measure
    epochs: dict[str, int] = field(default_factory=dict)
    figures: dict[str, dict[int, float]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def run(self) -> Search:
        self._bisect()
        running = [depth for depth in self.order if self.figures.get(depth)]
        for rung in self.rungs[1:]:
            running = self._better_half(running, 1 if rung == self.rungs[-1] else 0)
            self._look(running, rung)
        running = self._better_half(running, 1)
        depth = running[0] if running else None
        return Search(self.order, depth, self.epochs, self.reasons)

    def _look(self, depths: Sequence[str], rung: int) -> None:
        last = rung == self.rungs[-1]
        for depth, curves in (self.measure(depths, rung) if depths else {}).items():
            self.epochs[depth] = rung
            self.figures[depth] = {
                seed: max(curve) if last else outlook(curve, rung) for seed, curve in curves.items()
            }
        for depth in depths:
            if not self.figures.get(depth):
                self.reasons[depth] = "diverged"

    def _bisect(self) -> None:
        """Depths between `low`, which is the best yet, and `high`, which is not better."""
        low, high = 0, len(self.order)
        self._look(self.order[:1], self.rungs[0])
        while high - low > 1:
            middle = (low + high) // 2
            one, other = self.order[low], self.order[middle]
            self._look([other], self.rungs[0])
            if self._preferred([one, other]) == other:
                self._skip(self.order[low + 1 : middle], f"{other}, deeper, was better than {one}")
                low = middle
            else:
                reason = f"{other}, shallower, was no better than {one}"
                self._skip(self.order[middle + 1 : high], reason)
                high = middle

    def _skip(self, depths: Sequence[str], reason: str) -> None:
        for depth in depths:
            if depth not in self.epochs:
                self.reasons[depth] = reason

    def _preferred(self, depths: Sequence[str]) -> str | None:
        found = recommend(depths, self.figures, tolerance=0.0)
        return found.depth if found else None

    def _better_half(self, running: Sequence[str], keep: int = 0) -> list[str]:
        """Half of the depths, rounded down, but one at least; or `keep` of them."""
        running = [depth for depth in running if self.figures.get(depth)]
        first = self._preferred(running)
        by_mean = sorted(running, key=lambda d: (d != first, -fmean(self.figures[d].values())))
        kept = by_mean[: keep or max(1, len(running) // 2)]
        for depth in running:
            if depth not in kept:
                self.reasons[depth] = f"behind {first} after {self.epochs[depth]} epochs"
        return [depth for depth in running if depth in kept]
