"""A config's fields: the lists that stand in them as comma-separated text, and their dotted names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from medtune_jax.errors import UserError


def items(text: str | Iterable[object]) -> list[str]:
    """'a, b' or ('a', 'b') -> ['a', 'b']."""
    parts = text.split(",") if isinstance(text, str) else text
    return [str(part).strip() for part in parts if str(part).strip()]


def numbers(text: str | float | Iterable[object], field: str) -> list[float]:
    """Fractions, largest first, each once; UserError unless each is in (0, 1]."""
    parts = [str(text)] if isinstance(text, int | float) else items(text)
    try:
        values = [float(part) for part in parts]
    except ValueError as error:
        raise UserError(
            f"{field} is '{text}': give numbers separated by commas, as in 1.0,0.25"
        ) from error
    outside = [value for value in values if not 0 < value <= 1]
    if outside or not values:
        raise UserError(f"{field} is '{text}': every fraction must be above 0 and at most 1")
    return sorted(set(values), reverse=True)


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'a': {'b': 1}} -> {'a.b': 1}."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found
