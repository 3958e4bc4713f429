"""Tables that users write: CSV files with a header, as spreadsheets and programs of any country save them."""

from __future__ import annotations

import codecs
import csv
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from medtune_jax.errors import UserError

DELIMITERS = (",", ";", "\t", "|")
_UNSEEN = dict.fromkeys(
    [0, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF]
)  # letters without width, left by other programs


def read_table(
    path: Path,
    needed: Sequence[str],
    optional: Sequence[str] = (),
    notes: list[str] | None = None,
    renamed: str = "",
) -> list[tuple[int, dict[str, str]]]:
    """Each row's last line in the file, and its cells by column, without blanks around them; '' for an absent one.

    UTF-8 with or without mark, UTF-16, or else Windows' Western code page, which is said; cells apart by comma,
    semicolon, tab or bar; a column's name counts in any case. Rows without any value are none.
    notes: where to say what a user should know; by default it is warned of. renamed: how the user says that columns
    have other names, for the message where one is missing.
    Raises UserError for a table without one of the `needed` columns, with two of one, or with a row of more cells
    than columns.
    """
    text, said = _decoded(path)
    text = text.translate(_UNSEEN)
    lines = text.splitlines(keepends=True)
    skipped = _before_the_header(lines)
    delimiter = _delimiter(lines[skipped:], needed)
    rows = _rows(lines[skipped:], delimiter, path, skipped)
    _, header = next(rows, (0, []))
    places = _places(header, needed, optional, path, renamed)
    found, broken = [], 0
    for line, cells in rows:
        if any(cells[len(header) :]):
            raise UserError(
                f"{path}, line {line} has {len(cells)} cells but the header {len(header)}: put a cell that holds "
                f"{delimiter!r} in quotation marks"
            )
        if any(cells):
            row = {name: _cell(cells, places.get(name)) for name in (*needed, *optional)}
            if any("\n" in cell or "\r" in cell for cell in row.values()):
                raise UserError(
                    f"{path}, line {line}: a quotation mark is opened and not closed in a line before it"
                )
            broken += any("\n" in cell or "\r" in cell for cell in cells)
            found.append((line, row))
    if broken:
        said = "; ".join(
            filter(None, (said, f"{path}: {broken:,} rows have cells of several lines"))
        )
    if said and notes is None:
        warnings.warn(said, stacklevel=2)
    elif said and notes is not None:
        notes.append(said)
    return found


def columns_of(path: Path) -> list[str]:
    """The columns that a table's header names; UserError for a file that is no table."""
    lines = _decoded(path)[0].splitlines(keepends=True)
    lines = lines[_before_the_header(lines) :]
    _, header = next(_rows(lines, _delimiter(lines, ()), path, 0), (0, []))
    return [name for name in header if name]


def _decoded(path: Path) -> tuple[str, str]:
    """The text of a file, and what to say of its encoding ('' for Unicode)."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    if content.startswith(b"PK\x03\x04") or content.startswith(b"\xd0\xcf\x11\xe0"):
        raise UserError(f"{path} is a workbook, not a table of text: save it as CSV.")
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return content.decode("utf-32", "replace"), ""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace"), ""
    for encoding, place in (("utf-16-le", 1), ("utf-16-be", 0)):  # written without a mark
        if len(content) > 1 and content[place:200:2].count(0) > len(content[:200]) // 4:
            return content.decode(encoding, "replace"), ""
    try:
        return content.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        said = f"{path} is not UTF-8: its letters are read as Windows' Western ones (cp1252)"
        return content.decode("cp1252", "replace"), said


def _before_the_header(lines: Sequence[str]) -> int:
    """Lines to leave out: empty ones, and 'sep=;', which Excel reads."""
    for number, line in enumerate(lines):
        if line.strip() and not line.strip().casefold().startswith("sep="):
            return number
    return len(lines)


def _delimiter(lines: Sequence[str], needed: Sequence[str]) -> str:
    """What splits the header into the needed columns, else into most."""
    wanted = {name.casefold() for name in needed}

    def fit(delimiter: str) -> tuple[int, int]:
        header = next(csv.reader(lines[:1], delimiter=delimiter, skipinitialspace=True), [])
        names = [name.strip().casefold() for name in header]
        return len(wanted & set(names)), len(names)

    return max(DELIMITERS, key=fit)


def _rows(
    lines: Sequence[str], delimiter: str, path: Path, skipped: int
) -> Iterator[tuple[int, list[str]]]:
    # Strict: a quotation mark that is not closed is then an error, most often, and not a long cell.
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    before = 0
    try:
        for row in reader:
            before = reader.line_num
            yield skipped + before, [cell.strip() for cell in row]
    except csv.Error as error:
        raise UserError(
            f"{path}, line {skipped + before + 1}: a quotation mark is opened and not closed in this line ({error})"
        ) from error


def _places(
    header: Sequence[str], needed: Sequence[str], optional: Sequence[str], path: Path, renamed: str
) -> dict[str, int]:
    """Where each column is: by its very name, else by its name in another case."""
    folded = [name.casefold() for name in header]
    places = {}
    for name in (*needed, *optional):
        for names, wanted in ((header, name), (folded, name.casefold())):
            if list(names).count(wanted) > 1:
                raise UserError(f"{path} has two columns '{name}': rename one of them")
            if wanted in names:
                places[name] = list(names).index(wanted)
                break
    missing = [name for name in needed if name not in places]
    if missing:
        wanted = ",".join(needed) + "".join(f"[,{name}]" for name in optional)
        raise UserError(
            f"{path} has no column '{missing[0]}': its first line must name {wanted} "
            f"(found: {', '.join(filter(None, header)) or 'nothing'}){renamed}"
        )
    return places


def _cell(cells: Sequence[str], place: int | None) -> str:
    return cells[place] if place is not None and place < len(cells) else ""
