"""GGUF headers, read with limits: a hostile file costs a bounded amount of time and memory, never a crash.

Layout (ggml/include/gguf.h, versions 2 and 3, little-endian): magic, version u32, tensor count u64, key count u64;
keys as (string, type u32, value); tensors as (name, dimension count u32, dimensions u64..., type u32, offset u64);
then the data, aligned. Strings are a u64 length and bytes. What llama.cpp refuses to load is refused here too, with
a sentence that says what to do.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from webapp.foundation.text import one_line
from webapp.planner import geometry
from webapp.planner.facts import ModelFacts
from webapp.planner.ggml import FILE_TYPES, TYPES
from webapp.planner.weights import TensorInfo, extent, sizes

MAX_HEADER_BYTES = 64 * 2**20
MAX_KEYS = 8192
MAX_TENSORS = 65536
MAX_KEY_BYTES = 4096
MAX_STRING_BYTES = 4 * 2**20
MAX_ARRAY_ITEMS = 2**21  # the largest vocabularies have about 262,000 entries
MAX_STRING_ITEMS = 2**22  # over all string arrays of a file: each costs a step of the loop
MAX_KEPT_ITEMS = 4096  # longer arrays keep only their length
MAX_NAME_BYTES = 63  # GGML_MAX_NAME - 1
MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
MAX_ELEMENTS = 2**63 - 1
DEFAULT_ALIGNMENT = 32

_CHUNK = 256 * 1024
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}
_BOOL, _STRING, _ARRAY = 7, 8, 9

Scalar = int | float | bool | str


class HeaderError(ValueError):
    """The file's header cannot be used. The message says why and what to do, in words for people."""


@dataclass(frozen=True, slots=True)
class ArrayValue:
    """An array of the header. `items` is None when only the length was kept (strings, and long arrays)."""

    count: int
    items: tuple[Scalar, ...] | None = None


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """Everything before the data. All sizes in bytes."""

    version: int
    alignment: int
    metadata: dict[str, Scalar | ArrayValue]
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    data_bytes: int  # with the padding after every tensor

    @property
    def expected_file_bytes(self) -> int:
        """The least size of a complete file: up to the last byte of the last tensor."""
        return self.data_offset + extent(self.tensors)


class _Cursor:
    """Reads forward through a file in chunks, and never past the header limit."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._buffer = b""
        self._start = 0  # position of the buffer in the file
        self._at = 0  # position in the buffer

    @property
    def position(self) -> int:
        return self._start + self._at

    def _fill(self, wanted: int) -> None:
        """Have `wanted` bytes in the buffer from here on."""
        if self.position + wanted > MAX_HEADER_BYTES:
            raise HeaderError(
                f"The header is longer than {MAX_HEADER_BYTES >> 20} MiB; no known model needs that. "
                "The file is damaged or not a model."
            )
        rest = self._buffer[self._at :]
        self._start, self._at = self.position, 0
        parts, have = [rest], len(rest)
        while have < wanted:
            part = self._file.read(max(_CHUNK, wanted - have))
            if not part:
                raise HeaderError(
                    f"The file ends at byte {self._start + have}, in the middle of its header. "
                    "The download is incomplete: download it again."
                )
            parts.append(part)
            have += len(part)
        self._buffer = b"".join(parts)

    def take(self, count: int) -> bytes:
        if count > len(self._buffer) - self._at:
            self._fill(count)
        self._at += count
        return self._buffer[self._at - count : self._at]

    def number(self, form: str) -> int | float:
        size = struct.calcsize(form)
        if size > len(self._buffer) - self._at:
            self._fill(size)
        value: int | float = struct.unpack_from(form, self._buffer, self._at)[0]
        self._at += size
        return value

    def u32(self) -> int:
        return int(self.number("<I"))

    def u64(self) -> int:
        return int(self.number("<Q"))

    def skip(self, count: int) -> None:
        """Pass over `count` bytes, holding one chunk at a time."""
        while count > len(self._buffer) - self._at:
            count -= len(self._buffer) - self._at
            self._at = len(self._buffer)
            self._fill(min(count, _CHUNK))
        self._at += count

    def string(self, what: str, limit: int) -> str:
        length = self.u64()
        if length > limit:
            raise HeaderError(f"{what} claims {length:,} bytes (at most {limit:,} make sense). The file is damaged.")
        # Nothing that is read here is passed on byte by byte: it is stored, shown, and printed on terminals.
        return one_line(self.take(length).decode("utf-8", "replace"))

    def skip_strings(self, count: int, what: str) -> None:
        """Pass over `count` strings. The loop is the reader's hot spot: a vocabulary has hundreds of thousands."""
        unpack = struct.Struct("<Q").unpack_from
        for _ in range(count):
            if len(self._buffer) - self._at < 8:
                self._fill(8)
            length = unpack(self._buffer, self._at)[0]
            if length > MAX_STRING_BYTES:
                raise HeaderError(f"A string of {what} claims {length:,} bytes. The file is damaged.")
            self._at += 8
            if length <= len(self._buffer) - self._at:
                self._at += length
            else:
                self.skip(length)


def read_header(file: BinaryIO, file_size: int | None = None) -> GgufHeader:
    """The header of the GGUF file that `file` is positioned at the start of.

    `file` needs only `read`. With `file_size` (of the whole file, in bytes) the tensors must lie inside it too.
    Holds at most a few tens of MB whatever the file says. Raises HeaderError, and nothing else for any content.
    """
    cursor = _Cursor(file)
    version = _read_version(cursor)
    tensor_count = _count(cursor, "tensors", MAX_TENSORS)
    key_count = _count(cursor, "keys", MAX_KEYS)
    metadata = _read_metadata(cursor, key_count)
    alignment = _alignment(metadata)
    tensors, data_bytes = _read_tensors(cursor, tensor_count, alignment)
    header = GgufHeader(version, alignment, metadata, tensors, _pad(cursor.position, alignment), data_bytes)
    if file_size is not None:
        check_size(header, file_size)
    return header


def check_size(header: GgufHeader, file_size: int) -> None:
    """Raise HeaderError when the tensors do not fit into a file of `file_size` bytes."""
    missing = header.expected_file_bytes - file_size
    if missing > 0:
        raise HeaderError(
            f"The file has {file_size:,} bytes but its tensors need {header.expected_file_bytes:,}: "
            f"the last {missing:,} are missing. The download is incomplete: download it again."
        )


def parts_of(header: GgufHeader) -> int:
    """How many files the model is split into, as the header says."""
    count = header.metadata.get("split.count", 1)
    return count if isinstance(count, int) and count > 1 else 1


def check_parts(headers: Sequence[GgufHeader]) -> None:
    """Raise HeaderError unless these are all parts of one model, in order."""
    for number, header in enumerate(headers):
        if parts_of(header) != len(headers):
            raise HeaderError(
                f"File {number + 1} of {len(headers)} says that the model is split into {parts_of(header)}. "
                "Files of different models were mixed, or some are missing."
            )
        said = header.metadata.get("split.no", number)
        if len(headers) > 1 and said != number:
            shown = said + 1 if isinstance(said, int) else f"{said!r:.40}"
            raise HeaderError(f"File {number + 1} of {len(headers)} says that it is number {shown}.")


def _read_version(cursor: _Cursor) -> int:
    magic = cursor.take(4)
    if magic != b"GGUF":
        raise HeaderError(
            f"Not a GGUF file: it begins with {magic!r} instead of b'GGUF'. "
            "Choose the .gguf file itself (a web page, an archive or a Git LFS pointer looks like this)."
        )
    version = cursor.u32()
    if version & 0xFFFF == 0 and version:
        raise HeaderError("A big-endian GGUF file; engines here are little-endian. Convert the model again.")
    if version not in (2, 3):
        raise HeaderError(
            f"GGUF version {version} is not supported (2 and 3 are). "
            + ("Convert the model again with a current llama.cpp." if version < 2 else "A newer Modelyard may read it.")
        )
    return version


def _count(cursor: _Cursor, what: str, limit: int) -> int:
    count = cursor.u64()
    if count > limit:
        raise HeaderError(f"The header claims {count:,} {what} (at most {limit:,} make sense). The file is damaged.")
    return count


def _read_metadata(cursor: _Cursor, count: int) -> dict[str, Scalar | ArrayValue]:
    metadata: dict[str, Scalar | ArrayValue] = {}
    strings_left = MAX_STRING_ITEMS
    for number in range(count):
        key = cursor.string(f"The name of key {number}", MAX_KEY_BYTES)
        if not key or key in metadata:
            raise HeaderError(f"Key {number} is {'a duplicate: ' + key if key else 'empty'}. The file is damaged.")
        kind = cursor.u32()
        if kind != _ARRAY:
            metadata[key] = _scalar(cursor, kind, key)
            continue
        item_kind, items = cursor.u32(), cursor.u64()
        if items > (min(MAX_ARRAY_ITEMS, strings_left) if item_kind == _STRING else MAX_ARRAY_ITEMS):
            raise HeaderError(f"Key {key} claims an array of {items:,} items. The file is damaged.")
        strings_left -= items if item_kind == _STRING else 0
        metadata[key] = _array(cursor, item_kind, items, key)
    return metadata


def _scalar(cursor: _Cursor, kind: int, key: str) -> Scalar:
    if kind == _STRING:
        return cursor.string(f"Key {key}", MAX_STRING_BYTES)
    form = _SCALARS.get(kind)
    if form is None:
        raise HeaderError(f"Key {key} has the unknown value type {kind}. The file is damaged or too new.")
    value = cursor.number(form)
    return bool(value) if kind == _BOOL else value


def _array(cursor: _Cursor, kind: int, count: int, key: str) -> ArrayValue:
    if kind == _STRING:
        cursor.skip_strings(count, key)
        return ArrayValue(count)
    form = _SCALARS.get(kind)
    if form is None:  # arrays of arrays included: llama.cpp refuses them too
        raise HeaderError(f"Key {key} is an array of the unknown type {kind}. The file is damaged or too new.")
    size = struct.calcsize(form)
    if count > MAX_KEPT_ITEMS:
        cursor.skip(count * size)
        return ArrayValue(count)
    values: tuple[Scalar, ...] = struct.unpack(f"<{count}{form[1]}", cursor.take(count * size))
    return ArrayValue(count, tuple(bool(v) for v in values) if kind == _BOOL else values)


def _alignment(metadata: dict[str, Scalar | ArrayValue]) -> int:
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0 or value & (value - 1) or value > 2**20:
        raise HeaderError(f"general.alignment is {value!r}; it must be a power of two. The file is damaged.")
    return value


def _read_tensors(cursor: _Cursor, count: int, alignment: int) -> tuple[tuple[TensorInfo, ...], int]:
    tensors: list[TensorInfo] = []
    names: set[str] = set()
    at = 0
    for number in range(count):
        tensor = _read_tensor(cursor, number)
        if tensor.name in names:
            raise HeaderError(f"There are two tensors called {tensor.name}. The file is damaged.")
        if tensor.offset != at:
            raise HeaderError(f"Tensor {tensor.name} is said to start at {tensor.offset:,} instead of {at:,}. Damaged.")
        names.add(tensor.name)
        tensors.append(tensor)
        at = _pad(at + tensor.size_bytes, alignment)
    return tuple(tensors), at


def _read_tensor(cursor: _Cursor, number: int) -> TensorInfo:
    name = cursor.string(f"The name of tensor {number}", MAX_NAME_BYTES)
    dimension_count = cursor.u32()
    if dimension_count > MAX_DIMENSIONS:
        raise HeaderError(f"Tensor {name} claims {dimension_count:,} dimensions; 4 are possible. The file is damaged.")
    dimensions = tuple(cursor.u64() for _ in range(dimension_count))
    kind_number, offset = cursor.u32(), cursor.u64()
    kind = TYPES.get(kind_number)
    if kind is None:
        raise HeaderError(
            f"Tensor {name} has the unknown type {kind_number}: the format is no longer supported, or newer than this "
            "version of Modelyard."
        )
    if dimensions and dimensions[0] % kind.block:
        raise HeaderError(f"A row of tensor {name} is not whole blocks of {kind.name}. The file is damaged.")
    tensor = TensorInfo(name, dimensions, kind, offset, 0)
    elements = tensor.elements
    size = kind.size_of(elements)
    if max(elements, size, offset) > MAX_ELEMENTS:
        raise HeaderError(f"Tensor {name} claims {elements:,} elements. The file is damaged.")
    return TensorInfo(name, dimensions, kind, offset, size)


def _pad(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


# llama.cpp, include/llama.h: enum llama_pooling_type.
POOLING: dict[object, str] = {0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}


def facts(header: GgufHeader, file_size: int | None = None, more: Sequence[GgufHeader] = ()) -> ModelFacts:
    """What the planner needs, out of the header (and those of the other parts of a split model, in `more`).

    Raises HeaderError when the file is not a language model, a part is missing, or (with `file_size`) cut short.
    """
    if file_size is not None:
        check_size(header, file_size)
    metadata = header.metadata
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise HeaderError("The header names no architecture (general.architecture). This is not a model file.")
    if architecture == "clip":
        raise HeaderError("This file is a multimodal projector (mmproj); choose the file of the model itself.")
    if metadata.get("general.type", "model") != "model":
        raise HeaderError(
            f"This file is of type {metadata['general.type']!s:.40}, not a model; choose the file of the model itself."
        )
    tensors = [tensor for part in (header, *more) for tensor in part.tensors]
    return ModelFacts(
        architecture=architecture,
        name=_text(metadata, "general.name"),
        quantisation=_quantisation(metadata, tensors),
        parameters=sum(tensor.elements for tensor in tensors),
        licence=_text(metadata, "general.license"),
        chat_template="tokenizer.chat_template" in metadata,
        pooling=POOLING.get(metadata.get(f"{architecture}.pooling_type"), ""),
        **_lengths(architecture, metadata),
        **sizes([part.tensors for part in (header, *more)]),
    )


def _lengths(architecture: str, metadata: dict[str, Scalar | ArrayValue]) -> geometry.Lengths:
    numbers: dict[str, tuple[int, ...]] = {}
    for key, value in metadata.items():
        items = value.items if isinstance(value, ArrayValue) else (value,)
        if items is not None and all(isinstance(item, int) for item in items):
            numbers[key] = tuple(int(item) for item in items)
    tokens = metadata.get("tokenizer.ggml.tokens")
    try:
        return geometry.Shape(architecture, numbers).lengths(tokens.count if isinstance(tokens, ArrayValue) else None)
    except ValueError as error:
        raise HeaderError(f"The header's geometry makes no sense: {error}. The file is damaged.") from error


def _quantisation(metadata: dict[str, Scalar | ArrayValue], tensors: list[TensorInfo]) -> str:
    """The name from general.file_type; without one (or with an unknown one) the type most of the bytes have."""
    number = metadata.get("general.file_type")
    if isinstance(number, int) and number & ~1024 in FILE_TYPES:  # 1024 marks a guess of llama.cpp's
        return FILE_TYPES[number & ~1024]
    totals: dict[str, int] = {}
    for tensor in tensors:
        totals[tensor.kind.name] = totals.get(tensor.kind.name, 0) + tensor.size_bytes
    return max(totals, key=lambda name: totals[name], default="")


def _text(metadata: dict[str, Scalar | ArrayValue], key: str) -> str:
    value = metadata.get(key, "")
    return value[:200] if isinstance(value, str) else ""
