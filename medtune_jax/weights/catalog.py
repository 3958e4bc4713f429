"""The known weight files of all networks: what `medtune weights fetch` knows by name."""

from __future__ import annotations

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.networks.sources import Release


def table() -> list[tuple[str, Release]]:
    """(network, known file) of all networks, the files that come with the package first."""
    rows = [
        (name, release)
        for name in networks.NETWORKS
        for release in networks.get(name).sources.releases
    ]
    return sorted(rows, key=lambda row: not row[1].bundled)


def find(name: str, url: str = "") -> tuple[str, Release]:
    """(network, file) of that name or, by a network's name, the first of that network.

    With `url`, a file's own name means a mirror of the same file (the hash must agree) and a
    network's name any file of that network.

    Raises:
        UserError: no such file or network, or no known file of that network.
    """
    rows = table()
    if url and name in networks.NETWORKS:
        return name, Release(name, url.split("?")[0].rstrip("/").rsplit("/", 1)[-1], url)
    named = {release.name: (network, release) for network, release in rows}
    if name in named:
        return named[name]
    for network, release in rows:
        if network == name:
            return network, release
    if name in networks.NETWORKS:
        raise UserError(
            f"no address is known for weights of {name}: give one with --url, or convert a file"
        )
    raise UserError(f"unknown weights '{name}': choose one of {', '.join(named)}")
