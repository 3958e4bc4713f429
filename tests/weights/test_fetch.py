"""Downloads from a server on this machine: whole, cut and resumed, wrong, absent."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files

import jax
import numpy as np
import pytest

from medtune_jax.errors import UserError
from medtune_jax.networks.sources import Release
from medtune_jax.paths import user_cache
from medtune_jax.weights import catalog, checkpoint, pretrained
from medtune_jax.weights.fetch import fetch

DATA = (
    files("medtune_jax.weights") / "data" / "squeezenet" / "compressed_SqueezeNet.net"
).read_bytes()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        span = self.headers.get("Range")
        server.ranges.append(span)
        if self.path.startswith("/absent"):
            return self.send_error(404)
        if self.path.startswith("/page"):
            return self._send(200, b"<html>sign in</html>", "text/html")
        if self.path.startswith("/plainpage"):
            return self._send(200, b"<!DOCTYPE html><html>sign in</html>")
        start = int(span[len("bytes=") : -1]) if span and server.resumes else 0
        if start >= len(server.body):
            return self.send_error(416)
        return self._send(206 if start else 200, server.body[start:], start=start)

    def _send(self, status, body, kind="application/octet-stream", start=0):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 206:
            end = start + len(body)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        self.end_headers()
        cut, self.server.cut = self.server.cut, None
        self.wfile.write(body[:cut])
        self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.body, server.cut, server.resumes, server.ranges = DATA, None, True, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def listed(server, monkeypatch):
    """A release with a known hash on the local server."""
    release = Release("local", "x.net", server.url + "/x.net", hashlib.sha1(DATA).hexdigest())
    monkeypatch.setattr(catalog, "table", lambda: [("squeezenet", release)])
    return release


def _parts():
    return sorted(path.name for path in user_cache().rglob("*") if path.is_file())


def test_whole_download_becomes_a_checkpoint(server, listed, tmp_path, capsys):
    fetch("local", tmp_path / "out")
    stored = checkpoint.load(tmp_path / "out")
    jax.tree.map(np.testing.assert_array_equal, stored.params, pretrained("squeezenet").params)
    assert stored.provenance["url"] == listed.url
    assert stored.provenance["sha1"] == listed.sha1
    shown = capsys.readouterr()
    assert shown.out == "" and "x.net" in shown.err
    assert _parts() == []


@pytest.mark.parametrize("resumes", [True, False])
def test_cut_download_is_resumed(server, listed, tmp_path, resumes):
    server.cut, server.resumes = 300_000, resumes
    with pytest.raises(UserError, match=r"stopped \(.*300,000 of 675,763.*run the same command"):
        fetch("local", tmp_path / "out")
    assert _parts() == ["x.net.part"] and not (tmp_path / "out").exists()
    fetch("local", tmp_path / "out")
    assert server.ranges == [None, "bytes=300000-"]
    assert checkpoint.load(tmp_path / "out").network == "squeezenet"


def test_whole_part_is_not_downloaded_again(server, listed, tmp_path):
    server.cut = 300_000
    with pytest.raises(UserError):
        fetch("local", tmp_path / "out")
    (part,) = user_cache().rglob("*.part")
    part.write_bytes(DATA)
    fetch("local", tmp_path / "out")
    assert server.ranges[-1] == f"bytes={len(DATA)}-"


def test_wrong_hash_deletes_the_download(server, listed, tmp_path):
    server.body = DATA[:-1] + bytes([DATA[-1] ^ 1])
    with pytest.raises(UserError, match=r"not the released x\.net: its sha1 is .* deleted"):
        fetch("local", tmp_path / "out")
    assert _parts() == [] and not (tmp_path / "out").exists()
    server.body = DATA
    fetch("local", tmp_path / "out")


def test_mirror_must_hold_the_same_file(server, listed, tmp_path):
    server.body = DATA[:-4]
    with pytest.raises(UserError, match="mirror"):
        fetch("local", tmp_path / "out", url=server.url + "/mirror/x.net")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/absent.net", r"answers 404 \(Not Found\)"),
        ("/page.caffemodel", "is a web page"),
        ("/plainpage.caffemodel", "is a web page"),
    ],
)
def test_what_is_no_weight_file(server, tmp_path, path, message):
    with pytest.raises(UserError, match=message):
        fetch("squeezenet", tmp_path / "out", url=server.url + path)
    assert _parts() == [] and not (tmp_path / "out").exists()


def test_any_file_of_a_network_and_no_resume_without_a_hash(server, tmp_path):
    server.cut = 1000
    for _ in range(2):
        try:
            fetch("squeezenet", tmp_path / "out", url=server.url + "/mine.net")
        except UserError:
            assert _parts() == []
    assert server.ranges == [None, None]
    assert checkpoint.load(tmp_path / "out").provenance["source"] == "mine.net"


def test_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    fetch("squeezenet", tmp_path / "out", url="http://weights.invalid/mine.net")
    assert server.ranges == [None]


def test_failed_conversion_keeps_a_verified_file(server, listed, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "table", lambda: [("alexnet", listed)])
    with pytest.raises(UserError, match="Deep Compression file, which is not known for alexnet"):
        fetch("local", tmp_path / "out")
    monkeypatch.setattr(catalog, "table", lambda: [("squeezenet", listed)])
    fetch("local", tmp_path / "out")
    assert len(server.ranges) == 1


def test_before_any_download(server, tmp_path):
    with pytest.raises(UserError, match="exists already"):
        fetch("squeezenet", tmp_path)
    with pytest.raises(UserError, match="no web address"):
        fetch("squeezenet", tmp_path / "out", url="file:///etc/hosts")
    with pytest.raises(UserError, match=r"stopped \(.*refused"):
        fetch("squeezenet", tmp_path / "out", url="http://127.0.0.1:1/x.net")
    assert server.ranges == []


def test_bundled_needs_no_network(server, tmp_path):
    fetch("squeezenet", tmp_path / "out")
    assert checkpoint.load(tmp_path / "out").provenance == pretrained("squeezenet").provenance
    assert server.ranges == []
