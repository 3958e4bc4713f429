"""Tuning depths and what they are called."""

import pytest

from medtune_jax import networks, tuning
from medtune_jax.errors import UserError

ALEXNET = networks.get("alexnet", 2)


@pytest.mark.parametrize(
    ("text", "name", "label", "count"),
    [
        ("fc8", "fc8", "only fc8", 1),
        ("only fc8", "fc8", "only fc8", 1),
        ("conv4-fc8", "conv4", "conv4-fc8", 5),
        (" conv1 ", "conv1", "conv1-fc8", 8),
        ("scratch", "scratch", "scratch", 8),
        ("scratch-xavier", "scratch-xavier", "scratch (xavier)", 8),
    ],
)
def test_a_depth_is_named_by_its_first_tuned_stage(text, name, label, count):
    depth = tuning.parse(ALEXNET, text)
    assert (depth.name, depth.label) == (name, label)
    assert depth.tuned == ALEXNET.names[-count:]


def test_scratch_takes_the_initializer_of_the_network_or_the_named_one():
    assert tuning.parse(ALEXNET, "scratch").initializer == "gaussian"
    assert tuning.parse(ALEXNET, "scratch-msra").initializer == "msra"
    assert tuning.parse(ALEXNET, "conv1").initializer is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conv44", "no stage 'conv44'; did you mean 'conv4'"),
        ("conv2-conv4", "must end at fc8"),
        ("scratch-he", "names no initializer"),
    ],
)
def test_wrong_depths(text, message):
    with pytest.raises(UserError, match=message):
        tuning.parse(ALEXNET, text)


def test_every_depth_runs_from_the_head_to_scratch():
    every = tuning.every_depth(ALEXNET)
    assert every == ("fc8", "fc7", "fc6", "conv5", "conv4", "conv3", "conv2", "conv1", "scratch")
    assert [len(tuning.parse(ALEXNET, name).tuned) for name in every] == [*range(1, 9), 8]


def test_a_depth_is_one_phase_and_may_be_several():
    depth = tuning.parse(ALEXNET, "fc7")
    assert depth.phases == (tuning.Phase(("fc7", "fc8")),)
    probe = tuning.Phase(("fc8",))
    assert tuning.Depth("fc7", (probe, *depth.phases)).tuned == depth.tuned
