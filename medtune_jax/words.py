"""The words of an application, and how many of its things a study has, in prose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Words(NamedTuple):
    """In the singular: whose images never cross a split, and what is judged."""

    group: str = "patient"
    case: str = "image"

    @property
    def groups(self) -> str:
        return f"{self.group}s"

    @property
    def cases(self) -> str:
        return f"{self.case}s"


PATIENTS_AND_IMAGES = Words()


def count(number: int, noun: str) -> str:
    """'1 patch', '1,240 patches': a number with its noun, given in the plural."""
    if number == 1:
        noun = noun.removesuffix("es") if noun.endswith("ches") else noun.removesuffix("s")
    return f"{number:,} {noun}"


def contents(table: Mapping[str, Sequence[int]]) -> str:
    """'29 videos (20 to train on, 9 to test), 612 frames (420, 192)' from noun -> (training and validation, test)."""
    parts: list[str] = []
    for noun, (train, test) in table.items():
        split = f"{train:,}, {test:,}" if parts else f"{train:,} to train on, {test:,} to test"
        parts.append(f"{count(train + test, noun)} ({split})")
    return ", ".join(parts)
