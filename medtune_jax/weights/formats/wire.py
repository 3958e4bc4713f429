"""Walking the top level of a protobuf file, so that one layer at a time is in memory.

Everything below the top level is parsed by the protobuf library.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from google.protobuf.message import DecodeError

from medtune_jax.errors import UserError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def messages(file: BinaryIO, wanted: Collection[int], where: str) -> Iterator[tuple[int, int]]:
    """Yield (field number, length) of the sub-messages of a protobuf file whose number is wanted.

    The file then stands at the message's first byte: the caller reads it, so that nobody else holds
    on to it.

    Raises:
        UserError: the file ends inside a field or is no protobuf message at all.
    """
    size = os.fstat(file.fileno()).st_size
    while file.tell() < size:
        tag = _varint(file, where)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            _varint(file, where)
            continue
        length = {_FIXED64: 8, _FIXED32: 4}.get(wire_type, -1)
        if wire_type == _BYTES:
            length = _varint(file, where)
        if length < 0 or not number:
            raise UserError(
                f"{where} is not a file of this format, or it is damaged (byte {file.tell()}); "
                "fetch it again."
            )
        if length > size - file.tell():
            raise UserError(
                f"{where} is truncated or damaged: a part of {length} bytes starts at byte "
                f"{file.tell()} but the file has {size} bytes; fetch it again."
            )
        if wire_type == _BYTES and number in wanted:
            end = file.tell() + length
            yield number, length
            file.seek(end)
        else:
            file.seek(length, os.SEEK_CUR)


def _varint(file: BinaryIO, where: str) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise UserError(f"{where} is truncated: it ends inside a field; fetch it again.")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise UserError(f"{where} is not a file of this format, or it is damaged; fetch it again.")


@contextmanager
def damage_reported(where: str) -> Iterator[None]:
    """Turn what the protobuf library raises on a damaged message into one sentence."""
    try:
        yield
    except (DecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{where} is not a file of this format, or it is damaged or truncated; fetch it again."
        ) from error
