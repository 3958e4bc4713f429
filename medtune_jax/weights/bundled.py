"""The ImageNet weights that come with the package, each with its licence beside it."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files

from medtune_jax import networks
from medtune_jax.weights.checkpoint import Checkpoint
from medtune_jax.weights.convert import convert
from medtune_jax.weights.files import read


@cache
def bundled(network: str) -> Checkpoint | None:
    """The bundled weights of a network, decoded once a process; None if there are none."""
    releases = networks.get(network).sources.releases
    release = next((release for release in releases if release.bundled), None)
    if release is None:
        return None
    with as_file(files(__package__) / "data" / network / release.file) as path:
        source = read(path, network)
    conversion = convert(source.layers, network)
    return Checkpoint(
        network,
        conversion.params,
        conversion.preprocessing,
        {"source": release.credit, "sha256": source.sha256, "licence": release.licence},
        conversion.network.classes,
        released=True,
    )
