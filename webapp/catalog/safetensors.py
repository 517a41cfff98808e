"""safetensors headers, read with limits: a hostile file costs a bounded amount of time and memory, never a crash.

Layout (huggingface/safetensors README): header length u64 little-endian, a JSON object, then the data. The object maps
names to {"dtype", "shape", "data_offsets": [begin, end]} relative to the data; "__metadata__" maps text to text. The
tensors cover the data without gap or overlap, which keeps other content (a pickle, a program) from riding along.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeGuard

from webapp.foundation.text import one_line

MAX_HEADER_BYTES = 8 * 2**20
MAX_TENSORS = 100_000
MAX_NAME_LENGTH = 1000
MAX_DIMENSIONS = 16
MAX_ELEMENTS = 2**63 - 1

# Bits of one element.
BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}


class HeaderError(ValueError):
    """The file's header cannot be used. The message says why and what to do, in words for people."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor; its place in the file does not matter to us."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int

    @property
    def elements(self) -> int:
        count = 1
        for length in self.shape:
            count *= length
        return count


@dataclass(frozen=True, slots=True)
class Header:
    """Everything before the data. Sizes in bytes."""

    tensors: tuple[Tensor, ...]
    metadata: dict[str, str]
    data_offset: int
    data_bytes: int

    @property
    def file_bytes(self) -> int:
        return self.data_offset + self.data_bytes


def read_header(file: BinaryIO, file_size: int | None = None) -> Header:
    """The header of the safetensors file that `file` is positioned at the start of.

    `file` needs only `read`. With `file_size` the tensors must fill the file exactly. Raises HeaderError, and nothing
    else for any content.
    """
    start = _take(file, 8)
    length = struct.unpack("<Q", start)[0]
    if length > MAX_HEADER_BYTES or length < 2:
        raise HeaderError(_not_safetensors(start))
    raw = _take(file, length)
    if raw[:1] != b"{":
        raise HeaderError(_not_safetensors(start))
    # A parsed object is many times its text: what no real header needs is refused before it is parsed.
    if raw.count(b"[") + raw.count(b"{") > 4 * MAX_TENSORS or raw.count(b":") > 8 * MAX_TENSORS:
        raise HeaderError("The header lists more tensors than any known model has. The file is damaged.")
    try:
        entries = json.loads(raw, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise HeaderError("The header is not sound JSON. The file is damaged: fetch it again.") from error
    header = _header(entries, 8 + length)
    if file_size is not None and file_size != header.file_bytes:
        problem = (
            "The download is incomplete" if file_size < header.file_bytes else "Something else is behind the tensors"
        )
        raise HeaderError(
            f"The file has {file_size:,} bytes and its tensors make {header.file_bytes:,}. {problem}: fetch it again."
        )
    return header


def _take(file: BinaryIO, count: int) -> bytes:
    parts, left = [], count
    while left:
        part = file.read(min(left, 2**20))
        if not part:
            raise HeaderError(
                "The file ends in the middle of its header. The download is incomplete: download it again."
            )
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _not_safetensors(start: bytes) -> str:
    if start[:1] == b"\x80" or start[:2] == b"PK":
        return (
            "This is a pickle, whatever its name says: loading it could run any program. "
            "Choose a model that is published as safetensors or GGUF."
        )
    return (
        f"Not a safetensors file: it begins with {start!r}. "
        "Choose the file itself (a web page, an archive or a Git LFS pointer looks like this)."
    )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _header(entries: Any, data_offset: int) -> Header:
    if not isinstance(entries, dict):
        raise HeaderError("The header is not an object. The file is damaged.")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise HeaderError("The header's metadata are not text. The file is damaged.")
    if len(entries) > MAX_TENSORS:
        raise HeaderError(f"The header lists {len(entries):,} tensors; no known model has that many.")
    placed = sorted((_tensor(name, entry) for name, entry in entries.items()), key=lambda place: place[:2])
    at = 0
    for begin, end, tensor in placed:
        if begin != at:
            raise HeaderError(
                f"Tensor {one_line(tensor.name):.80} begins at {begin:,} instead of {at:,}. The file is damaged."
            )
        at = end
    return Header(tuple(tensor for _begin, _end, tensor in placed), metadata, data_offset, at)


def _tensor(name: str, entry: Any) -> tuple[int, int, Tensor]:
    short = f"Tensor {one_line(name):.80}"
    if len(name) > MAX_NAME_LENGTH or not isinstance(entry, dict):
        raise HeaderError(f"{short} is not described. The file is damaged.")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    bits = BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None:
        raise HeaderError(f"{short} has the unknown type {dtype!r:.40}. The file is damaged or too new.")
    if not _lengths(shape, MAX_DIMENSIONS) or not _lengths(offsets, 2) or len(offsets) != 2:
        raise HeaderError(f"{short} has no sound shape or place. The file is damaged.")
    tensor = Tensor(name, str(dtype), tuple(shape), offsets[1] - offsets[0])
    if tensor.elements > MAX_ELEMENTS or tensor.size_bytes < 0 or tensor.elements * bits != tensor.size_bytes * 8:
        raise HeaderError(f"{short} does not have the size of its shape. The file is damaged.")
    return offsets[0], offsets[1], tensor


def _lengths(value: Any, most: int) -> TypeGuard[list[int]]:
    return (
        isinstance(value, list)
        and len(value) <= most
        and all(isinstance(part, int) and not isinstance(part, bool) and 0 <= part <= MAX_ELEMENTS for part in value)
    )
