"""What the page says of files: that which `medtune predict` writes of them, in a folder that is then removed."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from PIL import Image

from medtune_jax.applications.ensemble import Ensemble, load_all
from medtune_jax.applications.mapping import MAPS
from medtune_jax.applications.predict import predict, prediction_of
from medtune_jax.applications.predictions import NO_LABELS, PREDICTIONS, threshold_words
from medtune_jax.errors import UserError
from medtune_jax.export.card import study_sections
from medtune_jax.export.run import FinishedRun, load

_SHOWN = {"explain": True, "overlays": "all"}  # options of a prediction that draw what a page shows
_ROWS, _PICTURES = 200, 24  # of a table, of pictures
_NO_TABLE = ".contours.csv"  # a row per column of an image: for programs
_NO_COLUMN = "logit_"  # the probabilities once more
_MARKED = "marked"  # a column of candidates
_NO_NOTE = ".mp4"  # of a film, which the page does not show


@dataclass(frozen=True)
class Answer:
    """What is said of one case, or of several.

    called: its class, or its findings apart by |; '' where nothing is called. probabilities: class -> probability and
    its standard deviation over the networks (None of a single one); empty unless it is one case with classes.
    tables: name -> rows, the first the header. pictures: name -> RGB. notes: sentences.
    """

    called: str
    probabilities: Mapping[str, tuple[float, float | None]]
    tables: Mapping[str, list[list[str]]]
    pictures: Mapping[str, Image.Image]
    notes: tuple[str, ...]


class Served:
    """The networks behind a page, and what their study says of itself.

    run: what `medtune predict --run=` takes, of a finished study, or what `load_all` made of it. options: of the
    application's prediction. UserError for a run that is none, is not finished, or lacks what a prediction needs, and
    for options that no file could be answered with.
    """

    def __init__(
        self, run: str | Path | Ensemble, options: Mapping[str, Any] | None = None
    ) -> None:
        self.ensemble: Ensemble = run if isinstance(run, Ensemble) else load_all([run])
        prediction = prediction_of(self.ensemble)
        known = {option.name for option in prediction.options}
        self.options = {k: v for k, v in _SHOWN.items() if k in known} | dict(options or {})
        prediction.check(self.ensemble, **self.options)
        if self.options.get("labels", "") not in ("", NO_LABELS):
            raise UserError("a page takes no table of labels: give it to medtune predict")
        self.takes, self.shows = prediction.takes, prediction.shows
        self.first: FinishedRun = load(self.ensemble.members[0].run or self.ensemble.directory)
        """The run whose figures the page gives."""
        self.limits: dict[str, str] = study_sections(self.first)
        """Of the model card, Markdown by heading: intended use, data, performance, limits."""
        self._one_by_one = Lock()

    def answer(self, given: Path) -> Answer:
        """What is said of the files in a folder: one alone, or all as one case (a DICOM series, an image and its
        calibration) or as several. UserError where none can be read.
        """
        files = list(given.iterdir())
        with tempfile.TemporaryDirectory(prefix="medtune-serve-") as scratch, self._one_by_one:
            output = Path(scratch)
            try:
                inputs = files if len(files) == 1 else [given]
                found = predict(self.ensemble, inputs, output, **self.options)
            except UserError as error:
                raise UserError(_without(given, str(error))) from error
            lines = [*found.summary.splitlines(), *found.unreadable.splitlines()]
            hidden = (_NO_NOTE, str(output / MAPS))
            lines = [line for line in lines if not line.endswith(hidden)]
            said = [line.split(f": {output}")[0] for line in lines]
            return self._answer(output, given, tuple(_without(given, line) for line in said))

    def _answer(self, output: Path, given: Path, notes: tuple[str, ...]) -> Answer:
        tables = {
            path.name: [[_without(given, cell) for cell in row] for row in _rows(path)]
            for path in sorted(output.glob("*.csv"))
            if not path.name.endswith(_NO_TABLE)
        }
        head, *rows = tables.get(PREDICTIONS, [[]])
        classed = len(rows) == 1 and "called" in head
        row = dict(zip(head, rows[0], strict=True)) if classed else {}
        if classed:
            del tables[PREDICTIONS]
            threshold = threshold_words(self.ensemble)
            notes = (*([threshold] if threshold else []), *notes[1:])  # the first counts one
        elif _MARKED in head:  # candidates, the most probable first
            place = head.index(self.ensemble.classes[-1])
            tables[PREDICTIONS] = [head, *sorted(rows, key=lambda row: -float(row[place]))]
        found = [path.relative_to(output).as_posix() for path in output.rglob("*.png")]
        pictures = {
            name: Image.open(output / name).convert("RGB")
            for name in sorted(found, key=lambda name: (MAPS in name, name))[:_PICTURES]
        }
        shown = {name: rows[: _ROWS + 1] for name, rows in tables.items()}
        return Answer(row.get("called", ""), self._probabilities(row), shown, pictures, notes)

    def _probabilities(self, row: Mapping[str, str]) -> dict[str, tuple[float, float | None]]:
        if not row:
            return {}
        spread = {name: row.get(f"spread_{name}") for name in self.ensemble.classes}
        return {
            name: (float(row[name]), float(far) if far else None) for name, far in spread.items()
        }


def _without(given: Path, text: str) -> str:
    """A text that names no folder of ours."""
    return text.replace(f"{given}/", "").replace(str(given), "what was dropped")


def _rows(path: Path) -> list[list[str]]:
    """Of a table, the first the header."""
    with path.open(newline="", encoding="utf-8") as stream:
        head, *rows = csv.reader(stream)
    shown = [k for k, name in enumerate(head) if not name.startswith(_NO_COLUMN)]
    return [[row[k] for k in shown] for row in (head, *rows)]
