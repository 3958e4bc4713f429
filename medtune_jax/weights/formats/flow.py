"""Following a file's graph, layer by layer: what a layer's input went through, and whose result it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Role = Literal["plain", "linear", "norm", "foreign"]


@dataclass(eq=False)
class _Value:
    """What flows between layers. passed: layers it went through, plain ones left out.

    maker: the linear layer whose result it is, with nothing but norms since; empty if another's.
    """

    passed: frozenset[str] = frozenset()
    maker: str = ""
    readers: int = 0


class Flow:
    """Told every layer of a file in the file's order, in which a layer comes after what it reads.

    A layer that overwrites its input (Caffe's in-place layers) makes a new value under the old name.
    """

    def __init__(self) -> None:
        self._values: dict[str, _Value] = {}
        self._inputs: dict[str, list[_Value]] = {}

    def add(self, name: str, inputs: Sequence[str], outputs: Sequence[str], role: Role) -> None:
        """role: ``plain`` layers hold no weights and any network may have them; ``linear`` ones can take up a norm."""
        values = [self._values.setdefault(key, _Value()) for key in inputs]
        for value in values:
            value.readers += 1
        passed = frozenset().union(*(value.passed for value in values))
        if role != "plain":
            passed |= {name}
        maker = name if role == "linear" else ""
        if role == "norm" and len(values) == 1:
            maker = values[0].maker
        self._values.update(dict.fromkeys(outputs, _Value(passed, maker)))
        self._inputs[name] = values

    def after(self, name: str) -> frozenset[str]:
        """The layers that the input of `name` went through, plain ones left out."""
        return frozenset().union(*(value.passed for value in self._inputs[name]))

    def follows(self, name: str) -> str:
        """The linear layer whose result `name` reads and nobody else does; empty if there is none."""
        values = self._inputs[name]
        alone = len(values) == 1 and values[0].readers == 1
        return values[0].maker if alone else ""
