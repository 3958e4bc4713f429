"""Where a network's trained weights come from: what the files of each format call its layers, and the known files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medtune_jax.networks.preprocessing import Preprocessing

BERKELEY = "http://dl.caffe.berkeleyvision.org/"  # the releases of Caffe's own authors


@dataclass(frozen=True)
class Format:
    """How one kind of file holds the layers of a network.

    names: our name of a layer ("stage" or "stage/layer") -> the file's. A layer may always bear our own name.
    ordered: a file with other names fits too if it holds all layers in the order in which the network defines them.
    prefix: what begins every name in such a file.
    preprocessing: what the weights were trained with; None: the network's own.
    epsilon: of the batch norms after the convolutions, which are folded into them; None: the files hold none.
    more_epsilon: by how much that of the file's batch norms is above the network's: it is added to their variances.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    ordered: bool = False
    prefix: str = ""
    preprocessing: Preprocessing | None = None
    epsilon: float | None = None
    more_epsilon: float = 0.0


IN_ORDER = Format(ordered=True)


@dataclass(frozen=True)
class Release:
    """One known weight file. An empty or None entry is not known; never a guess.

    url: empty for the weights that come with the package (in weights/data/NETWORK), or with `package`, another one that
    our optional dependencies `extra` install; there `file` is the path in it. sha256: its first digits, if no more are
    published. size: in bytes. accuracy: on ImageNet's validation set, in words. credit: whose work it is.
    """

    name: str
    file: str
    url: str = ""
    sha1: str = ""
    sha256: str = ""
    size: int | None = None
    licence: str = ""
    accuracy: str = ""
    credit: str = ""
    package: str = ""
    extra: str = ""

    @property
    def bundled(self) -> bool:
        return not self.url and not self.package


@dataclass(frozen=True)
class Relative:
    """Another network that files are taken for, and which is not one of ours.

    threes: (outputs, inputs) of its 3x3 convolutions, by which it is known. advice: what to do instead.
    """

    name: str
    threes: tuple[tuple[int, int], ...]
    advice: str


@dataclass(frozen=True)
class Sources:
    """The formats that hold a network, by name, the known files, and the networks that are taken for it."""

    formats: Mapping[str, Format] = field(default_factory=dict)
    releases: tuple[Release, ...] = ()
    relatives: tuple[Relative, ...] = ()
