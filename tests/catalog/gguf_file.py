"""Small GGUF files for tests, written as the format's specification says (ggml-org/ggml docs/gguf.md, version 3)."""

import struct
from pathlib import Path
from typing import Any

F32 = 0


def gguf_bytes(metadata: dict[str, Any] | None = None, tensors: dict[str, tuple[int, ...]] | None = None) -> bytes:
    """A sound GGUF with these metadata (strings and unsigned numbers) and F32 tensors of zeros."""
    metadata = {
        "general.architecture": "llama",
        "general.name": "Tiny",
        "general.file_type": 0,
        "llama.block_count": 1,
        "llama.context_length": 128,
        "llama.embedding_length": 32,
        "llama.feed_forward_length": 64,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        **(metadata or {}),
    }
    tensors = tensors or {"token_embd.weight": (32, 16), "blk.0.attn_q.weight": (32, 32)}
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        head += _string(key)
        head += struct.pack("<I", 8) + _string(value) if isinstance(value, str) else struct.pack("<II", 4, value)
    offset = 0
    for name, shape in tensors.items():
        head += _string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        head += struct.pack("<IQ", F32, offset)
        offset += _size(shape)
    head += b"\0" * (-len(head) % 32)
    return head + b"\0" * offset


def write_gguf(path: Path, **more: Any) -> Path:
    path.write_bytes(gguf_bytes(**more))
    return path


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _size(shape: tuple[int, ...]) -> int:
    size = 4
    for length in shape:
        size *= length
    return size + (-size % 32)
