"""Small safetensors files for tests, written as the format's README says."""

import json
import struct
from typing import Any

SIZES = {"F32": 4, "F16": 2, "BF16": 2, "I32": 4, "U8": 1, "F8_E4M3": 1}


def entries(tensors: dict[str, tuple[str, tuple[int, ...]]]) -> dict[str, Any]:
    found, at = {}, 0
    for name, (dtype, shape) in tensors.items():
        size = SIZES[dtype]
        for length in shape:
            size *= length
        found[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    return found


def safetensors_bytes(tensors: dict[str, tuple[str, tuple[int, ...]]] | None = None, **changes: Any) -> bytes:
    """A sound file with these tensors of zeros; `changes` overwrite entries of the header."""
    listed = entries(tensors or {"model.embed.weight": ("BF16", (64, 32)), "model.layers.0.weight": ("BF16", (32, 32))})
    data = max((entry["data_offsets"][1] for entry in listed.values()), default=0)
    head = json.dumps({"__metadata__": {"format": "pt"}, **listed, **changes}).encode()
    return struct.pack("<Q", len(head)) + head + b"\0" * data


CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "vocab_size": 64,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
}


def index_bytes(weight_map: dict[str, str]) -> bytes:
    """model.safetensors.index.json of these tensors."""
    return json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}).encode()
