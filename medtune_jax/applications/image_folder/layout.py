"""Folders that say what an image is: SPLIT/CLASS/PATIENT/..., each level found by its names or given by the user."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePath

from medtune_jax.applications.image_folder.images_below import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    changed_copies,
    images_below,
    is_image,
)
from medtune_jax.applications.image_folder.rows import Row, Table, searched, two_sided
from medtune_jax.datasets.split_names import split_of_folder, splits_within
from medtune_jax.errors import UserError
from medtune_jax.folders import entries, files_below, named

SPLIT, FOLD, CLASS, PATIENT, ANY = "SPLIT", "FOLD", "CLASS", "PATIENT", "*"
LEVELS = (SPLIT, FOLD, CLASS, PATIENT, ANY)
_FOLD_FOLDER = re.compile(r"(k?[ _.-]?fold|cv)[ _.-]*(\d+)|(\d+)[ _.-]*fold", re.IGNORECASE)
_TABLES = (".csv", ".tsv", ".xlsx")
_DIGIT = re.compile(r"\d")
_NO_SPLIT = ", which is called as no split is"
_PATIENT_FOLDERS = 8  # so many folders, three times as many as of the other level, are patients
_TIMES = 3

Parts = tuple[str, ...]


def read_folders(
    directory: Path, patient_pattern: str = "", layout: str = "", class_pattern: str = ""
) -> Table:
    """One row an image below the folder, by the names of the folders that it lies in.

    patient_pattern: a regular expression whose first group in the file name is the patient. layout: the folders above
    an image from the top, as in "SPLIT/CLASS/PATIENT" or "FOLD/CLASS", * for one that says nothing; empty: found by
    the names. class_pattern: a regular expression whose first group in the path from the folder is the class, in
    place of a level. Raises UserError where the names leave a doubt, and for folders that do not fit the layout given.
    """
    found = images_below(directory)
    passed, notes = Counter(found.passed_over), []
    again = "" if layout or class_pattern else _second_copy(directory, found.paths)
    paths = [path for path in found.paths if not again or path.parts[0] != again]
    passed.update(
        {f"images of {again}, a second copy": len(found.paths) - len(paths)} if again else {}
    )
    levels = _given(layout, bool(class_pattern)) if layout else None
    if levels is None:
        folders = [path.parent.parts for path in paths]
        levels = _split_alone(folders) if class_pattern else _found(directory, folders)
        notes.append(f"folders are read as {'/'.join(levels) or 'nothing'} (--config.data.layout)")
    folds = _folds_of(levels, [path.parent.parts for path in paths])
    if folds:
        notes.append(
            f"{folds[0]} to {folds[-1]} are taken as the {len(folds)} folds of a cross-validation: {folds[-1]} is the "
            "test set, the others are for training (--config.data.layout with * in place of FOLD draws one from all)"
        )
    rows, beside = [], 0
    for path in paths:
        level = dict(zip(levels, path.parent.parts, strict=False))
        role = split_of_folder(level.get(SPLIT, ""))
        if FOLD in level:
            role = "test" if level[FOLD] == folds[-1] else "train"
        whole = class_pattern or CLASS in level
        if whole and SPLIT in level and not role:
            passed[f"images of {level[SPLIT]}{_NO_SPLIT}"] += 1
            continue
        if not whole or (_is_sided(levels) and not role):
            beside += 1
            continue
        label = searched(class_pattern, str(path), "class") if class_pattern else level[CLASS]
        patient = level.get(PATIENT, str(path))
        label, patient = (unicodedata.normalize("NFC", word) for word in (label, patient))
        if patient_pattern:
            patient = searched(patient_pattern, path.name, "patient")
        rows.append(Row(str(path), label, patient, role))
    if beside:
        passed["images outside class folders"] = beside
    if not rows:
        raise UserError(_nothing(directory, passed, layout))
    if CLASS in levels and not layout:
        notes += _called_as_splits(directory, levels, {row.label for row in rows})
    if CLASS in levels:
        notes += _without_images(directory, levels.index(CLASS), rows)
    rows, spelling = _one_spelling(rows)
    rows, said = two_sided(rows)
    known = bool(patient_pattern) or PATIENT in levels
    notes += [] if known else changed_copies(paths)
    return Table(tuple(rows), known, (*notes, *spelling, *said), dict(passed))


def _without_images(directory: Path, level: int, rows: Sequence[Row]) -> list[str]:
    """What is said of folders beside the class folders that hold no image which is read: a class may be missing."""
    classes = {directory.joinpath(*PurePath(row.image).parts[: level + 1]) for row in rows}
    notes = []
    for above in sorted({folder.parent for folder in classes}):
        for folder in entries(above):
            if folder in classes or not folder.is_dir():
                continue
            files = files_below(folder)
            if not any(map(is_image, files)):
                held = named(Counter(file.suffix.lower() or "without a suffix" for file in files))
                where = folder.relative_to(directory)
                notes.append(
                    f"folder '{where}' holds no image that is read ({held or 'it is empty'}): is it a class?"
                )
    return notes


def _second_copy(directory: Path, paths: Sequence[PurePath]) -> str:
    """The folder that holds the class folders beside it once more, as some archives do; '' for none.

    UserError where it holds other files than those: neither a copy nor a class of its own.
    """
    inside: dict[str, set[PurePath]] = defaultdict(set)
    for path in paths:
        if len(path.parts) > 1:
            inside[path.parts[0]].add(PurePath(*path.parts[1:]))
    for top, files in inside.items():
        others = inside.keys() - {top}
        if len(others) < 2 or {file.parts[0] for file in files} != others:
            continue
        beside = {PurePath(name, file) for name in others for file in inside[name]}
        if files <= beside:
            return top
        raise UserError(
            f"{directory / top} holds folders of the same names as those beside it ({', '.join(sorted(others))}), but "
            "other images: move those into the class folders, or the folder away"
        )
    return ""


def _is_sided(levels: Parts) -> bool:
    return SPLIT in levels or FOLD in levels


def _folds_of(levels: Parts, folders: Sequence[Parts]) -> list[str]:
    """The names on the level of folds, the numbers in order; [] without such a level."""
    if FOLD not in levels:
        return []
    place = levels.index(FOLD)
    names = {parts[place] for parts in folders if len(parts) > place}
    return sorted(names, key=lambda n: ([int(d) for d in re.findall(r"\d+", n)], n))


def _given(layout: str, class_elsewhere: bool) -> Parts:
    levels = tuple(layout.strip("/").split("/"))
    wrong = [level for level in levels if level not in LEVELS]
    if wrong or (CLASS in levels) == class_elsewhere:
        raise UserError(
            f"data.layout is '{layout}': name the folders above an image from the top, of {', '.join(LEVELS)}, with "
            f"one {CLASS}, as in SPLIT/CLASS/PATIENT, or none with data.class_pattern"
        )
    return levels


def _found(directory: Path, folders: Sequence[Parts]) -> Parts:
    """What each level of the folders is, by their names."""
    above = _common(folders)
    rest = [parts[len(above) :] for parts in folders]
    levels: list[str] = [ANY] * len(above)
    split = next((n for n in (0, 1) if _is_split(rest, n)), None)
    fold = next((n for n in (0, 1) if _are_folds(rest, n)), None)
    if split == 1 and fold == 0:
        one = directory.joinpath(*above, min(parts[0] for parts in rest if parts))
        raise UserError(
            f"{directory} holds folds of a cross-validation with a train and a test set each: give one of them, as "
            f"--config.data.dir={one}"
        )
    if split is not None:
        rest = [(*parts[:split], *parts[split + 1 :]) for parts in rest if _role(parts, split)]
    elif fold is not None:
        rest = [(*parts[:fold], *parts[fold + 1 :]) for parts in rest if len(parts) > fold]
    own: list[str] = []
    while rest and all(rest) and {parts[0].casefold() for parts in rest} <= IMAGE_FOLDERS:
        own, rest = [*own, ANY], [parts[1:] for parts in rest]
    own += _class_and_patient(directory, [parts for parts in rest if parts])
    if split is not None:
        own.insert(split, SPLIT)
    elif fold is not None:
        own.insert(fold, FOLD)
    return (*levels, *own)


def _split_alone(folders: Sequence[Parts]) -> Parts:
    """The levels down to the split or the folds, where they are on top."""
    above = _common(folders)
    rest = [parts[len(above) :] for parts in folders]
    found = SPLIT if _is_split(rest, 0) else FOLD if _are_folds(rest, 0) else ""
    return (*(ANY,) * len(above), found) if found else ()


def _common(folders: Sequence[Parts]) -> Parts:
    """A folder around everything, as archives have it: one alone that holds the splits, or is called images or data."""
    above: Parts = ()
    rest = [parts for parts in folders if parts]
    while rest and len(rest) == len(folders) and len({parts[0] for parts in rest}) == 1:
        inner = [parts[1:] for parts in rest]
        generic = rest[0][0].casefold() in {*IMAGE_FOLDERS, "data", "dataset"}
        if not all(inner) or not (generic or _is_split(inner, 0) or _are_folds(inner, 0)):
            break
        above, rest = (*above, rest[0][0]), inner
        folders = inner
    return above


def _role(parts: Parts, level: int) -> str:
    return split_of_folder(parts[level]) if len(parts) > level else ""


def _is_split(folders: Sequence[Parts], level: int) -> bool:
    """Two or more splits on top, or in every class folder; 'train' alone may be a class beside 'bus'."""
    roles = [_role(parts, level) for parts in folders]
    return len({*roles} - {""}) > 1 and (level == 0 or all(roles))


def _are_folds(folders: Sequence[Parts], level: int) -> bool:
    """Two or more folders called fold1, fold_2, ... and no other beside them."""
    names = {parts[level] for parts in folders if len(parts) > level}
    return len(names) > 1 and all(_FOLD_FOLDER.fullmatch(name) for name in names)


def _class_and_patient(directory: Path, folders: Sequence[Parts]) -> list[str]:
    """[CLASS], [CLASS, PATIENT] or [PATIENT, CLASS]; UserError that asks where the names tell neither."""
    deep = [parts for parts in folders if len(parts) > 1]
    if 2 * len(deep) <= len(folders):
        return [CLASS]
    folders = deep
    under: dict[str, set[str]] = defaultdict(set)
    for parts in folders:
        under[parts[1].casefold()].add(parts[0])
    upper, lower = {parts[0] for parts in folders}, set(under)
    if len(upper) == 1:
        only = next(iter(upper))
        raise UserError(
            f"{directory} holds one folder of images only, {only}: give --config.data.dir={directory / only} if its "
            "folders are the classes"
        )
    if lower <= IMAGE_FOLDERS or lower <= {parts[0].casefold() for parts in folders}:
        return [CLASS]
    apart = all(len(folders) == 1 for folders in under.values())
    # Words that are the same everywhere may as well be classes below splits in a language that is not known.
    if _are_patients(upper, lower) and not apart and _numbered(upper):
        return [PATIENT, CLASS]
    shared = all(len(folders) > 1 for folders in under.values())
    if _are_patients(lower, upper) and (_numbered(lower) or not shared):
        return [CLASS, PATIENT]
    if apart and len(lower) > len(upper):
        return [CLASS, PATIENT]
    shown = " and ".join(_some(names) for names in (upper, {parts[1] for parts in folders}))
    raise UserError(
        f"{directory} has two levels of folders, {shown}: say which are the classes with "
        "--config.data.layout=CLASS/PATIENT or PATIENT/CLASS (CLASS/* where the inner ones say nothing); folders of a "
        "training and a test set must be called train and test (val), or as docs/data.md lists"
    )


def _are_patients(these: set[str], others: set[str]) -> bool:
    """Many against few, or numbered against named."""
    if len(these) >= max(_PATIENT_FOLDERS, _TIMES * len(others)):
        return True
    numbered = all(map(_DIGIT.search, these))
    return numbered and len(these) > len(others) and not _numbered(others)


def _numbered(names: set[str]) -> bool:
    return any(map(_DIGIT.search, names))


def _some(names: set[str]) -> str:
    first = ", ".join(sorted(names)[:3])
    return f"{first}, ... ({len(names)})" if len(names) > 3 else first


def _called_as_splits(directory: Path, levels: Parts, classes: set[str]) -> list[str]:
    """Warnings of classes that are called as a split or masks are; UserError where they are called as two splits."""
    roles = {name: splits_within(name) for name in sorted(classes)}
    named = [name for name, found in roles.items() if found]
    if len(set().union(*roles.values())) > 1:
        raise UserError(
            f"{directory}: {_some(set(named))} would be classes, and are called as training and test sets are: move "
            "the class folders into train/ and test/ (val/), or say that they are classes with "
            f"--config.data.layout='{'/'.join(levels)}'"
        )
    masks = [name for name in sorted(classes) if name.casefold() in MASK_FOLDERS]
    return [
        f"class folder '{name}' is called as {what}, and is a class: is that meant?"
        for what, names in (("a training or test set is", named), ("masks are", masks))
        for name in names
    ]


def _one_spelling(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """train/NORMAL and test/Normal are one class, said; two class folders of one split stay two."""
    spelled: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        spelled[row.label.casefold()][row.split].add(row.label)
    one = {}
    for by_split in spelled.values():
        names = sorted(set().union(*by_split.values()))
        if len(names) > 1 and all(len(labels) == 1 for labels in by_split.values()):
            one.update(dict.fromkeys(names, names[0]))
    notes = [f"class folders '{name}' are read as '{to}'" for name, to in one.items() if name != to]
    return [row._replace(label=one.get(row.label, row.label)) for row in rows], notes


def _nothing(directory: Path, passed: Counter[str], layout: str) -> str:
    outside = passed["images outside class folders"]
    if unnamed := [kind for kind in passed if kind.endswith(_NO_SPLIT)]:
        return (
            f"{directory} has no image in folders called as splits are ({', '.join(unnamed)}): call them train and "
            "test (val), or as docs/data.md lists"
        )
    if outside and layout:
        return f"{directory} has no image in folders laid out as {layout}: give the layout it has"
    found = f" (found: {outside:,} images in none)" if outside else ""
    tables = [
        path.relative_to(directory)
        for path in files_below(directory)
        if path.suffix.lower() in _TABLES or path.name.lower().endswith(".csv.txt")
    ]
    tables.sort(key=lambda path: len(path.parts))
    hint = (
        f"; there is {tables[0]}: --config.data.table={tables[0]} with --config.data.columns"
        if tables
        else ""
    )
    return (
        f"{directory} has neither a labels.csv (image,label,patient[,split]) nor class sub-folders with images"
        f"{found}: add one of them{hint}"
    )
