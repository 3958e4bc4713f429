"""medtune data list and prepare: the public sets, and turning a downloaded one into records."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

from medtune_jax.errors import UserError


def listing() -> str:
    """The public data sets that can be prepared: what they are, their layout and their terms."""
    from medtune_jax.datasets import store  # TFDS takes seconds to import

    return "\n".join(
        f"{name}\n    {builder.__doc__}\n    folder: {builder.layout}\n    terms:  {builder.licence}"
        f"\n    from:   {builder.homepage}"
        for name, builder in store.every_builder().items()
    )


def prepare(name: str, directory: str, output: str) -> str:
    """Prepare the downloaded set in `directory` under `output`; says where. UserError for what cannot be prepared."""
    from medtune_jax.datasets import store

    store.find_builder(name)
    if not directory or not output:
        raise UserError(
            f"to prepare {name}, give its downloaded folder and where to put it: "
            "--dir RAW --output DIR"
        )
    try:
        with redirect_stdout(io.StringIO()):  # TFDS announces a download there; nothing is fetched
            prepared_in = store.prepare(name, directory, output)
        return f"prepared: {prepared_in}"
    except OSError as error:
        raise UserError(f"cannot prepare {name} in {output}: {error}.") from error
