"""Networks as ordered named stages, and the table of those at hand."""

from collections.abc import Callable
from difflib import get_close_matches

from medtune_jax.errors import UserError
from medtune_jax.networks.alexnet import alexnet, alexnet_torchvision
from medtune_jax.networks.caffenet import caffenet
from medtune_jax.networks.fillers import FILLERS, initial_params
from medtune_jax.networks.googlenet import googlenet, googlenet_torchvision
from medtune_jax.networks.squeezenet import squeezenet
from medtune_jax.networks.stages import (
    Network,
    Params,
    Preprocessing,
    Rates,
    Stage,
    parameter_count,
)
from medtune_jax.networks.vgg16 import vgg16

NETWORKS: dict[str, Callable[[int], Network]] = {
    "alexnet": alexnet,
    "alexnet_torchvision": alexnet_torchvision,
    "caffenet": caffenet,
    "googlenet": googlenet,
    "googlenet_torchvision": googlenet_torchvision,
    "squeezenet": squeezenet,
    "vgg16": vgg16,
}


def get(name: str, classes: int = 1000) -> Network:
    """The named network with `classes` outputs; UserError with the nearest name if there is none."""
    if name not in NETWORKS:
        near = get_close_matches(name, NETWORKS, 1, 0)[0]
        raise UserError(
            f"unknown network '{name}'; did you mean '{near}'? (networks: {', '.join(NETWORKS)})"
        )
    return NETWORKS[name](classes)


__all__ = [
    "FILLERS",
    "NETWORKS",
    "Network",
    "Params",
    "Preprocessing",
    "Rates",
    "Stage",
    "get",
    "initial_params",
    "parameter_count",
]
