"""config.training.stochastic_depth: what it switches, and which runs it names anew."""

import pytest

from medtune_jax.report.methods import _stochastic_depth
from medtune_jax.study.config import default_config
from medtune_jax.study.plan import make_plan


def planned(network, on=True):
    config = default_config()
    config.network, config.sweep.depths = network, "all"
    config.training.stochastic_depth = on
    return make_plan(config, 2, "data", "weights")


def names(plan):
    return [run.name for run in plan.runs]


def test_the_switch():
    assert planned("convnext_tiny").network.stochastic_depth == pytest.approx(0.1)
    assert planned("convnext_tiny", on=False).network.stochastic_depth == 0


def test_runs_keep_their_names_where_nothing_changes():
    assert names(planned("squeezenet")) == names(planned("squeezenet", on=False))
    assert names(planned("efficientnet_b0")) != names(planned("efficientnet_b0", on=False))


def test_the_page_says_so():
    text = _stochastic_depth({"stochastic_depth": 0.1})["stochastic depth"]
    assert "up to 0.1 of the time; never in frozen stages" in text
    assert _stochastic_depth({"name": "squeezenet"}) == {}
