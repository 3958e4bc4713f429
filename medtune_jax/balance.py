"""What is done about rare classes in training: config.training.balance, and what it makes of the probabilities."""

from __future__ import annotations

from difflib import get_close_matches
from typing import NamedTuple

from medtune_jax.errors import UserError


class Balance(NamedTuple):
    """done: to the training patches, a sentence. mix: of which the networks' probabilities are, for prose."""

    name: str
    done: str
    mix: str


_EQUAL = "a mix with each class equally often"
DOWNSAMPLE = Balance(
    "downsample",
    "every class is thinned out at random to the size of the smallest one",
    _EQUAL,
)
WEIGHTS = Balance(
    "weights",
    "all patches are used, and each counts in the loss by the inverse of its class's frequency in the training subset",
    _EQUAL,
)
NONE = Balance(
    "none",
    "all patches are used and count alike",
    "the mix of their training set",
)
BALANCES = {balance.name: balance for balance in (DOWNSAMPLE, WEIGHTS, NONE)}

# The field was once a yes or no: so it stands in older studies, and so it may be given on the command line.
_BEFORE = {"true": DOWNSAMPLE, "false": NONE}


def chosen(value: str | bool) -> Balance:
    """Of a config's training.balance; UserError, with the nearest name, for an unknown one."""
    name = str(value).strip().lower()
    if name in _BEFORE:
        return _BEFORE[name]
    if name not in BALANCES:
        near = get_close_matches(name, BALANCES, 1, 0)[0]
        raise UserError(
            f"training.balance is '{value}'; did you mean '{near}'? (downsample, weights, none)"
        )
    return BALANCES[name]


def recorded(value: str | bool) -> str | bool:
    """As a run's name digests it: runs of before the field had words keep their names."""
    balance = chosen(value)
    return {DOWNSAMPLE: True, NONE: False}.get(balance, balance.name)
