"""labels.csv: images, labels and patients as a user's table names them, matched with the files there are."""

from __future__ import annotations

import difflib
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from medtune_jax.applications.image_folder.findings import Wanted, joined_words, read_findings
from medtune_jax.applications.image_folder.further import further_columns
from medtune_jax.applications.image_folder.images_below import images_below
from medtune_jax.applications.image_folder.rows import Row, Table, two_sided
from medtune_jax.datasets.split_names import split_of_word
from medtune_jax.datasets.tables import read_table
from medtune_jax.errors import UserError
from medtune_jax.evaluation.scores import BETWEEN
from medtune_jax.fields import items
from medtune_jax.folders import entries

NAMES = ("image", "label", "patient", "split")
_MISSING = ("nan", "null", "n/a", "#n/a", "<na>")  # what programs write for a cell without a value
_SHOWN = 5


def find_table(directory: Path, name: str = "") -> Path | None:
    """The table `name` of a folder, by default labels.csv or labels.tsv in any case; None where there is none.

    Raises UserError for a named table that is missing.
    """
    if name:
        if not (directory / name).is_file():
            raise UserError(
                f"there is no table {directory / name}: data.table names a file in data.dir"
            )
        return directory / name
    named = {path.name.casefold(): path for path in entries(directory) if path.is_file()}
    found = next((named[n] for n in ("labels.csv", "labels.tsv") if n in named), None)
    if found is None and "labels.xlsx" in named:
        raise UserError(f"{named['labels.xlsx']} is a workbook: save it as labels.csv")
    return found


def read_labels(
    directory: Path,
    path: Path,
    columns: str = "",
    subgroups: str = "",
    wanted: Wanted | None = None,
    patient_pattern: str = "",
) -> Table:
    """A row an image that the table names and the folder holds; see `read_listing`.

    columns: the table's own names for image, label, patient and split, as in "image_id,dx,lesion_id". subgroups: the
    further columns to keep, as in "site,sex"; empty: those that `further_columns` finds fit. wanted: several findings
    an image in place of a class; columns and patient_pattern are then as of `read_findings`.
    Raises UserError, naming rows, for cells without a value, images that are not there, and rows that contradict
    each other.
    """
    notes = [f"images, labels and patients are read from {path.name}"]
    findings: tuple[str, ...] = ()
    if wanted:
        findings, rows, own = read_findings(path, columns, wanted, patient_pattern, notes)
        rows = [(line, _with_split(line, row, path)) for line, row in rows]
    else:
        rows, own = _one_class(path, columns, notes)
    if not rows:
        raise UserError(f"{path} has a header and no rows: add a row for each image")
    _all_have_a_split(rows, path)
    images = images_below(directory)
    rows = _located(rows, images.paths, path, notes)
    line_of = [(line, row.image) for line, row in rows]
    further = further_columns(path, own, line_of, subgroups, notes)
    sided, said = two_sided(_each_once(rows, path, notes))
    notes += said
    passed = dict(images.passed_over)
    unnamed = len(images.paths) - len({row.image for row in sided})
    if unnamed:
        passed[f"images that {path.name} does not name"] = unnamed
    suffix = path.suffix.lower()
    passed = {kind: n - (kind == suffix) for kind, n in passed.items() if n - (kind == suffix)}
    return Table(tuple(sided), True, tuple(notes), passed, further, findings)


_RENAMED = (
    "; or give its own names for image, label and patient, as in --config.data.columns=image_id,dx,lesion_id (the "
    "image's twice where patients are not known)"
)


def _one_class(
    path: Path, columns: str, notes: list[str]
) -> tuple[list[tuple[int, Row]], list[str]]:
    """The rows of a table with one class an image, and its own columns."""
    own = items(columns) or list(NAMES)
    if len(own) not in (3, 4):
        raise UserError(
            f"data.columns is '{columns}': name the columns of image, label and patient, and of the split if there is "
            "one, as in image_id,dx,lesion_id"
        )
    cells = read_table(path, own[:3], own[3:], notes, _RENAMED)
    rows = [(line, _row(line, [row[name] for name in own], own, path)) for line, row in cells]
    if any(BETWEEN in row.label for _, row in rows):
        notes.append(
            f"labels of {path.name} hold '{BETWEEN}', and each combination is a class: --config.data.findings=all "
            "reads several findings an image"
        )
    elif several := joined_words(sorted({row.label for _, row in rows})):
        notes.append(
            f"labels of {path.name} hold '{several}', whose parts are classes too: if an image may have several, write "
            f"{BETWEEN} between them and give --config.data.findings=all"
        )
    return rows, own


def _row(line: int, cells: Sequence[str], columns: Sequence[str], path: Path) -> Row:
    cells = [unicodedata.normalize("NFC", cell) for cell in cells]
    for name, cell in zip(columns[:3], cells, strict=False):
        if not cell:
            raise UserError(f"{path} row {line} has an empty '{name}': fill it in")
    for name, cell in zip(columns[1:3], cells[1:], strict=False):
        if cell.casefold() in _MISSING:
            raise UserError(
                f"{path} row {line} has no '{name}' but '{cell}': fill it in or remove the row"
            )
    image, label, patient = cells[:3]
    return _with_split(line, Row(image, label, patient, "".join(cells[3:4])), path)


def _with_split(line: int, row: Row, path: Path) -> Row:
    """A row whose split is in our words."""
    split = split_of_word(row.split)
    if row.split and not split:
        raise UserError(f"{path} row {line}: split '{row.split}' must be train, val, test or empty")
    return row._replace(split=split)


def _all_have_a_split(rows: Sequence[tuple[int, Row]], path: Path) -> None:
    bare = [line for line, row in rows if not row.split]
    if bare and len(bare) < len(rows):
        raise UserError(f"{path} row {bare[0]} has no split though other rows do: fill it in")


def _located(
    rows: Sequence[tuple[int, Row]],
    files: Sequence[PurePosixPath],
    path: Path,
    notes: list[str],
) -> list[tuple[int, Row]]:
    """The rows with the paths of their files; UserError that lists the images that are not there."""
    finder, found, missing, other = _Finder(files), [], [], []
    named: dict[PurePosixPath, tuple[int, str]] = {}
    for line, row in rows:
        places = finder.find(row.image)
        if len(places) != 1:
            missing.append(f"row {line}: {row.image}{finder.hint(row.image, places)}")
            continue
        before, first = named.setdefault(places[0], (line, row.image))
        if _parts(first) != _parts(row.image):
            raise UserError(
                f"{path} rows {before} and {line}: {first} and {row.image} would both be {places[0]}: write the names "
                "of the files that are there"
            )
        if str(places[0]) != row.image:
            other.append(f"{row.image} is {places[0]}")
        found.append((line, row._replace(image=str(places[0]))))
    if missing:
        more = f"\n  ... and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise UserError(
            f"{len(missing)} of {len(rows)} images of {path} are not there; mend their names or remove their rows:\n  "
            + "\n  ".join(missing[:_SHOWN])
            + more
        )
    if other:
        notes.append(f"{len(other):,} images were found under another name or folder ({other[0]})")
    return found


class _Finder:
    """Files by what a table may call them: other separators, letters composed otherwise, other case, no suffix, a
    folder more or less."""

    def __init__(self, files: Sequence[PurePosixPath]):
        self._exact = {str(path): path for path in files}
        self._names: dict[str, list[PurePosixPath]] = defaultdict(list)
        self._stems: dict[str, list[PurePosixPath]] = defaultdict(list)
        self._numbers: dict[str, list[PurePosixPath]] = defaultdict(list)
        self._folders = {_key(part) for path in files for part in path.parts[:-1]}
        for path in files:
            self._names[_key(path.name)].append(path)
            self._stems[_key(path.stem)].append(path)
            self._numbers[_key(path.stem).lstrip("0")].append(path)

    def find(self, name: str) -> list[PurePosixPath]:
        """The files that a name may mean, one where it is clear."""
        if name in self._exact:
            return [self._exact[name]]
        wanted = _parts(name)
        for table in (self._names, self._stems):
            places = table.get(wanted[-1], [])
            if places:
                return self._nearest(places, wanted[:-1])
        return []

    def _nearest(
        self, places: Sequence[PurePosixPath], wanted: Sequence[str]
    ) -> list[PurePosixPath]:
        """As `_nearest`; none where the folder that a name states is there, and holds no such file."""
        shared = any(_key(path.parent.name) == wanted[-1] for path in places) if wanted else True
        if not shared and wanted[-1] in self._folders:
            return []
        return _nearest(places, wanted)

    def hint(self, name: str, places: Sequence[PurePosixPath]) -> str:
        """Why a name was not found, and what there is."""
        if places:
            return f" may be {places[0]} or {places[1]}: write all of its path"
        last = _parts(name)[-1]
        stem = _key(PurePosixPath(last).stem)
        same = self._stems.get(stem, []) or self._numbers.get(stem.lstrip("0"), [])
        near = same or [
            self._names[key][0] for key in difflib.get_close_matches(last, self._names, 1, 0.8)
        ]
        return f" (there is {near[0]})" if near else ""


def _parts(name: str) -> list[str]:
    """The keys of the folders and the file in a path of either system."""
    parts = [_key(part) for part in PureWindowsPath(name).parts if part not in ("/", "\\", ".")]
    return parts or [_key(name)]


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _nearest(places: Sequence[PurePosixPath], folders: Sequence[str]) -> list[PurePosixPath]:
    """Those that share most of the folders above the file, from the file up."""

    def shared(path: PurePosixPath) -> int:
        pairs = zip(reversed([_key(p) for p in path.parent.parts]), reversed(folders), strict=False)
        count = 0
        for one, other in pairs:
            if one != other:
                break
            count += 1
        return count

    best = max(map(shared, places))
    return [path for path in places if shared(path) == best]


def _each_once(rows: Sequence[tuple[int, Row]], path: Path, notes: list[str]) -> list[Row]:
    """An image in several equal rows once, said; UserError where its rows differ."""
    first: dict[str, tuple[int, Row]] = {}
    for line, row in rows:
        before, same = first.setdefault(row.image, (line, row))
        if same != row:
            what = next(n for n, a, b in zip(Row._fields, same, row, strict=True) if a != b)
            raise UserError(
                f"{path} rows {before} and {line}: {row.image} has two values of '{what}', "
                f"'{getattr(same, what)}' and '{getattr(row, what)}': keep the right row"
            )
    if len(first) < len(rows):
        notes.append(
            f"{len(rows) - len(first):,} rows of {path.name} repeat another and are read once"
        )
    return [row for _, row in first.values()]
