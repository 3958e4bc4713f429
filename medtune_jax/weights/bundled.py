"""The ImageNet weights that come with the package, each with its licence beside it, or with another package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path

from medtune_jax import networks
from medtune_jax.networks.sources import Release
from medtune_jax.weights.checkpoint import Checkpoint
from medtune_jax.weights.convert import convert
from medtune_jax.weights.files import read


@contextmanager
def packaged(release: Release, network: str = "") -> Iterator[Path | None]:
    """The file of a release that comes with a package; None if that is not installed."""
    if release.package and find_spec(release.package) is None:
        yield None
        return
    folder = files(release.package) if release.package else files(__package__) / "data" / network
    with as_file(folder / release.file) as path:
        yield path


@cache
def bundled(network: str) -> Checkpoint | None:
    """The bundled or installed weights of a network, decoded once a process; None if there are none."""
    releases = networks.get(network).sources.releases
    release = next((release for release in releases if release.bundled or release.package), None)
    if release is None:
        return None
    with packaged(release, network) as path:
        if path is None:
            return None
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
