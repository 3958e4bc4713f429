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


@pytest.mark.parametrize(
    ("text", "name", "label", "tuned"),
    [
        ("only:conv2-conv4", "only:conv2-conv4", "conv2-conv4 and fc8", "conv2 conv3 conv4 fc8"),
        ("only:conv2", "only:conv2", "conv2 and fc8", "conv2 fc8"),
        ("only:conv4-fc8", "conv4", "conv4-fc8", "conv4 conv5 fc6 fc7 fc8"),  # depths again
        ("only:fc6-fc7", "fc6", "fc6-fc8", "fc6 fc7 fc8"),
        ("only:fc8", "fc8", "only fc8", "fc8"),
        ("lpft:fc6", "lpft:fc6", "LP-FT fc6-fc8", "fc6 fc7 fc8"),
        (" lpft:fc6-fc8 ", "lpft:fc6", "LP-FT fc6-fc8", "fc6 fc7 fc8"),
        ("bitfit", "bitfit", "BitFit", " ".join(ALEXNET.names)),
        ("gradual:fc6", "gradual:fc6", "gradual fc6-fc8", "fc6 fc7 fc8"),
    ],
)
def test_ways_to_tune(text, name, label, tuned):
    way = tuning.parse(ALEXNET, text)
    assert (way.name, way.label, way.tuned) == (name, label, tuple(tuned.split()))
    assert way.ordered == (":" not in name and name != "bitfit")
    assert ":" not in way.slug


def test_what_each_phase_of_a_way_trains():
    probe, tune = tuning.parse(ALEXNET, "lpft:fc6").steps
    assert (probe.tuned, tune.tuned) == (("fc8",), ("fc6", "fc7", "fc8"))
    steps = tuning.parse(ALEXNET, "gradual:fc6").steps
    assert [(len(step.tuned), step.brief) for step in steps] == [(1, 1), (2, 1), (3, 0)]
    (alone,) = tuning.parse(ALEXNET, "bitfit").steps
    assert alone.light == ALEXNET.names[:-1]  # the head is new, and trained whole


def test_lora_trains_factors_in_every_block_and_the_head():
    network = networks.get("vit_small_patch16", 2)
    way = tuning.parse(network, "lora:4")
    assert (way.name, way.label, way.rank) == ("lora:4", "LoRA rank 4", 4)
    assert way.tuned == network.names[1:] and way.light == network.names[1:-1]
    for text in ("lora:0", "lora:384", "lora:x", "lora:"):
        with pytest.raises(UserError, match="a rank from 1 to 383"):
            tuning.parse(network, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bitfti", "did you mean 'bitfit'"),
        ("lpft", "did you mean 'lpft:STAGE'"),
        ("lptf:fc6", "none called 'lptf'; did you mean 'lpft:STAGE'"),
        ("lora:4", "alexnet has none: take vit_base.*vit_small_patch16"),
        ("only:", "names no block"),
        ("only:conv4-conv2", "empty block.*'only:conv2-conv4'"),
        ("only:conv2-conv9", "no stage 'conv9'; did you mean"),
        ("only:cnv2-conv3", "did you mean 'conv2'"),
        ("conv2-conv4", "only:conv2-conv4"),
        ("bitfit:conv2", "write bitfit"),
        ("lpft:", "names no stage"),
        ("lpft:fc8", "the head alone: write fc8"),
        ("lpft:scratch", "not 'scratch'"),
        ("lpft:lpft:fc6", "not 'lpft:fc6'"),
        ("gradul:fc6", "did you mean 'gradual:STAGE'"),
        ("gradual:fc8", "the head alone"),
        ("gradual", "did you mean 'gradual:STAGE'"),
        ("lpft:fcc", "no stage 'fcc'"),
    ],
)
def test_wrong_ways(text, message):
    with pytest.raises(UserError, match=message):
        tuning.parse(ALEXNET, text)
