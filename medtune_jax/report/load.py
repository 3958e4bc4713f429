"""Reads a study directory: the manifest, and for each planned run what it left behind.

The report reads nothing else, so that it can be made again anywhere, long after the sweep.
"""

from __future__ import annotations

import csv
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medtune_jax import __version__
from medtune_jax.errors import UserError
from medtune_jax.evaluation import log_odds
from medtune_jax.evaluation.metric import AUC, Metric, chosen, of_findings
from medtune_jax.evaluation.operating import YOUDEN, Rule
from medtune_jax.evaluation.scores import TEST_COLUMNS, TestSet, label_of, score_columns
from medtune_jax.evaluation.subgroups import read_subgroups
from medtune_jax.paths import SUMS, LayoutError, damaged, manifest_by_sum
from medtune_jax.report.runs import DONE, FAILED, MISSING, Depth, Run, StudyResults
from medtune_jax.words import PATIENTS_AND_IMAGES, Words

NO_VALIDATION = (
    "this study kept no validation scores (older versions did not), so that no threshold can be chosen: run the sweep "
    "again with another --output"
)
_FIELDS = ("network", "depths", "fractions", "classes", "runs")
_log = logging.getLogger("medtune_jax")


def read_manifest(directory: Path) -> dict[str, Any]:
    """study.json; UserError when there is none, or none that this version can read."""
    path = Path(directory) / "study.json"
    if not path.is_file():
        raise UserError(
            f"{directory} holds no study.json: give the --output directory of a `medtune sweep`."
        )
    try:
        manifest = manifest_by_sum(path)
    except LayoutError as error:
        raise _of_another_version(directory, error) from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({error}): remove it and run the sweep again."
        ) from error
    missing = [name for name in _FIELDS if name not in manifest]
    if missing:
        raise UserError(f"{path} has no field '{missing[0]}': run the sweep again.")
    return manifest


def _of_another_version(directory: Path, error: Exception) -> UserError:
    return UserError(
        f"{directory} has a layout that medtune_jax {__version__} cannot read ({error!r}): make its report with "
        "the version that its runs' versions.json name, or run the sweep again."
    )


def load_study(
    directory: Path, metric: Metric = AUC, words: tuple[str, str] = PATIENTS_AND_IMAGES
) -> StudyResults:
    """Reads study.json and every run directory that exists.

    metric: the application's own; another one that the study names judges the same binary tasks. words: the
    application's (group, case), for studies that do not name them.

    A run that cannot be read, or was scored on other test images than most, is told of in the log and counts as failed.

    Raises:
      UserError: no study there, another layout, or no run that can be read where there are some.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    metric = chosen(manifest.get("metric", ""), metric)
    metric = of_findings(metric) if manifest.get("findings") else metric
    try:
        depths = _depths(manifest)
        order = {name: i for i, name in enumerate(depths)}
        planned = sorted(
            manifest["runs"], key=lambda r: (order[r["depth"]], -r["fraction"], r["seed"])
        )
        named = Words(**manifest["words"]) if "words" in manifest else Words(*words)
        rule = Rule.parse(manifest.get("config", {}).get("threshold", YOUDEN))
        reader = _Reader(directory / "runs", manifest["classes"], metric, rule)
        runs = reader.agreed([reader.run(entry) for entry in planned])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _of_another_version(directory, error) from error
    _tell(directory, reader.blamed, any(run.status == DONE for run in runs))
    return StudyResults(
        *(directory, manifest, runs, reader.test, depths, metric, named, reader.saturated, rule),
        {} if reader.test is None else read_subgroups(directory, reader.test.names),
    )


def _tell(directory: Path, blamed: Mapping[str, str], others: bool) -> None:
    """Of runs that cannot be reported, with the reasons; UserError where they are all there is."""
    if blamed and not others:
        reasons = "".join(f"\n  {run}: {why}" for run, why in blamed.items())
        raise UserError(f"no run of {directory} can be reported:{reasons}")
    for run, why in blamed.items():
        _log.warning("run %s is left out of the report: %s", run, why)


def _depths(manifest: dict[str, Any]) -> dict[str, Depth]:
    """By name: depths, other ways, scratch."""
    stages = tuple(stage["name"] for stage in manifest["network"]["stages"])
    found = [
        _depth_of_name(entry, stages)
        if isinstance(entry, str)
        else Depth(
            *(entry["name"], entry["label"], tuple(entry["tuned"]), entry["scratch"]),
            *(entry.get("way", ""), tuple(entry.get("light", ())), entry.get("parameters")),
        )
        for entry in manifest["depths"]
    ]
    return {depth.name: depth for depth in sorted(found, key=lambda depth: depth.place)}


def _depth_of_name(name: str, stages: tuple[str, ...]) -> Depth:
    """A depth of version 0.1, which wrote names alone: the first tuned stage, 'scratch' or 'scratch-FILLER'."""
    scratch, _, initializer = name.partition("-")
    if scratch == "scratch":
        return Depth(name, f"scratch ({initializer})" if initializer else scratch, stages, True)
    tuned = stages[stages.index(name) :]
    return Depth(name, f"{name}-{stages[-1]}" if tuned[1:] else f"only {name}", tuned, False)


class _Reader:
    """Reads runs, and holds what they share: the test set, and how many scores of old studies have saturated."""

    def __init__(self, folder: Path, classes: list[str], metric: Metric, rule: Rule):
        self._folder = folder
        self._classes = classes
        self._metric = metric
        self._rule = rule
        self.test: TestSet | None = None
        self.saturated: int | None = None
        self.blamed: dict[str, str] = {}
        """By run that cannot be reported, the reason."""
        self._tests: dict[str, TestSet] = {}

    def run(self, entry: dict[str, Any]) -> Run:
        folder = self._folder / entry["run"]
        identity = {key: entry[key] for key in ("run", "depth", "fraction", "seed")}
        if not (folder / "result.json").is_file():
            return Run(**identity, status=MISSING)
        if broken := damaged(folder):
            self.blamed[folder.name] = (
                f"{broken} is damaged, or {SUMS} beside it: the next sweep runs it again"
            )
            return Run(**identity, status=MISSING, result={"reason": self.blamed[folder.name]})
        try:
            return self._whole(identity, folder)
        except UserError as error:
            return self._without(Run(**identity, status=FAILED), str(error))

    def agreed(self, runs: Sequence[Run]) -> tuple[Run, ...]:
        """The runs, and as `test` the test set that most of them were scored on; those that were not have failed."""
        if not self._tests:
            return tuple(runs)
        keys = {name: _key(test) for name, test in self._tests.items()}
        most = Counter(keys.values()).most_common(1)[0][0]
        first = next(name for name, key in keys.items() if key == most)
        self.test = self._tests[first]
        why = f"its test images are not those of {first}: remove the folder of the wrong run and run the sweep again"
        return tuple(
            run if keys.get(run.run, most) == most else self._without(run, why) for run in runs
        )

    def _without(self, run: Run, why: str) -> Run:
        """A run that cannot be reported."""
        self.blamed[run.run] = why
        identity = (run.run, run.depth, run.fraction, run.seed)
        return Run(*identity, status=FAILED, result={"reason": why})

    def _whole(self, identity: dict[str, Any], folder: Path) -> Run:
        result = _renamed(_json(folder / "result.json"))
        done = result.get("status") == DONE
        scores = self._scores(folder / "scores.csv") if done else None
        if scores is not None and not np.isfinite(scores).all():
            done, scores = False, None
            result["reason"] = "its test scores hold NaN or infinity: training diverged"
        thresholds, no_threshold = self._thresholds(folder) if done else (None, "")
        return Run(
            **identity,
            status=DONE if done else FAILED,
            result=result,
            timing=_json(folder / "timing.json", optional=True),
            versions=_json(folder / "versions.json", optional=True),
            history=_history(folder / "history.csv"),
            scores=scores,
            test=None if scores is None else self._figure(folder.name, scores),
            thresholds=thresholds,
            no_threshold=no_threshold,
        )

    def _thresholds(self, folder: Path) -> tuple[np.ndarray | None, str]:
        """Chosen on the run's own validation scores, or why there are none."""
        path = folder / "validation.csv"
        if not path.is_file():
            return None, NO_VALIDATION
        valid, scores = self._read(path)
        tasks = self._metric.tasks(len(self._classes))
        try:
            return self._rule.thresholds(
                valid.labels[valid.judged], scores[valid.judged], tasks
            ), ""
        except UserError as error:
            return None, f"{error} (run {folder.name})"

    def _figure(self, run: str, scores: np.ndarray) -> float:
        test = self._tests[run]
        return self._metric(test.labels[test.judged], scores[test.judged])

    def _scores(self, path: Path) -> np.ndarray:
        """Log-odds [N, C] of the test set, in the order of the image names."""
        test, values = self._read(path)
        if np.isfinite(values).all():
            self._tests[path.parent.name] = test
        return values

    def _read(self, path: Path) -> tuple[TestSet, np.ndarray]:
        """A table of scores, in the order of the image names: what was judged, and its log-odds [N, C]."""
        probabilities, logits = score_columns(self._classes)
        rows = _rows(path, (*TEST_COLUMNS, *probabilities))
        logged = bool(rows) and logits[0] in rows[0]
        rows.sort(key=lambda row: row["image"])
        try:
            labels = np.array([label_of(row, self._classes) for row in rows], dtype=int)
            scored = logits if logged else probabilities
            values = np.array([[float(row[c]) for c in scored] for row in rows])
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{path} holds an unknown class or a score that is no number: {error}."
            ) from error
        test = TestSet(
            np.array([row["image"] for row in rows]),
            np.array([row["patient"] for row in rows]),
            labels,
            np.array([row.get("judged") != "0" for row in rows], bool),
        )
        values = values.reshape(len(rows), len(self._classes))
        if logged:
            return test, values.astype(np.float32)
        # Studies of version 0.1 kept probabilities alone.
        self.saturated = (self.saturated or 0) + int((values == 0).any(axis=1).sum())
        return test, log_odds.of_probabilities(values)


def _key(test: TestSet) -> tuple[bytes, ...]:
    """Of all that two runs of a study must have been scored on alike."""
    columns = (test.names, test.groups)
    words = tuple("\n".join(column).encode() for column in columns)
    return (*words, test.labels.tobytes(), test.judged.tobytes())


def _history(path: Path) -> np.ndarray:
    rows = _rows(path, ("batches",)) if path.is_file() else []
    rows = [row for row in rows if row.get("validation") != ""]  # nothing was held back
    try:
        points = [(float(r["batches"]), float(r.get("validation") or r["val_auc"])) for r in rows]
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({error}): remove that run and run it again."
        ) from error
    return np.array(points).reshape(-1, 2)


def _renamed(result: dict[str, Any]) -> dict[str, Any]:
    """A result of version 0.1, which knew one metric, in today's words."""
    old = {"val_auc": "validation", "test_auc": "test"}
    return {"metric": AUC.name} | {old.get(name, name): value for name, value in result.items()}


def _json(path: Path, optional: bool = False) -> dict[str, Any]:
    if optional and not path.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no fields")
        return content
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({error}): remove it and run the sweep again."
        ) from error


def _rows(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    if not path.is_file():
        raise UserError(f"{path} is missing although its run is done: remove the run's directory.")
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        absent = [name for name in columns if name not in (reader.fieldnames or [])]
        if absent:
            raise UserError(
                f"{path} has no column '{absent[0]}': remove that run and run it again."
            )
        return list(reader)
