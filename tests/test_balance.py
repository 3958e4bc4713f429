"""training.balance: its words, and what it was called before."""

import pytest

from medtune_jax import balance
from medtune_jax.errors import UserError


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (True, "downsample"),
        ("True", "downsample"),
        (False, "none"),
        ("false", "none"),
        ("Weights", "weights"),
    ],
)
def test_a_yes_or_no_of_before_is_understood(value, name):
    assert balance.chosen(value).name == name


def test_an_unknown_one_names_the_nearest():
    with pytest.raises(UserError, match=r"training\.balance is 'wieghts'; did you mean 'weights'"):
        balance.chosen("wieghts")
