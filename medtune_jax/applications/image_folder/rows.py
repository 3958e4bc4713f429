"""One row an image, from a table or from folders, and what must hold of all of them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from medtune_jax.errors import UserError


class Row(NamedTuple):
    """One image: path from the folder, class, patient, and 'train' or 'test' where the user fixed the split.

    findings: 1, 0 or -1 (not known) of each of a table's findings, in place of a class.
    """

    image: str
    label: str
    patient: str
    split: str = ""
    findings: tuple[int, ...] = ()


@dataclass(frozen=True)
class Table:
    """All images. notes: what a user should know of how they were read. passed_over: what of the folder is not used,
    number by kind. subgroups: further column -> image -> its value, '' where there is none. findings: their names,
    where an image may have several."""

    rows: tuple[Row, ...]
    patients_known: bool
    notes: tuple[str, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    subgroups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    findings: tuple[str, ...] = ()


def searched(pattern: str, text: str, what: str, where: str = "") -> str:
    """The first group of data.patient_pattern or data.class_pattern in a text. where: what else to say of the text.

    Raises UserError where the pattern is none, or finds nothing.
    """
    try:
        match = re.search(pattern, text)
    except re.error as error:
        raise UserError(
            f"data.{what}_pattern '{pattern}' is no regular expression ({error}): mend it, as in ^(P[0-9]+)"
        ) from None
    if not match or not match.groups() or not match.group(1):
        raise UserError(
            f"data.{what}_pattern '{pattern}' finds no {what} in {text}{where}: give a regular expression whose first "
            f"group is the {what}"
        )
    return match.group(1)


def two_sided(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Rows of train, val and test as rows of train and test, and what to tell of it.

    Every run draws its own validation patients, so a given validation set joins the training set, but where it is the
    only one apart from that it is the test set.
    """
    counts = Counter(row.split for row in rows)
    if set(counts) == {"train"}:
        drawn = (
            "no test images with a class are given: the test set is drawn from the training images"
        )
        return [row._replace(split="") for row in rows], [drawn]
    if "val" not in counts:
        return list(rows), []
    to = "train" if counts["test"] else "test"
    said = (
        "joins the training set: every run draws its validation set from that by itself"
        if to == "train"
        else "is the test set, for there is no other"
    )
    sided = [row._replace(split=to) if row.split == "val" else row for row in rows]
    return sided, [f"the given validation set ({counts['val']:,} images) {said}"]


def check_classes(rows: Sequence[Row], where: str, also: str = "") -> None:
    """UserError unless there are two classes, each of two patients. also: what else to say of a lone class."""
    patients: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        patients[row.label].add(row.patient)
    if len(patients) < 2:
        only = next(iter(patients), "none")
        raise UserError(
            f"{where} has images of one class only ('{only}'){also}: a study needs two or more"
        )
    for label, members in sorted(patients.items()):
        if len(members) < 2:
            near = [other for other in patients if other != label and plain(other) == plain(label)]
            meant = f" (is it '{near[0]}'?)" if near else ""
            raise UserError(
                f"label '{label}'{meant} in {where} has one patient only ('{next(iter(members))}'), who cannot be in "
                f"both training and test set: add patients or leave the label out"
            )


def check_sides(rows: Sequence[Row], where: str) -> None:
    """UserError where a given split has a patient on both sides, or lacks a class on one."""
    given = {row.split for row in rows}
    if given == {""}:
        return
    sides: dict[str, str] = {}
    for row in rows:
        if sides.setdefault(row.patient, row.split) != row.split:
            raise UserError(
                f"{where}, {row.image}: patient '{row.patient}' is in both train and test: "
                f"put all of a patient's images on one side"
            )
    for split in ("train", "test"):
        lacking = {row.label for row in rows} - {row.label for row in rows if row.split == split}
        if lacking:
            raise UserError(
                f"{where}: the given {split} split has no image of class '{min(lacking)}': add some"
            )


def plain(text: str) -> str:
    """A word without its case and blanks: what differs otherwise is another word."""
    return "".join(text.split()).casefold()


_NO_VALUE = {
    *("?", "??", "-", "--", "---", ".", "*", "#", "-1", "-1.0", "-9", "-99", "-999", "99", "999", "9999"),
    *("unknown", "undefined", "missing", "none", "nil", "tbd", "blank", "anonymous", "anonymized"),
    *("anonymised", "anon", "notavailable", "notknown", "noid", "empty"),
}  # fmt: skip
_HEALTHY = {"normal", "healthy", "nofindings", "noabnormality", "unremarkable", "negative", "none"}
_SHORTENED = re.compile(r"\d([.,]\d+)?[eE]\+\d+")


def odd_words(rows: Sequence[Row], findings: Sequence[str] = ()) -> list[str]:
    """Warnings of labels and patients that read like cells without a value, or that a spreadsheet has rounded."""
    labels = sorted({*findings} or {row.label for row in rows})
    what = "finding" if findings else "class"
    notes = [
        f"{what} '{name}' reads like a cell without a value: is it a {what}?"
        for name in labels
        if plain(name) in _NO_VALUE
    ]
    notes += [
        f"finding '{name}' reads like none: write No Finding if it means that"
        for name in findings
        if plain(name) in _HEALTHY
    ]
    images = Counter(row.patient for row in rows)
    notes += [
        f"patient {_quoted([name])} counts as one person with {images[name]:,} images: is it not known who they are?"
        for name in sorted(images)
        if plain(name) in _NO_VALUE and images[name] > 1
    ]
    if short := sorted(name for name in images if _SHORTENED.fullmatch(name)):
        notes.append(
            f"{len(short):,} patients such as {_quoted(short[:1])} are numbers that a spreadsheet has rounded: several "
            "people may have become one"
        )
    return notes


def look_alikes(rows: Sequence[Row], findings: Sequence[str] = ()) -> list[str]:
    """Warnings of labels (or findings) and patients that may be one in two spellings."""
    labels = _together(findings or {row.label: 0 for row in rows}, _as_number)
    patients = _together({row.patient: 0 for row in rows}, _as_number)
    notes = [
        f"labels {_quoted(names)} may be one but are {len(names)} classes: is that meant?"
        for names in labels
    ]
    if patients:
        notes.append(
            f"patients {_quoted(patients[0])} may be one person but count as {len(patients[0])}"
            + (f" ({len(patients)} such cases)" if len(patients) > 1 else "")
        )
    return notes


def _together(words: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    alike: dict[str, list[str]] = defaultdict(list)
    for word in words:
        alike[key(word)].append(word)
    return [names for names in alike.values() if len(names) > 1]


def _as_number(word: str) -> str:
    """7, 07 and 7.0 are one; and words but for case and blanks."""
    try:
        return str(float(word))
    except ValueError:
        return plain(word)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
