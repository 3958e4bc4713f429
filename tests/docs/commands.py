"""What a shell block of the documentation must be: commands that exist, with flags and fields that exist."""

from __future__ import annotations

import re
import runpy
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from absl import flags
from ml_collections import ConfigDict

from medtune_jax import applications, cli
from medtune_jax.study.plan import make_plan

ROOT = Path(__file__).resolve().parents[2]
CHEAP = {("networks",), ("weights", "list"), ("data", "list")}  # these are run, the others parsed


def commands(block: str) -> list[list[str]]:
    """The words of each command: comments gone, lines that end in a backslash joined."""
    lines = block.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def check(words: Sequence[str]) -> None:
    """AssertionError unless the command could be typed as it stands."""
    match list(words):
        case ["taskset", "-c", _, *rest]:
            check(rest)
        case ["srun" | "mpirun", *rest] if "medtune" in rest:
            check(rest[rest.index("medtune") :])
        case [variable, *rest] if variable.partition("=")[0].startswith(
            ("JAX_", "SCALE", "OPTIONS")
        ):
            check(rest)
        case ["medtune", *rest]:
            _check_medtune(rest)
        case ["python", "-m", module, *_]:
            assert find_spec(module), f"there is no module {module}"
        case ["python" | "bash", script, *rest]:
            _check_script(ROOT / script, rest)
        case ["pip", "install", wanted] if wanted.startswith("medtune-jax["):
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            assert wanted[len("medtune-jax[") : -1] in project["optional-dependencies"]
        case _:
            pytest.fail(f"the tests know no such command: {shlex.join(words)}")


def _check_medtune(words: Sequence[str]) -> None:
    with _parsed_only() as parsed:
        assert cli.run(words) == 0, f"refused: medtune {shlex.join(words)}"
    if "--help" in words:
        return
    values, arguments = parsed[0]
    if words[0] == "sweep":
        assert not arguments and values.output
        _check_config(values.config)
    elif left := {word.partition("=")[0] for word in arguments if word.startswith("-")}:
        assert words[0] == "predict" and left <= _prediction_options(), f"no flag: {left}"
    if tuple(words) in CHEAP:
        assert cli.run(words) == 0


@contextmanager
def _parsed_only() -> Iterator[list[tuple[flags.FlagValues, Sequence[str]]]]:
    """`cli.run` reads a command line as it always does, and then notes what a verb was given in place of doing it."""
    parsed: list[tuple[flags.FlagValues, Sequence[str]]] = []

    def note(values: flags.FlagValues, arguments: Sequence[str]) -> None:
        parsed.append((values, arguments))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "VERBS", {n: replace(v, run=note) for n, v in cli.VERBS.items()})
        patch.chdir(ROOT)
        yield parsed


def _check_config(config: ConfigDict) -> None:
    """Network, depths, fractions and application are known."""
    applications.get(config.application)
    make_plan(config, 2, "", "")


def _prediction_options() -> set[str]:
    found = [applications.get(name).predict for name in applications.APPLICATIONS]
    return {f"--{option.name}" for each in found if each for option in each.options}


def _check_script(path: Path, words: Sequence[str]) -> None:
    assert path.is_file(), f"there is no {path}"
    source = path.read_text()
    if "common" in source:
        source += (path.parent / "common.py").read_text()
    for flag in (word.partition("=")[0] for word in words if word.startswith("--")):
        name = flag.removeprefix("--")
        assert re.search(rf'"(--)?{name}"', source), f"{path.name} has no {flag}"


@cache
def config_fields() -> frozenset[str]:
    """The names of all fields and of their groups, of all configs: 'data', 'data.dir', ..."""
    paths = sorted((ROOT / "configs").glob("*.py"))
    return frozenset(
        name
        for path in paths
        for name in _names(runpy.run_path(str(path))["get_config"]().to_dict())
    )


def _names(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _names(value, f"{prefix}{key}.")


def mentioned_fields(text: str) -> set[str]:
    """The fields that a text names: --config.data.dir=DIR, or `data.dir` in code type."""
    groups = "data|memory|optimizer|rates|sweep|training"
    flag = re.findall(r"--config\.([a-z_0-9]+(?:\.[a-z_0-9]+)*)", text)
    named = re.findall(rf"`((?:{groups})\.[a-z_0-9]+(?:\.[a-z_0-9]+)*)", text)
    return {name for name in (*flag, *named) if not name.endswith(".py")}
