"""What the planner must know about a model, whatever file format it came from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Basis = Literal["exact", "config", "estimate"]


@dataclass(frozen=True, slots=True)
class KvGroup:
    """Layers whose key-value cache rows are alike.

    `key_elements` and `value_elements` are per layer and token, over all heads; with latent attention (MLA) the
    values live inside the keys and `value_elements` is 0. `window` is the sliding window in tokens, 0 for none.
    """

    layers: int
    key_elements: int
    value_elements: int
    window: int = 0


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Geometry and sizes of one set of weight files. Bytes are bytes, lengths are tokens or elements."""

    architecture: str
    name: str = ""
    quantisation: str = ""  # the name people use: Q4_K_M, F16
    parameters: int = 0
    layers: int = 0
    heads: int = 0
    kv_heads: int = 0  # the largest over all layers
    key_length: int = 0
    value_length: int = 0
    embedding_length: int = 0
    feed_forward_length: int = 0
    vocabulary: int = 0
    context_length: int = 0  # what it was trained for
    sliding_window: int = 0
    experts: int = 0
    experts_used: int = 0
    kv_groups: tuple[KvGroup, ...] = ()
    kv_basis: Basis = "exact"  # "estimate" when the architecture has caches that these groups do not describe
    recurrent_bytes: int = 0  # state of recurrent layers per sequence (Mamba and the like)
    generates: bool = True  # False: encoder only (embeddings, ranking)
    weights_bytes: int = 0  # sum of all tensors
    mapped_bytes: int = 0  # from the first tensor to the last, padding included: what a memory map of it holds
    layer_bytes: tuple[int, ...] = ()  # tensors of each block
    embedding_bytes: int = 0  # the token embedding
    output_bytes: int = 0  # the output matrix; 0 when the token embedding serves as one
    tensor_bytes: tuple[tuple[str, int], ...] = ()  # type name -> bytes, biggest first
    repack_bytes: int = 0  # tensors that llama.cpp's CPU code keeps a second, reordered copy of (x86 with AVX2)
    kept_bytes: int = 0  # like mapped_bytes, from the first to the last tensor that is not reordered
    split_parts: int = 1
    licence: str = ""
    chat_template: bool = False
    # How vectors become one: none, mean, cls, last, rank; empty: the header does not say; None: nobody looked.
    pooling: str | None = None

    @property
    def bits_per_weight(self) -> float:
        """Average bits of one parameter, scales included; 0 when the number of parameters is unknown."""
        return self.weights_bytes * 8 / self.parameters if self.parameters else 0.0

    def as_json(self) -> dict[str, Any]:
        """A dict of plain JSON values; `from_json` takes it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ModelFacts":
        """The facts out of stored JSON. Unknown names are ignored (written by a newer version), absent ones default.

        Raises ValueError when the architecture is missing.
        """
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        if not values.get("architecture"):
            raise ValueError("model facts without an architecture")
        values["kv_groups"] = tuple(KvGroup(**group) for group in values.get("kv_groups", ()))
        values["layer_bytes"] = tuple(values.get("layer_bytes", ()))
        values["tensor_bytes"] = tuple((name, size) for name, size in values.get("tensor_bytes", ()))
        return cls(**values)
