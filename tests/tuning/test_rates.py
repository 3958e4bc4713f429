"""Learning rates by stage."""

import pytest

from medtune_jax import networks, tuning

ALEXNET = networks.get("alexnet", 2)


def rates_of(depth, new=(), **more):
    return tuning.stage_rates(ALEXNET, tuning.parse(ALEXNET, depth), new, **more)


def test_rates_of_table_two():
    """Tajbakhsh et al. 2016, Table II: tuned 0.001, the new head 0.01, bias twice as much."""
    rates = rates_of("conv4", ("fc8",))
    weights = {stage: rate.weight for stage, rate in rates.items()}
    assert weights == {"conv4": 1e-3, "conv5": 1e-3, "fc6": 1e-3, "fc7": 1e-3, "fc8": 1e-2}
    assert all(rate.bias == 2 * rate.weight for rate in rates.values())


def test_rates_from_scratch_are_alike_everywhere():
    rates = rates_of("scratch", ALEXNET.names)
    assert set(rates) == set(ALEXNET.names)
    assert set(rates.values()) == {tuning.StageRates(1e-3, 2e-3)}


def test_a_stage_without_weights_learns_at_the_heads_rate():
    rates = rates_of("fc6", ("fc6", "fc8"))
    assert (rates["fc6"].weight, rates["fc7"].weight) == (1e-2, 1e-3)


def test_stage_decay_lowers_the_rate_away_from_the_head():
    rates = rates_of("fc6", ("fc8",), stage_decay=0.5)
    got = [rates[stage].weight for stage in ("fc6", "fc7", "fc8")]
    assert got == pytest.approx([1e-3 / 4, 1e-3 / 2, 1e-2])


def test_side_heads_have_rates_where_they_are_trained():
    network = networks.get("googlenet", 2)
    depth = tuning.parse(network, "scratch")
    sides = tuple(side.stage.name for side in network.auxiliary)
    rates = tuning.stage_rates(network, depth, trained=(*depth.tuned, *sides), stage_decay=0.5)
    assert sides and {rates[side].weight for side in sides} == {network.rates.scratch}
