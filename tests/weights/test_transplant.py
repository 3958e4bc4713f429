"""Copying stages from one set of parameters into another."""

import jax
import numpy as np
import pytest

from medtune_jax import networks, weights
from medtune_jax.errors import UserError

NETWORK = networks.get("squeezenet", 2)


def drawn(classes=2, value=0.0):
    shapes = networks.get("squeezenet", classes).abstract_params(63)
    return jax.tree.map(lambda leaf: np.full(leaf.shape, value, np.float32), shapes)


def test_body_is_loaded_and_the_head_is_new():
    source, initial = drawn(1000, 1.0), drawn(2, 5.0)
    params, new = weights.transplant(source, initial, NETWORK)
    assert new == ("conv10",)
    assert tuple(params) == tuple(initial)
    assert params["fire5"]["expand3x3"]["kernel"].mean() == 1
    assert params["conv10"]["kernel"].mean() == 5
    assert params["conv10"]["kernel"].shape[-1] == 2


def test_the_head_is_loaded_when_it_is_kept():
    params, new = weights.transplant(drawn(2, 1.0), drawn(2, 5.0), NETWORK, keep_head=True)
    assert new == ()
    assert params["conv10"]["kernel"].mean() == 1


def test_stages_that_the_source_lacks_are_new_and_strangers_are_left_out():
    source = drawn(2, 1.0)
    del source["fire9"]
    source["fire99"] = source["fire8"]
    params, new = weights.transplant(source, drawn(2, 5.0), NETWORK)
    assert set(new) == {"fire9", "conv10"}
    assert params["fire9"]["squeeze1x1"]["kernel"].mean() == 5
    assert "fire99" not in params


def test_a_shape_mismatch_names_the_stage_and_both_shapes():
    source = drawn()
    source["fire5"]["expand3x3"]["kernel"] = np.zeros((3, 3, 7, 128), np.float32)
    with pytest.raises(UserError) as error:
        weights.transplant(source, drawn(), NETWORK)
    message = str(error.value)
    assert "'fire5'" in message
    assert "expand3x3/kernel" in message
    assert "(3, 3, 7, 128)" in message
    assert "(3, 3, 32, 128)" in message


def test_a_layer_that_one_side_lacks_is_a_mismatch():
    source = drawn()
    del source["fire5"]["expand3x3"]["bias"]
    with pytest.raises(UserError, match=r"expand3x3/bias is absent in the weights and \(128,\)"):
        weights.transplant(source, drawn(), NETWORK)


def test_the_head_is_checked_when_it_is_kept():
    with pytest.raises(UserError, match="stage 'conv10'"):
        weights.transplant(drawn(1000), drawn(2), NETWORK, keep_head=True)
