"""Reading the lists that stand in a config's fields as comma-separated text."""

from __future__ import annotations

from collections.abc import Iterable

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
