"""Where ImageNet weights come from: the sources that `medtune weights fetch` knows by name."""

from __future__ import annotations

from dataclasses import dataclass

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.weights.files import RELEASES

_BERKELEY = "http://dl.caffe.berkeleyvision.org/"
_OXFORD = "http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/"


@dataclass(frozen=True)
class Source:
    """One known weight file. An empty or None entry is not known; never a guess.

    url: empty for the weights that come with the package.
    size: in bytes. accuracy: on ImageNet's validation set, in words.
    """

    name: str
    network: str
    file: str
    url: str = ""
    sha1: str = ""
    size: int | None = None
    licence: str = ""
    accuracy: str = ""

    @property
    def bundled(self) -> bool:
        return not self.url


def _released(
    name: str, network: str, folder: str, licence: str, size: int | None = None
) -> Source:
    """A file of Caffe's model zoo, with the hash and accuracy that `RELEASES` holds for it."""
    file = f"{name}.caffemodel"
    sha1 = next(sha1 for sha1, release in RELEASES.items() if release.name == file)
    return Source(name, network, file, folder + file, sha1, size, licence, RELEASES[sha1].accuracy)


_SOURCES = (
    Source(
        name="squeezenet",
        network="squeezenet",
        file="compressed_SqueezeNet.net",
        size=675_763,
        licence="BSD-2-Clause",
        accuracy="57.5% top-1, 80.3% top-5 before compression",
    ),
    _released("bvlc_alexnet", "alexnet", _BERKELEY, "unrestricted use"),
    _released("bvlc_googlenet", "googlenet", _BERKELEY, "unrestricted use", 53_533_754),
    _released("bvlc_reference_caffenet", "caffenet", _BERKELEY, "unrestricted use"),
    _released(
        "VGG_ILSVRC_16_layers", "vgg16", _OXFORD, "Creative Commons Attribution", 553_432_081
    ),
)


def table() -> list[Source]:
    """All known sources, the bundled one first."""
    return list(_SOURCES)


def find(name: str, url: str = "") -> Source:
    """The source of that name or, by a network's name, of that network.

    With `url`, a source's own name means a mirror of the same file (the hash must agree) and a
    network's name any file of that network.

    Raises:
        UserError: no such source or network, or no known source of that network.
    """
    named = {source.name: source for source in _SOURCES}
    if url and name in networks.NETWORKS:
        return Source(name, name, url.split("?")[0].rstrip("/").rsplit("/", 1)[-1], url)
    if name in named:
        return named[name]
    for source in _SOURCES:
        if source.network == name:
            return source
    if name in networks.NETWORKS:
        raise UserError(
            f"no address is known for weights of {name}: give one with --url, or convert a file"
        )
    raise UserError(f"unknown weights '{name}': choose one of {', '.join(named)}")
