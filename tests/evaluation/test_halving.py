"""The search for a depth: what it tries, skips and abandons, on learning curves made by hand."""

import pytest

from medtune_jax.evaluation.halving import outlook, rungs, search

ORDER = ("conv10", "fire9", "fire8", "fire7", "fire6", "fire5", "fire4", "fire3", "fire2", "conv1")


class Trainer:
    """Curves that rise towards `ends` at a `pace` of their own; three seeds that differ by a constant."""

    def __init__(self, ends, pace=None, diverged=()):
        self.ends, self.pace, self.diverged = (
            dict(zip(ORDER, ends, strict=False)),
            pace or {},
            diverged,
        )
        self.asked = []

    def __call__(self, depths, epochs):
        self.asked += [(depth, epochs) for depth in depths]
        return {
            depth: {}
            if depth in self.diverged
            else {s: self.curve(depth, epochs, s) for s in range(3)}
            for depth in depths
        }

    def curve(self, depth, epochs, seed):
        pace = self.pace.get(depth, 0.5)
        return [self.ends[depth] + seed / 100 - 0.3 * pace**e for e in range(1, epochs + 1)]


def test_looks_double_up_to_the_last_epoch():
    assert rungs(30) == [4, 8, 16, 30]
    assert rungs(64) == [8, 16, 32, 64]
    assert rungs(4) == [4]
    assert rungs(1) == [1]


def test_the_outlook_adds_what_the_second_half_brought():
    assert outlook([0.5, 0.6, 0.7, 0.65], 4) == pytest.approx(0.8)
    assert outlook([0.9], 1) == pytest.approx(0.9)
    assert outlook([0.5, 0.9], 2) == 1.0  # no figure is above it
    assert outlook([0.8, 0.7], 8) == pytest.approx(0.8)  # patience ended: nothing more to expect


@pytest.mark.parametrize("best", range(10))
def test_a_rise_that_ends_is_found_wherever_it_ends(best):
    """Of depths that are equally good any may be found, but for a quarter of the epochs."""
    ends = [0.70 + 0.02 * min(i, best) for i in range(10)]
    trainer = Trainer(ends)
    found = search(ORDER, 32, trainer)
    assert trainer.ends[found.depth] == max(ends)
    assert len(found.tried) <= 5
    assert {*found.tried, *found.skipped} == {*ORDER}
    assert {*found.reasons} == {*ORDER} - {found.depth}
    epochs = sum(found.epochs.values())
    assert epochs <= 0.25 * 32 * len(ORDER)
    assert found.epochs[found.depth] == 32


def test_only_one_depth_is_trained_to_the_end_and_none_twice_as_far():
    trainer = Trainer([0.70, 0.71, 0.72, 0.73, 0.74, 0.75, 0.75, 0.75, 0.75, 0.75])
    search(ORDER, 32, trainer)
    assert [depth for depth, epochs in trainer.asked if epochs == 32] == ["fire5"]
    assert len(trainer.asked) == len(set(trainer.asked))


def test_a_deep_depth_that_learns_slowly_is_not_abandoned_for_its_start():
    """After four epochs it is behind; what it gained in them says that it will be ahead."""
    trainer = Trainer([0.80, 0.92], pace={"conv10": 0.05, "fire9": 0.85})
    at_first = {depth: max(trainer.curve(depth, 4, 0)) for depth in ORDER[:2]}
    assert at_first["fire9"] < at_first["conv10"] - 0.03
    assert search(ORDER[:2], 32, trainer).depth == "fire9"


def test_equal_depths_go_to_the_shallowest():
    assert search(ORDER, 32, Trainer([0.8] * 10)).depth == "conv10"


def test_reasons_name_the_depth_that_decided():
    found = search(ORDER[:4], 16, Trainer([0.7, 0.8, 0.9, 0.9]))
    assert found.depth == "fire8"
    assert found.reasons["fire9"] == "fire8, deeper, was better than conv10"
    assert found.reasons["conv10"] == "behind fire8 after 4 epochs"


def test_what_diverged_has_lost_and_is_not_trained_on():
    trainer = Trainer([0.70 + 0.02 * i for i in range(10)], diverged=ORDER[5:])
    found = search(ORDER, 32, trainer)
    assert found.depth == "fire6"
    assert found.reasons["fire5"] == "diverged"
    assert {epochs for depth, epochs in trainer.asked if depth in ORDER[5:]} == {4}


def test_without_any_figure_there_is_no_depth():
    found = search(ORDER, 32, Trainer([0.8] * 10, diverged=ORDER))
    assert found.depth is None
    assert all(found.reasons[depth] for depth in ORDER)


def test_a_single_depth_is_trained_to_the_end():
    found = search(ORDER[:1], 16, Trainer([0.8]))
    assert (found.depth, found.epochs, found.reasons) == ("conv10", {"conv10": 16}, {})
