"""What a verb of the command line is, and what verbs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from medtune_jax.errors import UserError

# What takes long to import is imported where it is used, so that signals are obeyed from the start.
if TYPE_CHECKING:
    from absl import flags

Run: TypeAlias = "Callable[[flags.FlagValues, Sequence[str]], None]"


class FailureError(Exception):
    """The command did what it could, and nothing came of it: exit code 1, with this sentence."""


@dataclass(frozen=True)
class Verb:
    """One verb: what it does, an example, its arguments, the function that runs it.

    options: its flags with their help; late: those whose help takes long to import.
    repeated: those that may be given several times. switches: those that take no value.
    notes: what help says beside them, of those that were given. more: flags that depend on others are left among the
    arguments, and `run` parses them. interrupted: what a signal leaves, where it leaves something; a clause.
    """

    summary: str
    example: str
    arguments: str
    run: Run
    options: Mapping[str, str] = field(default_factory=dict)
    repeated: Mapping[str, str] = field(default_factory=dict)
    switches: Mapping[str, str] = field(default_factory=dict)
    late: Callable[[], Mapping[str, str]] = dict
    notes: Callable[[flags.FlagValues], str] = lambda values: ""
    more: bool = False
    interrupted: str = ""

    def values(self) -> flags.FlagValues:
        """The flags, none of them given yet."""
        from absl import flags
        from ml_collections import config_flags

        values = flags.FlagValues()
        for name, text in {**self.options, **self.late()}.items():
            if name == "config":
                config_flags.DEFINE_config_file(name, None, text, flag_values=values)
            else:
                flags.DEFINE_string(name, "", text, flag_values=values)
        for name, text in self.repeated.items():
            flags.DEFINE_multi_string(name, [], text, flag_values=values)
        for name, text in self.switches.items():
            flags.DEFINE_boolean(name, False, text, flag_values=values)
        return values


def expect(arguments: Sequence[str], count: int, message: str) -> None:
    """UserError for another number of arguments, and for an empty one: of a shell's variable that is not set."""
    if len(arguments) != count or not all(arguments):
        got = " ".join(argument or "''" for argument in arguments)
        raise UserError(f"{message} (got {got or 'nothing'})")


def number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"--{name}={text} is no number: give one, say --{name}=0.8") from error


def reported(page: Path) -> str:
    """What the study says, and where the rest stands."""
    from medtune_jax.report import ANSWER

    return f"{page.with_name(ANSWER).read_text(encoding='utf-8')}report: {page}"
