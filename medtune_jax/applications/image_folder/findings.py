"""Several findings an image: a column of words (ChestX-ray14's "Finding Labels") or a column for each (CheXpert)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from medtune_jax.applications.image_folder.rows import Row, searched
from medtune_jax.datasets.tables import columns_of, read_table
from medtune_jax.errors import UserError
from medtune_jax.evaluation.labels import UNKNOWN
from medtune_jax.evaluation.scores import BETWEEN, UNCERTAIN
from medtune_jax.fields import items

_ALL = "all"
_NO_FINDING = "no finding"  # a word of both data sets, and no finding
_MEANS = {"ignore": UNKNOWN, "positive": 1, "negative": 0}
_BLANK = ("", "nan")


class Wanted(NamedTuple):
    """data.findings: names, or "all" words of the label column. uncertain, blank: what -1 and an empty cell of a
    finding's own column mean: ignore, positive or negative.
    """

    findings: str
    uncertain: str = "ignore"
    blank: str = "negative"


class Read(NamedTuple):
    """The findings; a row of each image with the line it is in; the columns that are used."""

    findings: tuple[str, ...]
    rows: list[tuple[int, Row]]
    columns: list[str]


def read_findings(
    path: Path, columns: str, wanted: Wanted, patient_pattern: str, notes: list[str]
) -> Read:
    """Rows with `findings`, of 1, 0 and -1 each, in place of a label.

    columns: the table's own names: as of `read_labels` for a column of words, else of image, patient and, if there is
    one, split; of the image alone where `patient_pattern` finds the patient in it.
    Raises UserError for findings that the table does not have, fewer than two, and cells that say nothing.
    """
    names = items(wanted.findings)
    header = {column.casefold(): column for column in columns_of(path)}
    own = [name for name in names if name.casefold() in header]
    if not own:
        read = _by_word(path, columns, names, notes)
    elif len(own) == len(names):
        found = tuple(header[name.casefold()] for name in names)
        read = _by_column(path, columns, found, wanted, patient_pattern, notes)
    else:
        missing = next(name for name in names if name not in own)
        raise UserError(_unknown(missing, list(header.values()), f"a column of {path}"))
    if len(read.findings) < 2:
        raise UserError(
            f"data.findings is '{wanted.findings}': give two or more; one finding is a study of two classes, a label "
            "for each image"
        )
    if odd := [name for name in read.findings if BETWEEN in name or name == UNCERTAIN]:
        raise UserError(
            f"finding '{odd[0]}' of {path} has a '{BETWEEN}' in its name or is called '{UNCERTAIN}': rename it"
        )
    return read


def _by_word(path: Path, columns: str, names: Sequence[str], notes: list[str]) -> Read:
    own = items(columns) or ["image", "label", "patient", "split"]
    if len(own) not in (3, 4):
        raise UserError(
            f"data.columns is '{columns}': name the columns of image, findings and patient, and of the split if there "
            "is one, as in Image Index,Finding Labels,Patient ID"
        )
    cells = read_table(path, own[:3], own[3:], notes)
    words = {line: _words(line, row[own[1]], own[1], path) for line, row in cells}
    known = sorted({word for there in words.values() for word in there})
    if several := joined_words(known):
        raise UserError(
            f"column '{own[1]}' of {path} holds '{several}', whose parts are findings too: write {BETWEEN} between "
            "findings"
        )
    chosen = known if list(names) == [_ALL] else list(names)
    for name in chosen:
        if name not in known:
            raise UserError(_unknown(name, known, f"in column '{own[1]}' of {path}"))
    if left := [word for word in known if word not in chosen]:
        notes.append(f"findings that are not used: {', '.join(left)} (--config.data.findings)")
    rows = []
    for line, row in cells:
        truth = tuple(int(name in words[line]) for name in chosen)
        rows.append((line, _row(path, line, row, own[0], own[2], own[3:], truth)))
    return Read(tuple(chosen), _joined(rows, path, notes), own)


def joined_words(words: Sequence[str]) -> str:
    """The first of some words that is several others, apart by a comma, semicolon, slash or plus; '' for none."""
    known = set(words)
    for word in sorted(words):
        parts = [part.strip(" '\"[]") for part in re.split(r"[,;/+]", word)]
        if len(parts) > 1 and known.intersection(filter(None, parts)):
            return word
    return ""


def _joined(rows: list[tuple[int, Row]], path: Path, notes: list[str]) -> list[tuple[int, Row]]:
    """An image of several rows has the findings of all of them, said."""
    first: dict[tuple[str, str, str], tuple[int, Row]] = {}
    more = set()
    for line, row in rows:
        key = row.image, row.patient, row.split
        before, there = first.setdefault(key, (line, row))
        if there.findings != row.findings:
            more.add(row.image)
            findings = tuple(map(max, there.findings, row.findings))
            first[key] = before, row._replace(findings=findings)
    if more:
        notes.append(
            f"{len(more):,} images have several rows of {path.name}: their findings are joined"
        )
    return list(first.values())


def _words(line: int, cell: str, column: str, path: Path) -> set[str]:
    if cell.casefold() in _BLANK:
        raise UserError(
            f"{path} row {line} has an empty '{column}': write No Finding where it has none"
        )
    words = {word.strip() for word in cell.split(BETWEEN)} - {""}
    present = {word for word in words if word.casefold() != _NO_FINDING}
    if present and present != words:
        raise UserError(
            f"{path} row {line} has '{cell}' in '{column}', a finding and none: keep what is right"
        )
    return present


def _by_column(
    path: Path,
    columns: str,
    found: tuple[str, ...],
    wanted: Wanted,
    patient_pattern: str,
    notes: list[str],
) -> Read:
    own = items(columns) or (["image"] if patient_pattern else ["image", "patient", "split"])
    if len(own) > 3 or (len(own) == 1) != bool(patient_pattern):
        raise UserError(
            f"data.columns is '{columns}': name the columns of image and patient, and of the split if there is one; or "
            "that of the image alone, with --config.data.patient_pattern to find the patient in it"
        )
    means = {field: _meaning(field, getattr(wanted, field)) for field in ("uncertain", "blank")}
    cells = read_table(path, [*own[:2], *found], own[2:], notes)
    counts: Counter[str] = Counter()
    rows = []
    for line, row in cells:
        truth = tuple(_value(path, line, name, row[name], means, counts) for name in found)
        patient = own[1] if len(own) > 1 else ""
        made = _row(path, line, row, own[0], patient, own[2:], truth)
        if not patient:
            made = made._replace(
                patient=searched(patient_pattern, made.image, "patient", f" ({path} row {line})")
            )
        rows.append((line, made))
    notes += [
        f"{counts[field]:,} {what} values of findings: {getattr(wanted, field)} (--config.data.{field})"
        for field, what in (("uncertain", "uncertain (-1)"), ("blank", "blank"))
        if counts[field]
    ]
    present = [name for name in own[2:] if name in columns_of(path)]
    return Read(found, rows, [*own[:2], *found, *present])


def _value(
    path: Path, line: int, name: str, cell: str, means: dict[str, int], counts: Counter[str]
) -> int:
    if cell.casefold() in _BLANK:
        counts["blank"] += 1
        return means["blank"]
    try:
        value = float(cell)
    except ValueError:
        value = 2.0
    if value not in (-1, 0, 1):
        raise UserError(
            f"{path} row {line} has '{cell}' in '{name}': give 1, 0, -1 (uncertain) or nothing"
        )
    if value < 0:
        counts["uncertain"] += 1
        return means["uncertain"]
    return int(value)


def _meaning(field: str, value: str) -> int:
    if value not in _MEANS:
        near = get_close_matches(value, _MEANS, 1, 0)[0]
        raise UserError(f"data.{field} is '{value}'; did you mean '{near}'? ({', '.join(_MEANS)})")
    return _MEANS[value]


def _row(
    path: Path,
    line: int,
    row: dict[str, str],
    image: str,
    patient: str,
    split: Sequence[str],
    truth: tuple[int, ...],
) -> Row:
    for column in filter(None, (image, patient)):
        if row[column].casefold() in _BLANK:
            raise UserError(f"{path} row {line} has an empty '{column}': fill it in")
    side = row[split[0]] if split else ""
    return Row(row[image], "", row[patient] if patient else "", side, truth)


def _unknown(name: str, known: Sequence[str], where: str) -> str:
    near = get_close_matches(name, known, 1, 0)
    meant = f"; did you mean '{near[0]}'?" if near else ""
    return f"data.findings: '{name}' is not {where}{meant}"
