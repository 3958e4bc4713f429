"""Which programs XLA compiles, by the names of their functions."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import jax

EPOCH, STEP = "train_and_validate", "step"


@contextmanager
def compiled() -> Iterator[list[str]]:
    """The names, in the order in which the programs are finished."""
    names: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found = re.match(r"Finished XLA compilation of jit\((.*)\)", record.getMessage())
            if found:
                names.append(found[1])

    listener, logger = Listener(), logging.getLogger("jax")
    logger.addHandler(listener)
    try:
        with jax.log_compiles():
            yield names
    finally:
        logger.removeHandler(listener)
