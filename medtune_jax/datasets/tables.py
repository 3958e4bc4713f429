"""Tables that users write: CSV files with a header."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from medtune_jax.errors import UserError


def read_table(
    path: Path, needed: Sequence[str], optional: Sequence[str] = ()
) -> list[tuple[int, dict[str, str]]]:
    """Each row's last line in the file, and its cells by column, without blanks around them; '' for an absent one.

    Raises UserError for a table without one of the `needed` columns.
    """
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream, skipinitialspace=True)
        reader.fieldnames = columns = [name.strip() for name in reader.fieldnames or ()]
        missing = [name for name in needed if name not in columns]
        if missing:
            header = ",".join(needed) + "".join(f"[,{name}]" for name in optional)
            raise UserError(
                f"{path} has no column '{missing[0]}': its first line must name {header} "
                f"(found: {', '.join(columns) or 'nothing'})"
            )
        names = (*needed, *optional)
        return [
            (reader.line_num, {name: (row.get(name) or "").strip() for name in names})
            for row in reader
        ]
