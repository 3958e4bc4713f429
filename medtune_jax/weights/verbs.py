"""What `medtune weights ...` does."""

from __future__ import annotations

from medtune_jax.errors import UserError
from medtune_jax.weights.catalog import Source


def weights_verb(arguments: list[str], image: str, output: str, url: str) -> str:
    """list | fetch NAME | show DIR | run DIR; returns the text to print."""
    import absl.logging

    from medtune_jax.weights import catalog, fetch, inspect

    absl.logging.set_verbosity(absl.logging.FATAL)  # Orbax must not log beside our one sentence

    match arguments:
        case ["list"]:
            return "\n".join(map(_row, catalog.table()))
        case ["fetch", name]:
            return inspect.show(fetch.fetch(name, _needed(output, "--output=DIR"), url))
        case ["show", directory]:
            return inspect.show(directory)
        case ["run", directory]:
            picture = _needed(image, "--image=FILE")
            return inspect.run_image(directory, picture, _needed(output, "--output=acts.npz"))
    raise UserError(
        f"medtune weights takes list, fetch NAME, show DIR or run DIR, not '{' '.join(arguments)}'"
    )


def _row(source: Source) -> str:
    size = f"{source.size:,} bytes" if source.size else "size unknown"
    where = "comes with the package" if source.bundled else source.url
    facts = [
        source.network,
        size,
        source.sha1 or "hash unknown",
        source.licence or "licence unknown",
    ]
    return f"{source.name}: {', '.join(facts)}, {source.accuracy or 'accuracy unknown'}; {where}"


def _needed(value: str, flag: str) -> str:
    if not value:
        raise UserError(f"something is missing: add {flag}")
    return value
