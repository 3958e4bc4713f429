"""config.training.norm: who uses whose statistics, and what is refused."""

import pytest

from medtune_jax.errors import UserError
from medtune_jax.report.methods import _norms
from medtune_jax.study.config import default_config
from medtune_jax.study.norms import check_norm, norm_of
from medtune_jax.study.plan import make_plan


def planned(norm="batch", network="resnet18", depths="fc,layer4_0,scratch", batch=32):
    config = default_config()
    config.network, config.sweep.depths = network, depths
    config.training.norm, config.training.batch = norm, batch
    return config, make_plan(config, 2, "data", "weights")


@pytest.mark.parametrize(
    ("norm", "expected"),
    [("stored", ("stored", "stored", "batch")), ("batch", ("stored", "batch", "batch"))],
)
def test_norm_of_a_depth(norm, expected):
    """Only the head is tuned; a block too; from scratch, where nothing is stored."""
    config, plan = planned(norm)
    check_norm(config, plan)
    assert tuple(norm_of(config, plan.network, depth) for depth in plan.depths) == expected


def test_a_network_without_batch_norms_is_what_it_was():
    config, plan = planned("stored", "squeezenet", "conv10,scratch", batch=1)
    check_norm(config, plan)
    assert {norm_of(config, plan.network, depth) for depth in plan.depths} == {"stored"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"norm": "bach"}, "did you mean 'batch'"),
        ({"network": "squeezenet", "depths": "conv10"}, "squeezenet has no batch norms"),
        ({"depths": "fc"}, "frozen stages use stored statistics always"),
        ({"batch": 1}, "'layer4_0-fc' takes its batch norms' statistics from the batch"),
        ({"norm": "stored", "batch": 1}, "'scratch' takes its batch norms' statistics"),
    ],
)
def test_refused_in_one_sentence(fields, message):
    with pytest.raises(UserError, match=message):
        check_norm(*planned(**fields))


def test_the_page_says_which():
    _, plan = planned()
    network = {"batch_norms": list(plan.network.batch_norms)}
    batch, stored = (
        _norms(network, {"training": {"norm": norm}}, plan.depths) for norm in ("batch", "stored")
    )
    assert "the batch's statistics in training where a stage is tuned" in batch["batch norms"]
    assert "from scratch, where nothing is stored, the batch's" in stored["batch norms"]
    assert _norms({"name": "squeezenet"}, {}, plan.depths) == {}
