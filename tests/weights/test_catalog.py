"""The table of sources agrees with the networks, the releases and the bundled file."""

import hashlib
from importlib.resources import files

import pytest

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.weights import bundled, catalog
from medtune_jax.weights.files import RELEASES
from medtune_jax.weights.verbs import weights_verb


def test_every_release_is_listed_with_its_hash_and_network():
    rows = {row.sha1: row for row in catalog.table() if row.sha1}
    assert rows.keys() == RELEASES.keys()
    for sha1, release in RELEASES.items():
        row = rows[sha1]
        assert (row.file, row.network, row.accuracy) == (
            release.name,
            release.network,
            release.accuracy,
        )
        assert row.url.endswith("/" + release.name)


def test_rows_name_known_networks_once():
    rows = catalog.table()
    assert len({row.name for row in rows}) == len(rows)
    assert {row.network for row in rows} <= networks.NETWORKS.keys()


def test_bundled_row_is_the_bundled_file():
    (row,) = (row for row in catalog.table() if row.bundled)
    data = (files("medtune_jax.weights") / "data" / row.network / row.file).read_bytes()
    stored = bundled.squeezenet().provenance
    assert len(data) == row.size
    assert hashlib.sha256(data).hexdigest() == stored["sha256"]
    assert row.licence == stored["licence"]


def test_what_the_readmes_of_the_releases_say():
    rows = {row.network: row for row in catalog.table()}
    assert rows["caffenet"].sha1 == "4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46"
    assert rows["caffenet"].accuracy == "57.4% top-1, 80.4% top-5"
    assert rows["alexnet"].accuracy == "57.1% top-1, 80.2% top-5"
    assert rows["googlenet"].licence == "unrestricted use"
    assert rows["vgg16"].size == 553_432_081


def test_the_verb_lists_every_source_in_two_lines():
    header, *lines = weights_verb(["list"], "", "", "").splitlines()
    assert header.split()[:4] == ["name", "network", "size", "licence"]
    for source, line, origin in zip(catalog.table(), lines[::2], lines[1::2], strict=True):
        assert line.split()[:2] == [source.name, source.network]
        assert line.endswith(source.accuracy) and header.index("accuracy") < len(line)
        assert origin.split()[1] == (source.sha1 or "-")
        assert origin.endswith(source.url or "comes with the package")


def test_find():
    assert catalog.find("alexnet").name == "bvlc_alexnet"
    assert catalog.find("bvlc_alexnet", "http://mirror/x").sha1
    anything = catalog.find("alexnet", "http://host/dir/my.caffemodel?x=1")
    assert (anything.network, anything.file, anything.sha1) == ("alexnet", "my.caffemodel", "")
    with pytest.raises(UserError, match="no address is known for weights of alexnet_torchvision"):
        catalog.find("alexnet_torchvision")
    with pytest.raises(UserError, match="unknown weights 'nonsense': choose one of squeezenet"):
        catalog.find("nonsense")
