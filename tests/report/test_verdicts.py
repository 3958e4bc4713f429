"""Each conclusion of the paper can be supported, refuted or left open."""

import pytest

from medtune_jax.report.evidence import Evidence
from medtune_jax.report.load import load_study
from medtune_jax.report.verdicts import CANNOT_SAY, NOT_SUPPORTED, SUPPORTED, judge
from tests.report.fake_study import write_study

DEPTHS = ("conv10", "fire9", "fire8", "fire7", "fire6", "fire5", "scratch")


def verdicts(directory, skill, **options):
    options = {"depths": DEPTHS, "fractions": (1.0, 0.1), "seeds": 3, **options}
    study = load_study(write_study(directory, skill=skill, **options))
    return [v.verdict for v in judge(Evidence(study))]


def rising(depth, fraction):
    middle = {"conv10": 1.0, "fire9": 1.8, "fire8": 3.0, "scratch": 1.2}.get(depth, 2.0)
    return middle * (fraction if depth == "scratch" else 1.0)


def test_data_that_agree_with_the_paper(tmp_path):
    assert verdicts(tmp_path, rising) == [SUPPORTED] * 4


def test_data_that_contradict_the_paper(tmp_path):
    """Scratch is better, loses less, and is faster; the best depth hides behind a long dip."""

    def contrary(depth, fraction):
        if depth == "scratch":
            return 4.0
        dip = {"conv10": 1.6, "fire9": 1.2, "fire8": 1.0, "fire7": 0.8, "fire6": 0.8, "fire5": 2.2}
        return dip[depth] * fraction**0.5

    def speed(depth):
        return 1.0 if depth == "scratch" else 6.0

    found = verdicts(tmp_path, contrary, speed=speed)
    assert found == [NOT_SUPPORTED, NOT_SUPPORTED, CANNOT_SAY, NOT_SUPPORTED]


def test_too_little_to_say(tmp_path):
    found = verdicts(tmp_path, rising, depths=("conv10", "fire8"))
    assert found == [CANNOT_SAY] * 4
    nothing = [(d, f, s) for d in DEPTHS for f in (1.0, 0.1) for s in range(3)]
    (tmp_path / "empty").mkdir()
    assert verdicts(tmp_path / "empty", rising, missing=nothing) == [CANNOT_SAY] * 4


def test_a_collapsed_run_at_full_data_leaves_everything_open(tmp_path):
    """At the smallest fraction a collapse of scratch stays a finding, with a warning."""
    for name, key in (("full", ("conv10", 1.0, 1)), ("small", ("scratch", 0.1, 0))):
        (tmp_path / name).mkdir()
        found = verdicts(tmp_path / name, rising, collapsed=[key])
        assert found == [CANNOT_SAY if name == "full" else SUPPORTED] * 4


def test_few_patients_leave_it_open(tmp_path):
    def close(depth, fraction):
        return 1.2 if depth == "scratch" else 1.1

    assert verdicts(tmp_path, close, patients=8, rng_seed=3)[0] == CANNOT_SAY


@pytest.mark.parametrize("fractions", [(1.0,), (1.0, 0.1)])
def test_robustness_needs_two_training_set_sizes(tmp_path, fractions):
    second = verdicts(tmp_path, rising, fractions=fractions)[1]
    assert second == (SUPPORTED if len(fractions) == 2 else CANNOT_SAY)


def test_contrasts_are_paired(tmp_path):
    """A method against itself differs by nothing at all; sums of contrasts add up."""
    study = load_study(write_study(tmp_path, skill=rising, depths=DEPTHS, seeds=3))
    evidence = Evidence(study)
    one, other = ("fire8", 1.0), ("scratch", 1.0)
    nothing = evidence.contrast({one: 0.0})
    assert nothing.estimate == 0 and nothing.p is None and "same" in nothing.why
    there, back = evidence.contrast({one: 1, other: -1}), evidence.contrast({other: 1, one: -1})
    assert there.estimate == pytest.approx(-back.estimate)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.estimate == pytest.approx(
        evidence.test(*one).estimate - evidence.test(*other).estimate
    )


def test_holm_covers_every_comparison_shown(tmp_path):
    study = load_study(write_study(tmp_path, skill=rising, depths=DEPTHS, fractions=(1.0, 0.1)))
    comparisons = Evidence(study).comparisons
    assert len(comparisons) == 4
    assert all(c.holm_p >= c.difference.p for c in comparisons)
    assert min(c.holm_p for c in comparisons) == pytest.approx(
        4 * min(c.difference.p for c in comparisons)
    )
