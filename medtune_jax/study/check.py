"""`medtune check`: what a sweep would make of data, before anything trains. A sweep prints its short form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from medtune_jax import images
from medtune_jax.applications import Dataset, Words
from medtune_jax.applications.splits import Subset, by_class
from medtune_jax.datasets.sheet import captioned
from medtune_jax.errors import UserError
from medtune_jax.evaluation.labels import several
from medtune_jax.folders import files_below, named
from medtune_jax.headers import Header, read_header
from medtune_jax.paths import csv_bytes, write_whole
from medtune_jax.pictures import png
from medtune_jax.study.prepare import Study, prepare
from medtune_jax.training import devices
from medtune_jax.words import count

REPORT, SHEET, SPLITS = "check.txt", "sheet.png", "splits.csv"
_CLASSES = 20  # shown on the screen
_EXAMPLES = 3  # of copies, and of what a warning is about
_KINDS = 5  # of sizes
_TILES = 8  # of each class on the sheet
_TILE = 128  # pixels
_FEW = 10  # groups of a class in the test set
_IMBALANCE = 10.0
_TELLING = 4  # images for each value, at least, of a property that may tell the class


def check(config: ConfigDict, output: str | Path = "") -> str:
    """All that a sweep of this config would find and plan, as text; raises UserError for what it would refuse.

    Nothing trains, and nothing is written but, where `output` names a directory, check.txt (this text), sheet.png (some
    patches of each class, as the network gets them) and splits.csv (image, label, patient, split).
    """
    devices.start(config.device)
    with TemporaryDirectory(prefix="medtune-check-") as folder:
        study = prepare(config, folder)
    lines = [*_long_form(study)]
    if output:
        _write(study, Path(output), lines)
    return "\n".join(lines)


def short_form(dataset: Dataset, words: Words) -> list[str]:
    """How the data were understood, what is not used, who of each class is on which side, and warnings."""
    lines = [f"data: {note}" for note in dataset.notes]
    if dataset.passed_over:
        lines.append(f"data: passed over {named(dataset.passed_over)}")
    table, noun = by_class(dataset), "finding" if several(dataset.labels) else "class"
    for name, sides in list(table.items())[:_CLASSES]:
        train, test = (_who(*sides[side], dataset, words) for side in ("train", "test"))
        lines.append(f"{noun} {name}: {train} to train and validate on, {test} to test")
    if len(table) > _CLASSES:
        lines.append(f"... and {len(table) - _CLASSES} more classes: study.json has all")
    return lines + [f"warning: {text}" for text in _warnings(dataset, words)]


def _who(groups: int, patches: int, dataset: Dataset, words: Words) -> str:
    """'20 patients (40 images)', or images alone where no patients are known."""
    what = words.cases if len(np.unique(dataset.names)) == len(dataset.names) else "patches"
    if not dataset.groups_known:
        return count(patches, what)
    return f"{count(groups, words.groups)} ({count(patches, what)})"


def _warnings(dataset: Dataset, words: Words) -> Iterator[str]:
    """What a study can be made of, and may mislead."""
    if not dataset.groups_known:
        yield (
            f"the data name no {words.groups}: two {words.cases} of one {words.group} may be in training and in the "
            "test set"
        )
    table = by_class(dataset)
    few = {name: sides["test"][0] for name, sides in table.items() if sides["test"][0] < _FEW}
    if few:
        who = words.groups if dataset.groups_known else words.cases
        said = _examples([f"'{name}' {number}" for name, number in few.items()])
        yield f"few {who} to test on ({said}): intervals will be wide"
    sizes = {name: sum(sides[side][1] for side in sides) for name, sides in table.items()}
    least, most = min(sizes, key=lambda n: sizes[n]), max(sizes, key=lambda n: sizes[n])
    if sizes[most] >= _IMBALANCE * sizes[least]:
        yield f"class '{most}' is {sizes[most] / sizes[least]:.0f} times as large as '{least}'"
    blank = _blank(dataset)
    if blank:
        yield f"{count(len(blank), 'images')} of one value everywhere ({_examples(blank)})"


def _blank(dataset: Dataset) -> list[str]:
    """Names of whole images without any structure."""
    pixels = dataset.patches.arrays().get("pixels", ())
    flat = [image.min() == image.max() for image in pixels]
    return dataset.names[np.flatnonzero(flat)].tolist()


def _long_form(study: Study) -> Iterator[str]:
    dataset, words, directory = study.dataset, study.application.words, study.config.data.dir
    classes = _examples(dataset.classes, _CLASSES)
    yield f"{directory or 'generated data'}: {study.application.name}, classes {classes}"
    contents = dataset.contents(words)
    held = (f"{count(sum(n), noun)}" for noun, n in contents.items())
    yield f"found: {', '.join(held)}"
    aside = int((dataset.test & ~dataset.is_judged).sum())
    if aside:
        yield f"not judged, since their class is in doubt: {count(aside, list(contents)[-1])} of the test set"
    headers = _headers(dataset, directory)
    yield from _of_files(headers, set(dataset.names.tolist()))
    for how, (pairs, examples) in dataset.copies.items():
        who = words.groups if dataset.groups_known else words.cases
        kind = {"identical": "identical", "near": "nearly identical"}[how]
        more = f", and {pairs - len(examples):,} more" if pairs > len(examples) else ""
        found = f"{count(pairs, 'pairs')} ({', '.join(f'{a} = {b}' for a, b in examples)}{more})"
        yield f"{kind} pictures of two {who}: {found if pairs else 'none'}"
    yield from short_form(dataset, words)
    yield from (f"warning: {text}" for text in _of_headers(dataset, headers, study.plan.size))
    for (fraction, seed), subset in study.subsets.items():
        yield f"planned, fraction {fraction:g}, seed {seed}: {_planned(subset, dataset, words)}"
    yield f"planned runs: {len(study.plan.runs)}, of depths {_examples([d.label for d in study.plan.depths], _CLASSES)}"


def _planned(subset: Subset, dataset: Dataset, words: Words) -> str:
    """'NORMAL 16 patients (30 images) to train on, 4 patients (8 images) to validate on; ...'."""

    def side(index: np.ndarray, label: int) -> str:
        rows = index[_is_of(dataset, label)[index]]
        return _who(len(np.unique(dataset.groups[rows])), len(rows), dataset, words)

    return "; ".join(
        f"{name} {side(subset.train, label)} to train on, {side(subset.valid, label)} to validate on"
        for label, name in enumerate(dataset.classes[:_CLASSES])
    )


def _is_of(dataset: Dataset, label: int) -> np.ndarray:
    """bool [N]: which patches are of a class, or have a finding."""
    labels = dataset.labels
    return np.asarray(labels[:, label] == 1 if several(labels) else labels == label)


def _label(dataset: Dataset, row: int) -> str:
    """The class of a patch, or its findings as A|B."""
    if not several(dataset.labels):
        return dataset.classes[dataset.labels[row]]
    present = [
        n for n, there in zip(dataset.classes, dataset.labels[row], strict=True) if there == 1
    ]
    return "|".join(present) or "No Finding"  # which is read back as none


def _headers(dataset: Dataset, directory: str) -> dict[str, Header]:
    """Of the files of the data by name: those that images are called after, or all images below the folder."""
    root = Path(directory)
    if not directory or not root.is_dir():
        return {}
    paths = {str(name): root / str(name) for name in np.unique(dataset.names)}
    if not all(path.is_file() for path in paths.values()):
        paths = {str(path): path for path in files_below(root) if _is_image(path)}
    with ThreadPoolExecutor() as pool:
        headers = pool.map(_header, paths.values())
        return {name: h for name, h in zip(paths, headers, strict=True) if h}


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in images.SUFFIXES or images.is_dicom(path)


def _header(path: Path) -> Header | None:
    with suppress(Exception):  # loading has told of files that cannot be read
        return read_header(path)
    return None


def _of_files(headers: dict[str, Header], names: set[str]) -> Iterator[str]:
    """Formats, sizes, bits and colour, each with how many files have it; said if they are not those of the names."""
    if not headers:
        return
    found = list(headers.values())
    what = "files" if headers.keys() <= names else "image files below the folder, masks too"
    yield f"{what}: {_counted(h.format for h in found)}"
    yield f"sizes (width x height): {_counted(f'{h.width} x {h.height}' for h in found)}"
    yield f"bits of a channel: {_counted(str(h.bits) for h in found)}"
    yield f"colour: {_counted(h.colour for h in found)}"


def _counted(values: Iterable[str]) -> str:
    counts = Counter(values).most_common()
    shown = ", ".join(f"{value} ({number:,})" for value, number in counts[:_KINDS])
    return shown + (f" and {len(counts) - _KINDS:,} others" if len(counts) > _KINDS else "")


def _of_headers(dataset: Dataset, headers: dict[str, Header], size: int) -> Iterator[str]:
    """Files that are enlarged, and properties of files that tell the class, which a network learns in place of it."""
    small = [name for name, h in headers.items() if min(h.width, h.height) < size]
    if small:
        yield f"{count(len(small), 'files')} smaller than the network's {size} px are enlarged ({_examples(small)})"
    label = {str(name): _label(dataset, row) for row, name in enumerate(dataset.names)}
    known = {name: h for name, h in headers.items() if name in label}
    properties: dict[str, Callable[[Header], Any]] = {
        "format": lambda h: h.format,
        "size": lambda h: (h.width, h.height),
        "bits": lambda h: h.bits,
        "colour": lambda h: h.colour,
    }
    for what, of in properties.items():
        classes: dict[Any, set[str]] = {}
        for name, header in known.items():
            classes.setdefault(of(header), set()).add(label[name])
        few = 1 < len(classes) <= len(known) / _TELLING
        if few and all(len(labels) == 1 for labels in classes.values()):
            yield (
                f"the {what} of its file tells the class of each image: a network may learn that instead (see the "
                "counts above)"
            )


def _examples(names: Sequence[str], most: int = _EXAMPLES) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _write(study: Study, folder: Path, lines: list[str]) -> None:
    """The three files, whose names join the lines."""
    dataset, words = study.dataset, study.application.words
    lines.append(f"written: {folder / REPORT}, {folder / SHEET}, {folder / SPLITS}")
    rows = zip(
        dataset.names,
        [_label(dataset, row) for row in range(len(dataset.labels))],
        dataset.groups,
        _sides(dataset),
        strict=True,
    )
    head = (words.case, "label", words.group, "split")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / REPORT, ("\n".join(lines) + "\n").encode())
        write_whole(folder / SHEET, png(sheet(dataset)))
        write_whole(folder / SPLITS, csv_bytes([head, *dict.fromkeys(rows)]))
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error


def _sides(dataset: Dataset) -> np.ndarray:
    """str [N]: train, test, or "not judged" for patches of the test set that count in no metric."""
    return np.where(dataset.test, np.where(dataset.is_judged, "test", "not judged"), "train")


def sheet(dataset: Dataset) -> Image.Image:
    """A row of patches of each class, of many groups, as the network gets them; captions name image, side and class."""
    chosen = [
        row for label in range(min(len(dataset.classes), _CLASSES)) for row in _few(dataset, label)
    ]
    taken = np.array([row for row in chosen if row >= 0])
    arrays = {name: jnp.asarray(a) for name, a in dataset.patches.subset(taken).items()}
    pixels = np.asarray(dataset.patches.take(arrays, jnp.arange(len(taken))), np.float32)
    pictures = iter(np.rint(pixels.clip(0, 255)).astype(np.uint8))
    blank = Image.new("RGB", (_TILE, _TILE), (24, 24, 24))
    tiles = [
        Image.fromarray(next(pictures)).resize((_TILE, _TILE)) if row >= 0 else blank
        for row in chosen
    ]
    return captioned(tiles, [_caption(dataset, row) for row in chosen], _TILES)


def _few(dataset: Dataset, label: int) -> list[int]:
    """Patches of a class, evenly from all its groups, training before test; -1 fills the row."""
    index = np.flatnonzero(_is_of(dataset, label))
    first = index[np.unique(dataset.groups[index], return_index=True)[1]]
    pool = first if len(first) >= _TILES else index
    picked = pool[np.unique(np.linspace(0, len(pool) - 1, _TILES).astype(int))]
    rows = picked[np.argsort(dataset.test[picked], kind="stable")].tolist()
    return rows + [-1] * (_TILES - len(rows))


def _caption(dataset: Dataset, row: int) -> tuple[str, str]:
    if row < 0:
        return "", ""
    return str(dataset.names[row]), f"{_sides(dataset)[row]}: {_label(dataset, row)}"
