"""What `medtune weights ...` does."""

from __future__ import annotations

from medtune_jax.errors import UserError


def weights_verb(arguments: list[str], image: str, output: str, url: str) -> str:
    """list | fetch NAME | show DIR | run DIR; returns the text to print."""
    from medtune_jax.weights import catalog, fetch, inspect

    match arguments:
        case ["list"]:
            return "\n".join(map(str, catalog.table()))
        case ["fetch", name]:
            return str(fetch.fetch(name, _needed(output, "--output=DIR"), url))
        case ["show", directory]:
            return inspect.show(directory)
        case ["run", directory]:
            picture = _needed(image, "--image=FILE")
            return inspect.run_image(directory, picture, _needed(output, "--output=acts.npz"))
    raise UserError(
        f"medtune weights takes list, fetch NAME, show DIR or run DIR, not '{' '.join(arguments)}'"
    )


def _needed(value: str, flag: str) -> str:
    if not value:
        raise UserError(f"something is missing: add {flag}")
    return value
