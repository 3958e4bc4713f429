"""From the words of a command line to flags and positional arguments; any trouble becomes one sentence."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medtune_jax.errors import UserError
from medtune_jax.fields import flat
from medtune_jax.paths import at_home

if TYPE_CHECKING:
    from absl import flags


def with_home(argument: str) -> str:
    """~ in a path, which a shell leaves as it is behind --flag=."""
    return re.sub(
        r"^(--[\w.]+=)?(~.*)$", lambda found: f"{found[1] or ''}{at_home(found[2])}", argument
    )


def parse(
    name: str, values: flags.FlagValues, rest: Sequence[str], known_only: bool = False
) -> list[str]:
    """Positional arguments; flags go into `values`. Any trouble becomes one sentence."""
    from absl import flags

    argv = [f"medtune {name}", *rest]
    sys.argv = argv  # ml_collections looks there for the overrides of a config
    try:
        positional = values(argv, known_only)[1:]
        if "config" in values and values.config is not None:
            values.config.to_dict()  # a config that failed to load says so only when it is read
        return positional
    except flags.Error as error:
        raise UserError(_flag_trouble(str(error), values)) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(_config_trouble(str(error), argv)) from error
    except (OSError, SyntaxError, ImportError) as error:
        raise UserError(
            f"the config file cannot be read ({_last_line(error)}): give --config=configs/NAME.py"
        ) from error


def _flag_trouble(message: str, values: flags.FlagValues) -> str:
    if "get_config() takes 0 positional arguments" in message:
        return "this config has no presets: leave out the colon and what follows it"
    if "Error whilst parsing config file" in message:
        return f"the config file fails: {_last_line(message)}"
    if "Non-boolean argument" in message:
        return f"{message.partition(': (')[0]}: give true or false, or no value"
    unknown = re.search(r"Unknown command line flag '([^']+)'", message)
    if not unknown:
        return _first_line(message)
    return _unknown(unknown[1], [*_config_fields(values), *values])


def _config_trouble(message: str, argv: Sequence[str]) -> str:
    """A config refused an override: its field is unknown, or the value does not fit."""
    from absl import flags
    from ml_collections import config_flags

    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=values)
    sys.argv = [argument for argument in argv if not argument.startswith("--config.")]
    values(sys.argv, known_only=True)
    fields = _config_fields(values)
    for given in re.findall(r"--(config\.[\w.]+)", " ".join(argv)):
        if not any(f"{field}.".startswith(f"{given}.") for field in fields):
            return _unknown(given, fields)
    return f"a config field does not fit: {' '.join(message.split())}"


def _unknown(flag: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(flag, known, 1, 0)
    hint = f"; did you mean --{near[0]}?" if near else ": this verb takes none"
    return f"there is no flag --{flag}{hint}"


def _config_fields(values: flags.FlagValues) -> list[str]:
    if "config" not in values or values["config"].value is None:
        return []
    return [f"config.{name}" for name in flat(values["config"].value.to_dict())]


def _first_line(error: object) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _last_line(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
