"""The binary primitives of everything that dbsync stores: strict, with one encoding for each value."""

from __future__ import annotations

import struct

Value = None | int | float | str | bytes

_NULL, _INTEGER, _REAL, _TEXT, _BLOB = range(5)
_REAL_FORMAT = struct.Struct("<d")
_FIXED64 = struct.Struct("<Q")
_LOW, _HIGH = -(1 << 63), (1 << 63) - 1


class Malformed(Exception):
    """Bytes that no Writer made."""


class Writer:
    """Appends values; `finish` returns the bytes."""

    def __init__(self) -> None:
        self._parts = bytearray()

    def raw(self, data: bytes) -> None:
        """Bytes whose length the reader knows."""
        self._parts += data

    def uint(self, value: int) -> None:
        """An unsigned integer below 2^64, seven bits a byte, lowest first."""
        if not 0 <= value < 1 << 64:
            raise ValueError(f"{value} is not an unsigned 64-bit integer")
        while value > 0x7F:
            self._parts.append(value & 0x7F | 0x80)
            value >>= 7
        self._parts.append(value)

    def fixed64(self, value: int) -> None:
        """An unsigned integer below 2^64 in eight bytes."""
        self._parts += _FIXED64.pack(value)

    def blob(self, data: bytes | memoryview) -> None:
        """Bytes with their length."""
        self.uint(len(data))
        self._parts += data

    def text(self, value: str) -> None:
        """Text as UTF-8 with its length."""
        self.blob(value.encode())

    def values(self, values: tuple[Value, ...]) -> None:
        """SQL values with their count."""
        self.uint(len(values))
        for value in values:
            self._value(value)

    def _value(self, value: Value) -> None:
        if value is None:
            self._parts.append(_NULL)
        elif isinstance(value, int):
            if not _LOW <= value <= _HIGH:
                raise ValueError(f"{value} is not a 64-bit integer")
            self._parts.append(_INTEGER)
            self.uint((value << 1 ^ value >> 63) & (1 << 64) - 1)
        elif isinstance(value, float):
            self._parts.append(_REAL)
            self._parts += _REAL_FORMAT.pack(value)
        elif isinstance(value, str):
            self._parts.append(_TEXT)
            self.text(value)
        else:
            self._parts.append(_BLOB)
            self.blob(value)

    def finish(self) -> bytes:
        """All that was written."""
        return bytes(self._parts)


class Reader:
    """Reads what a Writer wrote; Malformed for anything else."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        self._at = 0

    def raw(self, size: int) -> bytes:
        """The next `size` bytes."""
        return bytes(self._piece(size))

    def _piece(self, size: int) -> bytes | memoryview:
        end = self._at + size
        if size < 0 or end > len(self._data):
            raise Malformed(f"{size} bytes wanted at {self._at} of {len(self._data)}")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def uint(self) -> int:
        """An unsigned integer in its shortest form."""
        value = shift = 0
        while True:
            byte = self.raw(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise Malformed("an integer of more than ten bytes")
        if value >= 1 << 64 or (shift and byte == 0):
            raise Malformed("an integer out of range or not in its shortest form")
        return value

    def count(self) -> int:
        """How many things follow; each takes at least a byte, so the bytes left bound it."""
        count = self.uint()
        if count > len(self._data) - self._at:
            raise Malformed(f"{count} things announced, {len(self._data) - self._at} bytes left")
        return count

    def fixed64(self) -> int:
        """An unsigned integer of eight bytes."""
        return int(_FIXED64.unpack(self.raw(8))[0])

    def blob(self) -> bytes:
        """Bytes with their length."""
        return self.raw(self.uint())

    def piece(self) -> bytes | memoryview:
        """Bytes with their length, where they are."""
        return self._piece(self.uint())

    def text(self) -> str:
        """UTF-8 text with its length."""
        try:
            return self.blob().decode()
        except UnicodeDecodeError as error:
            raise Malformed("text that is not UTF-8") from error

    def values(self) -> tuple[Value, ...]:
        """SQL values with their count."""
        return tuple(self._value() for _ in range(self.count()))

    def _value(self) -> Value:
        kind = self.raw(1)[0]
        if kind == _NULL:
            return None
        if kind == _INTEGER:
            zigzag = self.uint()
            return zigzag >> 1 ^ -(zigzag & 1)
        if kind == _REAL:
            return float(_REAL_FORMAT.unpack(self.raw(8))[0])
        if kind == _TEXT:
            return self.text()
        if kind == _BLOB:
            return self.blob()
        raise Malformed(f"a value of unknown kind {kind}")

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.raw(len(self._data) - self._at)

    def end(self) -> None:
        """Malformed unless everything was read."""
        if self._at != len(self._data):
            raise Malformed(f"{len(self._data) - self._at} bytes too many")
