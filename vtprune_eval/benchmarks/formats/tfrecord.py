"""GZIP TFRecord files of ``tf.train.Example`` without TensorFlow, one record in memory at a time.

Framing and messages: tasks' page "README", download notes. The length of a record is checked by its own CRC-32C, the
contents by the CRC-32 of the gzip stream around them.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..base import need

# Larger than any episode; a damaged length must not ask for all memory.
MAX_RECORD_BYTES = 1 << 30
Example = dict[str, list[Any]]


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _crc_table()


def masked_crc32c(data: bytes) -> int:
    """TFRecord's checksum of ``data``: CRC-32C, rotated and shifted."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def fields(data: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of every field of a protobuf message: an integer, or the bytes of a fixed or sized field.

    Raises:
        ValueError: no valid message.
    """
    view, at = memoryview(data), 0
    while at < len(view):
        key, at = _varint(view, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(view, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(view, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(view):
            raise ValueError("a field reaches beyond its message")
        yield number, view[at : at + size]
        at += size


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(view) or shift > 63:
            raise ValueError("a number does not end")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def sized(data: bytes | memoryview, number: int) -> Iterator[memoryview]:
    """Sized fields of one number.

    Raises:
        ValueError: as ``fields``.
    """
    return (v for n, v in fields(data) if n == number and isinstance(v, memoryview))


def signed(value: int) -> int:
    """A protobuf int32 or int64 as Python's integer."""
    return value - (1 << 64) if value >> 63 else value


def example(data: bytes) -> Example:
    """A ``tf.train.Example`` as name to list of bytes, floats or integers.

    Raises:
        ValueError: no valid message.
    """
    out: Example = {}
    for features in sized(data, 1):
        for entry in sized(features, 1):
            name, values = "", list[Any]()
            for number, part in fields(entry):
                if not isinstance(part, memoryview):
                    raise ValueError("a feature is no message")
                if number == 1:
                    name = bytes(part).decode()
                elif number == 2:
                    values = _feature(part)
            out[name] = values
    return out


def _feature(data: memoryview) -> list[Any]:
    values: list[Any] = []
    for kind, inner in fields(data):
        if not isinstance(inner, memoryview):
            raise ValueError("a list is no message")
        for _, v in fields(inner):
            if kind == 1:
                values.append(bytes(v) if isinstance(v, memoryview) else v)
            elif kind == 2:
                values += struct.unpack(f"<{len(v) // 4}f", v) if isinstance(v, memoryview) else []
            elif isinstance(v, memoryview):  # packed
                at = 0
                while at < len(v):
                    number, at = _varint(v, at)
                    values.append(signed(number))
            else:
                values.append(signed(v))
    return values


class Shards:
    """Records of several files; one pass finds them, 12 bytes of memory each.

    Args:
        paths: the files, in order.
        note: what to remember of a record.

    Attributes:
        notes: value of ``note`` for each record.

    Raises:
        UserError: a file that cannot be read to its end.
    """

    def __init__(self, paths: Sequence[Path], note: Callable[[Example, Path], Any]) -> None:
        self.paths = list(paths)
        self.notes: list[Any] = []
        self._shard, self._offset = array("L"), array("Q")
        self._stream: gzip.GzipFile | None = None
        self._open = -1
        for number, path in enumerate(self.paths):
            try:
                with gzip.open(path) as stream:
                    while (found := _next(stream)) is not None:
                        offset, data = found
                        self.notes.append(note(example(data), path))
                        self._shard.append(number)
                        self._offset.append(offset)
            except (OSError, EOFError, ValueError, zlib.error) as error:
                raise UserError(f"{path} cannot be read to its end ({error}); fetch the file again.") from error

    def __len__(self) -> int:
        return len(self._offset)

    def path(self, i: int) -> Path:
        """File of record ``i``."""
        return self.paths[self._shard[i]]

    def __getitem__(self, i: int) -> Example:
        """Record ``i``: cheap in the order of the files; going back starts the file again, as gzip has no index."""
        shard, offset = self._shard[i], self._offset[i]
        if self._stream is None or self._open != shard:
            if self._stream is not None:
                self._stream.close()
            # Stays open: the next record is asked for next.
            self._stream, self._open = gzip.open(self.paths[shard]), shard  # noqa: SIM115
        self._stream.seek(offset)
        found = _next(self._stream)
        if found is None:
            raise UserError(f"{self.paths[shard]} has become shorter; fetch the file again.")
        return example(found[1])


def _next(stream: Any) -> tuple[int, bytes] | None:
    """Offset and data of the next record, None at the end.

    Raises:
        ValueError: the length's checksum is wrong, or the file ends within a record.
    """
    offset = stream.tell()
    head = stream.read(12)
    if not head:
        return None
    if len(head) < 12:
        raise ValueError("ends within a record")
    size, crc = struct.unpack("<QI", head)
    if masked_crc32c(head[:8]) != crc or size > MAX_RECORD_BYTES:
        raise ValueError(f"no record at byte {offset}")
    data = stream.read(size + 4)
    if len(data) < size + 4:
        raise ValueError("ends within a record")
    return offset, data[:size]


def single(record: Example, key: str, where: str) -> Any:
    """The single value of a feature; bytes become text.

    Raises:
        UserError: it is missing.
    """
    values = need(record, key, where, list)
    if not values:
        raise UserError(f"{where}: the feature {key!r} is empty; the data has another format.")
    return values[0].decode("utf-8", "replace") if isinstance(values[0], bytes) else values[0]
