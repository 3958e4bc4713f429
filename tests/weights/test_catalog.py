"""The table of sources agrees with the networks, the releases and the bundled file."""

import hashlib
from importlib.resources import files

import pytest

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.weights import bundled, catalog
from medtune_jax.weights.files import RELEASES


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


def test_find():
    assert catalog.find("alexnet").name == "bvlc_alexnet"
    assert catalog.find("bvlc_alexnet", "http://mirror/x").sha1
    anything = catalog.find("alexnet", "http://host/dir/my.caffemodel?x=1")
    assert (anything.network, anything.file, anything.sha1) == ("alexnet", "my.caffemodel", "")
    with pytest.raises(UserError, match="no address is known for weights of vgg16"):
        catalog.find("vgg16")
    with pytest.raises(UserError, match="unknown weights 'nonsense': choose one of squeezenet"):
        catalog.find("nonsense")
