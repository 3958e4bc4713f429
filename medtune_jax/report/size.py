"""How many test patients and seeds the next study needs, from the variance components of this one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from medtune_jax.errors import UserError
from medtune_jax.evaluation.planning import (
    POWER,
    SEEDS,
    Components,
    Size,
    needed_seeds,
    sizes,
)
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.merit import Merit
from medtune_jax.words import count


@dataclass(frozen=True)
class NextStudy:
    """What shows a difference of `detect` between two depths with the power.

    sizes: test patients by number of seeds. seeds_here: seeds that do with this study's test patients; None where no
    number does. components: what they come from.
    """

    detect: float
    power: float
    sizes: list[Size]
    seeds_here: int | None
    components: Components
    merit: Merit

    @property
    def text(self) -> str:
        """As `medtune plan` prints it: a small table, and a sentence on the test patients at hand."""
        groups, found = self.merit.study.words.groups, self.components
        head = f"test {groups}"
        rows = [f"  {'seeds':>5}  {head:>14}"]
        rows += [
            f"  {size.seeds:>5}  {'no number' if size.patients is None else f'{size.patients:,}':>14}"
            for size in self.sizes
        ]
        here = count(found.patients, head)
        more = (
            f"With the {here} of this study {self.seeds_here} seeds would do."
            if self.seeds_here
            else f"With the {here} of this study no number of seeds would do."
        )
        return "\n".join(
            [
                f"A difference of {f'{self.detect:g} {self.merit.unit}'.rstrip()} in {self.merit.title} between two "
                f"depths, power {self.power:g} (one comparison, two-sided p < 0.05):",
                "",
                *rows,
                "",
                more,
            ]
        )


def next_study_of(evidence: Evidence, detect: float, power: float = POWER) -> NextStudy:
    """Arguments and errors as of `study.report.next_study`; the largest fraction of the training data counts."""
    fraction = evidence.main_fraction
    if fraction is None:
        raise UserError(
            "no tuned depth has a finished run yet: finish the sweep, or a small one, first"
        )
    found = evidence.components(tuned_pairs(evidence, fraction), fraction)
    return NextStudy(
        detect,
        power,
        sizes(found, detect, power),
        needed_seeds(found, found.patients, detect, power),
        found,
        evidence.merit,
    )


def tuned_pairs(evidence: Evidence, fraction: float) -> list[tuple[str, str]]:
    """All pairs of tuned depths; of a single one, it and the best scratch."""
    depths = evidence.known_tuned(fraction)
    if len(depths) < 2:
        return scratch_pairs(evidence, fraction)
    return list(combinations(depths, 2))


def scratch_pairs(evidence: Evidence, fraction: float) -> list[tuple[str, str]]:
    """Every tuned depth with the best scratch."""
    scratch = evidence.best_scratch(fraction)
    return [(depth, scratch) for depth in evidence.known_tuned(fraction) if scratch is not None]


def needed(found: Components, detect: float, groups: str) -> str:
    """'120 test patients with 5 seeds, or 80 with 10': two digits, rounded up; a plan is no more exact."""
    known = [size for size in sizes(found, detect) if size.patients is not None][:2]
    if not known:
        return f"more than {SEEDS[-1]} seeds, however many test {groups}"
    first, *more = [(_rounded_up(size.patients or 0), size.seeds) for size in known]
    return ", or ".join(
        [f"{first[0]:,} test {groups} with {first[1]} seeds", *(f"{n:,} with {s}" for n, s in more)]
    )


def _rounded_up(number: int) -> int:
    step = 10 ** max(len(str(number)) - 2, 0)
    return -(-number // step) * step
