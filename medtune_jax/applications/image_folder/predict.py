"""A trained network on new images: probabilities, what they are called and, with labels, how good that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medtune_jax.applications.ensemble import Ensemble
from medtune_jax.applications.image_folder.findings import Wanted
from medtune_jax.applications.image_folder.images_below import images_below
from medtune_jax.applications.image_folder.layout import read_folders
from medtune_jax.applications.image_folder.reader import SUFFIXES, read_image
from medtune_jax.applications.image_folder.rows import Row, Table
from medtune_jax.applications.image_folder.table import find_table, read_labels
from medtune_jax.applications.kinds import (
    Kinds,
    colours_of,
    differences,
    modality_of,
    read_kinds,
    require_alike,
)
from medtune_jax.applications.mapping import MAPS, OPTIONS, drawn_by, map_files, mapper_of, panel
from medtune_jax.applications.parts import Arrays, Steps, each, joined, predicted
from medtune_jax.applications.predictions import (
    NO_LABELS,
    explained_classes,
    write_classified,
)
from medtune_jax.applications.protocol import Option, Predicted, Prediction
from medtune_jax.applications.scoring import Scorer
from medtune_jax.errors import UserError
from medtune_jax.evaluation.scores import label_words
from medtune_jax.folders import named
from medtune_jax.images import is_dicom
from medtune_jax.patches import Images
from medtune_jax.paths import write_whole
from medtune_jax.pictures import png

_PART = 256  # images in memory at a time; as many are read ahead


@dataclass(frozen=True)
class _Truth:
    """rows: by name of an image. notes: what to tell of how labels were read."""

    rows: Mapping[str, Row]
    notes: Sequence[str] = ()


class _Read(NamedTuple):
    """pixels: uint8 [S, S, 3]. modality: that a DICOM file states, else ''."""

    pixels: np.ndarray
    modality: str


def predict(
    ensemble: Ensemble,
    inputs: Sequence[Path],
    output: Path,
    labels: str = "",
    columns: str = "",
    **explain: Any,
) -> Predicted:
    """Score images, or all images of folders: predictions.csv and, with labels, metrics.csv; maps/ with `explain`.

    Args:
      labels: a table of image, label and patient; '': what the folder itself says (labels.csv, class folders);
        'none': no labels. columns: the table's own names for them; '': the study's. explain: as of `mapper_of`.

    Raises:
      UserError: no image among the inputs, labels that are none of the study's classes, or no image that can be read.
    """
    images, passed_over = _listed(inputs)
    names, paths = list(images), list(images.values())
    truth = _truth(ensemble, inputs, labels, columns)
    scorer, mapper = Scorer(ensemble), mapper_of(ensemble, **explain)
    drawn_to = map_files([Path(name).stem for name in names]) if mapper else []
    kinds = read_kinds(ensemble.study)

    def read(path: Path) -> _Read:
        modality = modality_of(path)
        require_alike(kinds, path, modality)
        return _Read(read_image(path, ensemble.size), modality)

    def work(place: np.ndarray, pictures: Sequence[_Read]) -> Arrays:
        pixels = np.stack([picture.pixels for picture in pictures])
        scores = scorer(Images(pixels))
        if mapper:
            maps = mapper(pixels, explained_classes(ensemble, scores))
            for k, image, map_ in zip(place, pixels, maps, strict=True):
                write_whole(output / drawn_to[k], png(panel(image, map_)))
        return {
            "scores": scores.astype(np.float32),
            "modality": np.array([picture.modality for picture in pictures]),
            "colour": np.array(colours_of(pixels)),
        }

    def write(place: np.ndarray, parts: Sequence[Arrays]) -> list[str]:
        own, maps = [names[k] for k in place], [drawn_to[k] for k in place] if mapper else []
        found = joined(parts)
        said = _write(ensemble, output, own, found["scores"], truth, maps)
        said += [f"what speaks for what each is called: {output / MAPS}"] if mapper else []
        new = Kinds.of(found["modality"].tolist(), found["colour"].tolist())
        return [*said, *passed_over, *differences(kinds, new, "images")]

    steps = Steps(each(read), work, write, _PART, "images: parts")
    options = {"maps": drawn_by(mapper), "kinds": str(kinds)}
    return predicted(ensemble, steps, paths, paths, output, options)


def _check(ensemble: Ensemble, labels: str = "", columns: str = "", **explain: Any) -> None:
    del columns
    read_kinds(ensemble.study)
    mapper_of(ensemble, **explain)
    if labels not in ("", NO_LABELS) and not Path(labels).is_file():
        raise UserError(f"there is no table {labels}: give a file image,label,patient")


PREDICTION = Prediction(
    predict,
    (
        Option(
            "labels",
            "",
            "a table image,label,patient of what is true; none: leave the folder's out",
        ),
        Option("columns", "", "its own names for these, as in image_id,dx,lesion_id"),
        *OPTIONS,
    ),
    shows="Beside the image, in warm colours: what speaks for what it is called.",
    check=_check,
)


def _listed(inputs: Sequence[Path]) -> tuple[dict[str, Path], list[str]]:
    """Images by name: the path from a folder that is the only input, else the path as it was given; and what there is
    to say of other files.
    """
    found: dict[str, Path] = {}
    passed: Counter[str] = Counter()
    for path in inputs:
        if not path.is_dir():
            if path.suffix.lower() not in SUFFIXES and not is_dicom(path):
                raise UserError(
                    f"{path} is no image, which this study was trained on: give images ({', '.join(SUFFIXES)}) or "
                    "folders of them"
                )
            found[path.as_posix()] = path
            continue
        below = images_below(path)
        passed.update(below.passed_over)
        for inside in below.paths:
            name = inside if len(inputs) == 1 else path / inside
            found[name.as_posix()] = path / inside
    if not found:
        other = f" (found: {named(passed)})" if passed else ""
        raise UserError(f"{inputs[0]} holds no image{other}: give images or folders of them")
    del passed[".csv"]  # of labels
    return found, [f"note: passed over {named(passed)}"] if passed else []


def _truth(ensemble: Ensemble, inputs: Sequence[Path], labels: str, columns: str) -> _Truth:
    """Labels from a table, from the folder's own table or from its class folders, in that order."""
    if labels == NO_LABELS:
        return _Truth({})
    if len(inputs) != 1 or not inputs[0].is_dir():
        if labels:
            raise UserError(
                f"labels {labels} speak of the images of a folder: give that folder as the one input"
            )
        return _Truth({})
    try:
        return _labels_of(ensemble, inputs[0], labels, columns)
    except UserError as error:  # the flag of a sweep has another name here
        said = str(error).replace("--config.data.columns", "--columns")
        raise UserError(said.replace("data.columns is", "--columns is")) from error


def _labels_of(ensemble: Ensemble, folder: Path, labels: str, columns: str) -> _Truth:
    data = ensemble.data
    table = Path(labels) if labels else find_table(folder)
    if table is not None:
        wanted = Wanted(",".join(ensemble.classes), data.uncertain, data.blank)
        of_findings = wanted if ensemble.findings else None
        own = columns or data.columns
        found = read_labels(folder, table, own, "", of_findings, data.patient_pattern)
        return _Truth(_checked(ensemble, found, table), [f"labels are read from {table}"])
    if ensemble.findings:
        return _Truth({})
    try:
        found = read_folders(folder, data.patient_pattern, data.layout, data.class_pattern)
    except UserError:
        return _Truth({})  # folders that say no class: nobody said that they would
    if not any(row.label in ensemble.classes for row in found.rows):
        return _Truth({})
    return _Truth(_checked(ensemble, found, folder), [f"labels are the folders of {folder}"])


def _checked(ensemble: Ensemble, table: Table, where: Path) -> dict[str, Row]:
    """Its rows by image; UserError for a class that the networks do not know."""
    known = set(ensemble.classes)
    strange = next(
        (row for row in table.rows if not table.findings and row.label not in known), None
    )
    if strange:
        raise UserError(
            f"{where}: {strange.image} has the label '{strange.label}', none of the study's classes "
            f"({', '.join(ensemble.classes)}): mend it, or leave the labels out with --labels=none"
        )
    return {row.image: row for row in table.rows}


def _write(
    ensemble: Ensemble,
    output: Path,
    names: Sequence[str],
    scores: np.ndarray,
    truth: _Truth,
    maps: Sequence[str],
) -> list[str]:
    """The tables, and what to say of them."""
    rows = [truth.rows.get(name) for name in names]
    columns = {"image": list(names)}
    if maps:
        columns["map"] = list(maps)
    if truth.rows:
        columns["patient"] = [row.patient if row else "" for row in rows]
        columns["label"] = [_word(ensemble, row) for row in rows]
    labels = [_label(ensemble, row) if row else None for row in rows]
    groups = [row.patient if row else "" for row in rows]
    return [*truth.notes, *write_classified(ensemble, output, columns, scores, labels, groups)]


def _label(ensemble: Ensemble, row: Row) -> int | Sequence[int]:
    """The place of its class, or its findings."""
    return row.findings if ensemble.findings else ensemble.classes.index(row.label)


def _word(ensemble: Ensemble, row: Row | None) -> str:
    if row is None or not ensemble.findings:
        return row.label if row else ""
    return label_words(np.array(row.findings), ensemble.classes)[0]
