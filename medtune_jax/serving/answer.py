"""What the page says of one file: that which `medtune predict` writes of it, in a folder that is then removed."""

from __future__ import annotations

import csv
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from PIL import Image

from medtune_jax.applications.ensemble import Ensemble, load_all
from medtune_jax.applications.predict import predict, prediction_of
from medtune_jax.applications.predictions import PREDICTIONS
from medtune_jax.errors import UserError
from medtune_jax.export.card import study_sections
from medtune_jax.export.run import FinishedRun, load

_SHOWN = {"explain": True, "overlays": "all"}  # options of a prediction that draw what a page shows
_ROWS, _PICTURES = 200, 24  # of a table, of pictures
_NO_TABLE = ".contours.csv"  # a row per column of an image: for programs


@dataclass(frozen=True)
class Answer:
    """What is said of a file.

    called: its class, or its findings apart by |; '' where nothing is called. probabilities: class -> probability and
    its standard deviation over the networks (None of a single one); empty unless the file is one case with classes.
    tables: name -> rows, the first the header. pictures: name -> RGB. notes: sentences.
    """

    called: str
    probabilities: Mapping[str, tuple[float, float | None]]
    tables: Mapping[str, list[list[str]]]
    pictures: Mapping[str, Image.Image]
    notes: tuple[str, ...]


class Served:
    """The networks behind a page, and what their study says of itself.

    run: what `medtune predict --run=` takes, of a finished study. options: of the application's prediction.
    UserError for a run that is none, or is not finished.
    """

    def __init__(self, run: str | Path, options: Mapping[str, Any] | None = None) -> None:
        self.ensemble: Ensemble = load_all([run])
        member = self.ensemble.members[0].run
        self.first: FinishedRun = load(member or run)
        """The run whose figures the page gives."""
        known = {option.name for option in prediction_of(self.ensemble).options}
        self.options = {k: v for k, v in _SHOWN.items() if k in known} | dict(options or {})
        self._one_by_one = Lock()

    @cached_property
    def limits(self) -> dict[str, str]:
        """Of the model card, Markdown by heading: intended use, data, performance, limits."""
        return study_sections(self.first)

    def answer(self, name: str, save: Callable[[Path], object]) -> Answer:
        """What is said of a file of that name, which `save` writes. UserError where it cannot be read.

        Neither the file nor what is made of it outlives the call.
        """
        with tempfile.TemporaryDirectory(prefix="medtune-serve-") as scratch:
            folder = Path(scratch)
            path, output = folder / "given" / _plain(name), folder / "answer"
            path.parent.mkdir()
            save(path)
            with self._one_by_one:
                try:
                    found = predict(self.ensemble, [path], output, **self.options)
                except UserError as error:
                    raise UserError(str(error).replace(f"{path.parent}/", "")) from error
            said = [line.split(f": {output}")[0] for line in found.summary.splitlines()]
            return self._answer(output, tuple(said))

    def _answer(self, output: Path, notes: tuple[str, ...]) -> Answer:
        tables = {
            path.name: _rows(path)
            for path in sorted(output.glob("*.csv"))
            if not path.name.endswith(_NO_TABLE)
        }
        head, *rows = tables.get(PREDICTIONS, [[]])
        classed = len(rows) == 1 and "called" in head
        row = dict(zip(head, rows[0], strict=True)) if classed else {}
        if classed:
            del tables[PREDICTIONS]
            notes = ()  # which count one
        pictures = {
            path.relative_to(output).as_posix(): Image.open(path).convert("RGB")
            for path in sorted(output.rglob("*.png"))[:_PICTURES]
        }
        return Answer(row.get("called", ""), self._probabilities(row), tables, pictures, notes)

    def _probabilities(self, row: Mapping[str, str]) -> dict[str, tuple[float, float | None]]:
        if not row:
            return {}
        spread = {name: row.get(f"spread_{name}") for name in self.ensemble.classes}
        return {
            name: (float(row[name]), float(far) if far else None) for name, far in spread.items()
        }


def _plain(name: str) -> str:
    """A file's name without a path or a leading dot."""
    return re.sub(r"[^\w.() -]", "_", Path(name).name).lstrip(". ") or "file"


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return [row for row, _ in zip(csv.reader(stream), range(_ROWS + 1), strict=False)]
