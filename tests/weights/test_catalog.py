"""The table of sources agrees with the networks, the releases and the bundled file."""

import hashlib
import re
from pathlib import Path

import pytest

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.weights import catalog, pretrained
from medtune_jax.weights.verbs import weights_verb

WEIGHTS = Path(catalog.__file__).parent


def test_every_release_is_listed_with_its_network():
    rows = catalog.table()
    assert len({release.name for _, release in rows}) == len(rows)
    for network, release in rows:
        assert release in networks.get(network).sources.releases
        assert release.bundled or release.package or release.url.endswith("/" + release.file)
        hashed = len(release.sha1) == 40 or f"-{release.sha256}." in release.file
        assert release.bundled or hashed


@pytest.mark.parametrize("path", sorted(WEIGHTS.rglob("*.py")), ids=lambda path: path.stem)
def test_weights_are_mechanism(path):
    """What is known of one network stands in the network's own file."""
    text = path.read_text().lower()
    known = {re.match("[a-z]+", name)[0] for name in networks.NETWORKS}
    assert "vgg" in known and not [name for name in known if name in text]


def test_bundled_row_is_the_bundled_file():
    ((network, row),) = (row for row in catalog.table() if row[1].bundled)
    data = (WEIGHTS / "data" / network / row.file).read_bytes()
    stored = pretrained(network).provenance
    assert len(data) == row.size
    assert hashlib.sha256(data).hexdigest() == stored["sha256"]
    assert row.licence == stored["licence"]


def test_what_the_readmes_of_the_releases_say():
    rows = dict(catalog.table())
    assert rows["caffenet"].sha1 == "4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46"
    assert rows["caffenet"].accuracy == "57.4% top-1, 80.4% top-5"
    assert rows["alexnet"].accuracy == "57.1% top-1, 80.2% top-5"
    assert rows["googlenet"].licence == "unrestricted use"
    assert rows["vgg16"].size == 553_432_081


def test_the_verb_lists_every_source_in_two_lines():
    header, *lines = weights_verb(["list"], "", "", "").splitlines()
    assert header.split()[:4] == ["name", "network", "size", "licence"]
    rows = catalog.table()
    for (network, release), line, origin in zip(rows, lines[::2], lines[1::2], strict=True):
        assert line.split()[:2] == [release.name, network]
        assert line.endswith(release.accuracy) and header.index("accuracy") < len(line)
        shown = f"{release.sha256}..." if release.sha256 else "-"
        assert origin.split()[1] == (release.sha1 or shown)
        package = f"medtune-jax[{release.extra}]" if release.package else "the package"
        assert release.url or package in origin
        assert origin.endswith(release.url)


def test_find():
    assert catalog.find("alexnet")[1].name == "bvlc_alexnet"
    assert catalog.find("bvlc_alexnet", "http://mirror/x")[1].sha1
    network, anything = catalog.find("alexnet", "http://host/dir/my.caffemodel?x=1")
    assert (network, anything.file, anything.sha1) == ("alexnet", "my.caffemodel", "")
    with pytest.raises(UserError, match="no address is known for weights of alexnet_torchvision"):
        catalog.find("alexnet_torchvision")
    with pytest.raises(UserError, match="unknown weights 'nonsense': choose one of squeezenet"):
        catalog.find("nonsense")
