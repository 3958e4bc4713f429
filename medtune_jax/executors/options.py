"""Which executor, with which options: --executor=NAME --executor.FIELD=VALUE."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, Protocol

from medtune_jax.errors import UserError
from medtune_jax.executors.local import Local
from medtune_jax.executors.ray import Ray
from medtune_jax.executors.slurm import Slurm
from medtune_jax.executors.submission import Submission


class Workers(Protocol):
    """Workers that an engine has, queued or running."""

    def alive(self) -> int:
        """How many are not at their end."""

    def stop(self) -> str:
        """The launcher is asked to stop: end those that do not outlive it; a sentence says which go on."""

    def close(self) -> None:
        """Nothing is left to do: take those out of the queue that have not begun."""


class Executor(Protocol):
    """An engine that places, queues and retries workers; its fields are the options."""

    workers: int

    @property
    def name(self) -> str:
        """As in --executor=NAME."""

    @property
    def in_process(self) -> bool:
        """Whether there is no worker but the launcher itself."""

    @property
    def accelerated(self) -> bool:
        """Whether its workers ask for accelerators that this machine may not have."""

    def start(self, submission: Submission, workers: int) -> Workers:
        """Hand out so many workers, each a `worker.work` of the submission's folder, and record them there.

        UserError where the engine is not there or refuses.
        """

    def rejoin(self, submission: Submission) -> Workers | None:
        """The workers of an earlier launcher that has gone; None where they go with it."""

    def count(self, jobs: int) -> int:
        """How many workers for so many jobs."""


EXECUTORS: Mapping[str, Any] = {"local": Local, "slurm": Slurm, "ray": Ray}


def chosen(name: str, options: Mapping[str, str]) -> Executor:
    """An executor with options as text; UserError for an unknown one or a value that does not fit."""
    name = name or "local"
    kind = EXECUTORS.get(name)
    if kind is None:
        raise UserError(f"there is no executor '{name}'; did you mean {_near(name, EXECUTORS)}?")
    known = {field.name: field for field in dataclasses.fields(kind)}
    for option in options:
        if option not in known:
            raise UserError(
                f"there is no --executor.{option} with --executor={name}; "
                f"did you mean --executor.{_near(option, known)}?"
            )
    values = {option: _read(option, text, known[option]) for option, text in options.items()}
    return kind(**values)


def fields() -> dict[str, str]:
    """All options with their help, of whichever executors have them."""
    found: dict[str, list[str]] = {}
    for name, kind in EXECUTORS.items():
        for each in dataclasses.fields(kind):
            text = f"{name}: {each.metadata['help']} (default {each.default!r})"
            found.setdefault(each.name, []).append(text)
    return {option: "; ".join(texts) for option, texts in found.items()}


def _near(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    return difflib.get_close_matches(name.lower(), list(known), 1, 0)[0]


def _read(option: str, text: str, field: dataclasses.Field[Any]) -> Any:
    kind: Any = type(field.default)
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        value = kind(text)
    except (ValueError, KeyError) as error:
        wanted = {int: "a whole number", float: "a number", bool: "true or false"}[kind]
        raise UserError(f"--executor.{option} is '{text}': give {wanted}") from error
    least = field.metadata.get("least")
    if least is not None and not least <= value < inf:
        raise UserError(f"--executor.{option} is {text}: give {least} or more")
    return value
