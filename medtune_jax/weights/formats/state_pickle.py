"""Following the pickle of a PyTorch state dict without unpickling.

`pickletools.genops` splits the program into instructions; those below rebuild dicts, tuples, lists, numbers and
strings, and turn calls of PyTorch's tensor constructor into `TensorRecord`. Whatever else a checkpoint holds (an
accuracy of NumPy's, the options of a trainer) stays an `Opaque` that knows its name: no object of the file's choosing
is ever made and nothing of its is called. Any other instruction ends in an error.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from medtune_jax.errors import UserError

_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",  # counters and masks: known, but not weights
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "<u1",
}
_ORDERED_DICT = "collections OrderedDict"
_REBUILD_TENSOR = "torch._utils _rebuild_tensor_v2"
_REBUILD_PARAMETER = "torch._utils _rebuild_parameter"
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
    *(
        "BINUNICODE8",
        "BINSTRING",
        "SHORT_BINSTRING",
        "LONG4",
        "STRING",
        "UNICODE",
        "INT",
        "LONG",
        "FLOAT",
    ),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = {"PROTO", "FRAME"}


@dataclass(frozen=True)
class TensorRecord:
    """Where a tensor lies: its storage's key and type, then offset, size and stride in elements."""

    key: str
    dtype: str
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def trained(self) -> bool:
        return self.dtype == "bfloat16" or self.dtype.startswith("<f")


@dataclass(frozen=True)
class _Name:
    """A name the pickle refers to; it is compared with the known ones and never imported."""

    text: str


@dataclass(frozen=True)
class Opaque:
    """An object of a class that is not known here; `text` names the class or the function that would make it."""

    text: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str


class _Mark:
    """The place on the stack where a collection begins."""


def interpret(program: bytes | BinaryIO, path: str, storages: dict[str, str] | None = None) -> Any:
    """The object that the next pickle of `program` describes, with tensors as `TensorRecord`.

    storages: gets the key and type of every storage that the pickle names.

    Raises:
        UserError: the pickle is damaged or holds an instruction that a state dict does not need.
    """
    machine = _Machine(path, {} if storages is None else storages)
    try:
        for opcode, argument, _ in pickletools.genops(program):
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    except (IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{path}: its list of tensors is damaged or unusual; resave the plain state dict with "
            "torch.save(model.state_dict(), path)."
        ) from error
    raise UserError(f"{path}: its list of tensors has no end; fetch the file again.")


class _Machine:
    """A stack and a memo, as in the pickle machine, without its power to call."""

    def __init__(self, path: str, storages: dict[str, str]) -> None:
        self.path, self.storages = path, storages
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.handlers: dict[str, Callable[[Any], None]] = {
            "GLOBAL": lambda name: self.stack.append(_Name(name)),
            "STACK_GLOBAL": self._stack_global,
            "BINPUT": self._put,
            "LONG_BINPUT": self._put,
            "MEMOIZE": lambda _: self._put(len(self.memo)),
            "BINGET": self._get,
            "LONG_BINGET": self._get,
            "MARK": lambda _: self.stack.append(_Mark),
            "EMPTY_DICT": lambda _: self.stack.append({}),
            "EMPTY_LIST": lambda _: self.stack.append([]),
            "TUPLE": lambda _: self.stack.append(tuple(self._to_mark())),
            "SETITEM": lambda _: self._set_items([self.stack.pop(-2), self.stack.pop()]),
            "SETITEMS": lambda _: self._set_items(self._to_mark()),
            "APPEND": lambda _: self._extend([self.stack.pop()]),
            "APPENDS": lambda _: self._extend(self._to_mark()),
            "EMPTY_SET": lambda _: self.stack.append(Opaque("set")),
            "ADDITEMS": lambda _: self._drop(self._to_mark()),
            "NEWOBJ": lambda _: self._reduce(None),
            "NEWOBJ_EX": lambda _: self._reduce(self.stack.pop()),
            "BINPERSID": self._persistent,
            "REDUCE": self._reduce,
            "BUILD": self._build,
        }

    def step(self, name: str, argument: Any) -> None:
        if name in _IGNORED:
            return
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self.stack.append(argument)
        elif name in _TUPLES:
            self._tuple(_TUPLES[name])
        elif name in self.handlers:
            self.handlers[name](argument)
        else:
            raise self._refusal(f"the pickle instruction {name}")

    def _refusal(self, what: str) -> UserError:
        return UserError(
            f"{self.path} holds {what}, which a state dict does not need, so it is not read; save "
            "only model.state_dict()."
        )

    def _stack_global(self, _: Any) -> None:
        attribute, module = self.stack.pop(), self.stack.pop()
        if not isinstance(attribute, str) or not isinstance(module, str):
            raise TypeError
        self.stack.append(_Name(f"{module} {attribute}"))

    def _put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def _get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def _to_mark(self) -> list[Any]:
        start = len(self.stack) - 1 - self.stack[::-1].index(_Mark)
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items

    def _tuple(self, count: int) -> None:
        items = tuple(self.stack[len(self.stack) - count :])
        if len(items) < count:
            raise IndexError
        del self.stack[len(self.stack) - count :]
        self.stack.append(items)

    def _set_items(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], Opaque):
            return
        if not isinstance(self.stack[-1], dict):
            raise TypeError
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, str | int):  # others are a trainer's
                self.stack[-1][key] = value

    def _drop(self, items: list[Any]) -> None:
        """What is put into a set: no weights are."""

    def _extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], Opaque):
            return
        if not isinstance(self.stack[-1], list):
            raise TypeError
        self.stack[-1].extend(items)

    def _persistent(self, _: Any) -> None:
        """('storage', type, key, device, numel, and before 1.6 whose view it is) -> the storage it names."""
        tag, kind, key, _device, _count, *view = self.stack.pop()
        if tag != "storage" or not isinstance(kind, _Name) or not isinstance(key, str) or any(view):
            raise TypeError
        storage = _Storage(key, _STORAGES[kind.text.removeprefix("torch ")])
        self.storages[key] = storage.dtype
        self.stack.append(storage)

    def _reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Name | Opaque) or not isinstance(arguments, tuple):
            raise TypeError
        if function.text == _ORDERED_DICT and not arguments:
            self.stack.append({})
        elif function.text == _REBUILD_TENSOR:
            self.stack.append(_tensor(*arguments[:4]))
        elif function.text == _REBUILD_PARAMETER and isinstance(arguments[0], TensorRecord):
            self.stack.append(arguments[0])
        else:
            self.stack.append(Opaque(function.text.replace(" ", ".")[:160]))

    def _build(self, _: Any) -> None:
        """The attributes of an object, such as a state dict's `_metadata`: nothing here needs any."""
        self.stack.pop()
        if not isinstance(self.stack[-1], dict | Opaque):
            raise TypeError


def _tensor(storage: Any, offset: Any, size: Any, stride: Any) -> TensorRecord:
    if not isinstance(storage, _Storage):
        raise TypeError
    if not all(type(n) is int for n in (offset, *size, *stride)):
        raise TypeError
    return TensorRecord(storage.key, storage.dtype, offset, tuple(size), tuple(stride))
