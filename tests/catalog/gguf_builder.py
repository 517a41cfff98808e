"""Writes GGUF files for tests, right or wrong on purpose. Independent of the reader it tests."""

import struct
from dataclasses import dataclass, field
from typing import Any

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_FORMS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}

# (elements, bytes) of a block, copied from llama.cpp's block structs a second time, so that a slip shows.
BLOCKS = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q8_0": (8, 32, 34)}
BLOCKS |= {"Q4_K": (12, 256, 144), "Q6_K": (14, 256, 210), "MXFP4": (39, 32, 17)}


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def value(kind: int, content: Any) -> bytes:
    if kind == STRING:
        return string(content)
    if kind == ARRAY:
        item_kind, items = content
        return struct.pack("<IQ", item_kind, len(items)) + b"".join(value(item_kind, item) for item in items)
    return struct.pack("<" + _FORMS[kind], content)


def pair(key: str, kind: int, content: Any) -> bytes:
    return string(key) + struct.pack("<I", kind) + value(kind, content)


@dataclass
class Gguf:
    """A model file under construction: keys as (key, kind, value), tensors as (name, dimensions, type name)."""

    keys: list[tuple[str, int, Any]] = field(default_factory=list)
    tensors: list[tuple[str, tuple[int, ...], str]] = field(default_factory=list)
    version: int = 3
    alignment: int = 32

    def number(self, key: str, content: int) -> "Gguf":
        self.keys.append((key, U32, content))
        return self

    def text(self, key: str, content: str) -> "Gguf":
        self.keys.append((key, STRING, content))
        return self

    def numbers(self, key: str, content: list[int]) -> "Gguf":
        self.keys.append((key, ARRAY, (I32, content)))
        return self

    def tensor(self, name: str, *dimensions: int, kind: str = "F32") -> "Gguf":
        self.tensors.append((name, dimensions, kind))
        return self

    def layout(self) -> tuple[list[tuple[int, int]], int]:
        """(offset, size) of every tensor, and the size of the data."""
        places, at = [], 0
        for _name, dimensions, kind in self.tensors:
            _number, block, size = BLOCKS[kind]
            elements = 1
            for dimension in dimensions:
                elements *= dimension
            places.append((at, elements // block * size))
            at = -(-(at + places[-1][1]) // self.alignment) * self.alignment
        return places, at

    def header(self) -> bytes:
        """Everything before the data, padded to where the data begins."""
        parts = [b"GGUF", struct.pack("<IQQ", self.version, len(self.tensors), len(self.keys))]
        parts += [pair(*key) for key in self.keys]
        for (name, dimensions, kind), (offset, _size) in zip(self.tensors, self.layout()[0], strict=True):
            shape = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
            parts += [string(name), shape, struct.pack("<IQ", BLOCKS[kind][0], offset)]
        raw = b"".join(parts)
        return raw + b"\0" * (-len(raw) % self.alignment)

    @property
    def data_bytes(self) -> int:
        return self.layout()[1]

    def file(self) -> bytes:
        """The whole file, all weights zero."""
        return self.header() + b"\0" * self.data_bytes
