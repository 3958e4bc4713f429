"""Networks as ordered named stages, and the table of those at hand: one file says all of one network."""

from difflib import get_close_matches
from importlib import import_module

from medtune_jax.errors import UserError
from medtune_jax.networks.initializers import INITIALIZERS, initial_params
from medtune_jax.networks.preprocessing import Preprocessing
from medtune_jax.networks.stages import Network, Params, Rates, Stage, parameter_count

NETWORKS = {
    "alexnet": "alexnet",
    "alexnet_torchvision": "alexnet",
    "caffenet": "alexnet",
    "convnext_tiny": "convnext",
    "densenet121": "densenet",
    "efficientnet_b0": "efficientnet",
    "efficientnet_lite0": "efficientnet",
    "googlenet": "googlenet",
    "googlenet_torchvision": "googlenet",
    "mobilenet_v1": "mobilenet",
    "resnet18": "resnet",
    "resnet50": "resnet",
    "resnet50_keras": "resnet",
    "squeezenet": "squeezenet",
    "vgg16": "vgg16",
    "vit_base_patch14_dinov2": "vit",
    "vit_base_patch16": "vit",
    "vit_small_patch14_dinov2": "vit",
    "vit_small_patch16": "vit",
}
"""Name -> the module of this package where a function of that name makes the network from a number of classes."""


def get(name: str, classes: int | None = None) -> Network:
    """The named network with a new head of `classes` outputs; without them as released, with ImageNet's 1,000.

    UserError with the nearest name if there is none.
    """
    if name not in NETWORKS:
        near = get_close_matches(name, NETWORKS, 1, 0)[0]
        raise UserError(
            f"unknown network '{name}'; did you mean '{near}'? (networks: {', '.join(NETWORKS)})"
        )
    make = getattr(import_module(f"{__name__}.{NETWORKS[name]}"), name)
    network: Network = make().as_released() if classes is None else make(classes)
    return network


__all__ = [
    "INITIALIZERS",
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
