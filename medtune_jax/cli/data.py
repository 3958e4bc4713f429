"""medtune data: public data sets, and a look at any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medtune_jax.cli.verb import Verb
from medtune_jax.errors import UserError

if TYPE_CHECKING:
    from absl import flags


def _data(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    match list(arguments):
        case ["list"]:
            from medtune_jax.datasets.verbs import listing

            print(listing())
        case ["prepare", name]:
            from medtune_jax.datasets.verbs import prepare

            print(prepare(name, values.dir, values.output))
        case ["show", name]:
            from medtune_jax.applications.show import show

            print(show(name, values.dir, values.output))
        case _:
            got = " ".join(arguments) or "nothing"
            raise UserError(f"medtune data takes {VERBS['data'].arguments} (got {got})")


VERBS: dict[str, Verb] = {
    "data": Verb(
        "list public data sets, prepare a downloaded one, draw a contact sheet of any data",
        "medtune data prepare nerthus --dir nerthus-dataset-frames --output DATA && "
        "medtune data show nerthus --dir DATA --output sheet.png",
        "list | prepare NAME --dir RAW --output DIR | show NAME_OR_DIR --output sheet.png",
        _data,
        {
            "dir": "downloaded folder (prepare), or where sets were prepared (show)",
            "output": "where to write",
        },
    ),
}
