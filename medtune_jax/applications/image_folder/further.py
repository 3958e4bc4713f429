"""Further columns of labels.csv (site, sex, device): what each image has there, for the report's sub-groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from medtune_jax.datasets.tables import columns_of, read_table
from medtune_jax.errors import UserError
from medtune_jax.fields import items

MOST_VALUES = 20  # more are numbers or names, not groups, unless the user asks for them
_RESERVED = ("image", "label", "patient", "split")


def further_columns(
    path: Path,
    own: Sequence[str],
    rows: Sequence[tuple[int, str]],
    wanted: str,
    notes: list[str],
) -> dict[str, dict[str, str]]:
    """Column -> image -> value.

    Args:
      own: the columns that are read already. rows: the line and the image of each row that is used. wanted: columns,
        as in "site,sex"; empty: all further ones with 2 to 20 values, fewer than half the images, and one value an
        image. notes: where to say what is left out.

    Raises:
      UserError: a wanted column that is not there, or that has two values for one image.
    """
    header = columns_of(path)
    taken = {name.casefold() for name in (*own, *_RESERVED)}
    once = Counter(name.casefold() for name in header)
    free = [n for n in header if n.casefold() not in taken and once[n.casefold()] == 1]
    chosen = [_found(name, free, path) for name in items(wanted)] or free
    if not chosen:
        return {}
    cells = dict(read_table(path, own[:3], chosen, notes=[]))
    kept: dict[str, dict[str, str]] = {}
    many = []
    for column in chosen:
        values: dict[str, str] = {}
        split = [
            (line, image)
            for line, image in rows
            if values.setdefault(image, cells[line][column]) != cells[line][column]
        ]
        if split and wanted:
            line, image = split[0]
            raise UserError(
                f"{path} row {line}: {image} has two values of '{column}', '{values[image]}' and "
                f"'{cells[line][column]}': keep the right one"
            )
        number = len(set(values.values()))
        if not wanted and (split or number > min(MOST_VALUES, len(values) // 2)):
            many.append(column)
        elif wanted or number > 1:
            kept[column] = values
    if kept:
        notes.append(f"sub-groups of the test set by {', '.join(kept)} (--config.data.subgroups)")
    if many:
        notes.append(
            f"no sub-groups by {', '.join(many)} of {path.name}, with too many values: --config.data.subgroups names "
            "columns"
        )
    return kept


def _found(name: str, free: Sequence[str], path: Path) -> str:
    folded = {column.casefold(): column for column in free}
    if name.casefold() in folded:
        return folded[name.casefold()]
    near = get_close_matches(name, free, 1, 0)
    meant = f"; did you mean '{near[0]}'?" if near else ""
    raise UserError(
        f"data.subgroups: {path} has no further column '{name}'{meant} (further columns: "
        f"{', '.join(free) or 'none'})"
    )
