"""medtune <verb>: the command line. Everything it does can be done from Python as well.

A verb is a `Verb` in the file of its subject.
"""

from __future__ import annotations

import difflib
import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medtune_jax import signals
from medtune_jax.cli import data, networks, results, study
from medtune_jax.cli.parsing import parse, with_home
from medtune_jax.cli.verb import FailureError, Verb
from medtune_jax.errors import UserError

if TYPE_CHECKING:
    from absl import flags

BAD_INPUT = 2
VERBS = study.VERBS | results.VERBS | networks.VERBS | data.VERBS
_HELP = ("-h", "--help", "--helpfull")


def main() -> None:
    """The console command."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name need not be UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        signals.listen()
        code = run(sys.argv[1:])
        signals.over()
    except KeyboardInterrupt:  # before `run` or behind it
        code = signals.farewell()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code.

    0, 1 when no run of a sweep succeeded, 2 for bad input, and for the signals those of `signals.CODES`.
    """
    try:
        return _dispatch(list(arguments))
    except UserError as error:
        print(f"medtune: {error}", file=sys.stderr)
        return BAD_INPUT
    except FailureError as error:
        print(f"medtune: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return signals.farewell()
    except BrokenPipeError:
        return 0
    except OSError as error:  # a name that is too long, no permission to look
        where = error.filename or "the system"
        print(f"medtune: {where}: {error.strerror or error}", file=sys.stderr)
        return BAD_INPUT


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in (*_HELP, "help"):
        print(_overview())
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in VERBS:
        near = difflib.get_close_matches(name, VERBS, 1, 0)[0]
        raise UserError(f"unknown verb '{name}'; did you mean 'medtune {near}'?")
    verb = VERBS[name]
    if verb.interrupted:
        signals.say_at_the_end(verb.interrupted)
    values = verb.values()
    given = [with_home(argument) for argument in rest if argument not in _HELP]
    arguments = parse(name, values, given, verb.more)
    if len(given) < len(rest):
        print(_help(name, verb, values))
    else:
        verb.run(values, arguments)
    return 0


def _overview() -> str:
    rows = "\n".join(f"  {name:<10} {verb.summary}" for name, verb in VERBS.items())
    return (
        "medtune <verb> [flags]: how deep should I fine-tune a pre-trained CNN on my images?\n\n"
        f"{rows}\n\n`medtune <verb> --help` shows a verb's flags and an example."
    )


def _help(name: str, verb: Verb, values: flags.FlagValues) -> str:
    described = "\n".join(f"  --{flag}: {values[flag].help}" for flag in values)
    usage = f"medtune {name} {verb.arguments}".rstrip()
    return (
        f"{usage}: {verb.summary}\n\nflags:\n{described or '  none'}\n\n"
        f"{verb.notes(values)}example:\n  {verb.example}"
    )
