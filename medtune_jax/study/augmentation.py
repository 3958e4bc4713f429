"""Which depths of a study are augmented, and how: the fields of config.augment.

A depth that tunes the first stage reads the pixels in every step, and sees each patch changed anew in every epoch. Any
other starts from features that are computed once, so that it sees patches as they are, or, where it is asked for,
`copies` fixed views of each.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from medtune_jax.errors import UserError
from medtune_jax.networks import Network
from medtune_jax.patches import Augment
from medtune_jax.tuning import Depth

NONE, PIXELS = "none", "pixels"
_NOT_AMOUNTS = ("depths", "copies")


def augment_of(config: ConfigDict) -> Augment | None:
    """What is done to training patches; None where none are augmented. UserError for a field out of range."""
    fields = config.augment
    amounts = {name: value for name, value in fields.items() if name not in _NOT_AMOUNTS}
    augment = Augment(**amounts)
    if fields.depths not in (NONE, PIXELS):
        raise UserError(f"augment.depths is '{fields.depths}': give {PIXELS} or {NONE}")
    if fields.copies < 1:
        raise UserError(f"augment.copies is {fields.copies}: give 1 (no views) or more")
    if fields.depths == NONE and fields.copies > 1:
        raise UserError(
            f"augment.copies is {fields.copies}, but augment.depths is '{NONE}', which augments nothing: set "
            f"augment.depths={PIXELS} too"
        )
    return None if fields.depths == NONE or augment == Augment() else augment


def reaches_pixels(network: Network, depth: Depth) -> bool:
    """Whether a depth tunes the first stage, so that nothing before it can be kept."""
    return depth.tuned[0] == network.names[0]


def decides(config: ConfigDict, network: Network, depth: Depth) -> dict[str, Any]:
    """What of config.augment decides the results of a depth, for the name of its runs; {} where nothing does."""
    if augment_of(config) is None:
        return {}
    fields = dict(config.augment.to_dict())
    reach = [reaches_pixels(network, phase) for phase in depth.steps]
    if all(reach):
        del fields["copies"]
    elif fields["copies"] == 1 and not any(reach):
        return {}
    return {"augment": fields}
