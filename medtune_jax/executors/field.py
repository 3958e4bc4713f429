"""An option of an executor: its default, what help says of it, and the least value."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def option(default: Any, text: str, least: float | None = None) -> Any:
    return field(default=default, metadata={"help": text, "least": least})
