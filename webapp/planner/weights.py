"""What the tensors of a model weigh, and how llama.cpp will hold them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from webapp.planner.ggml import REPACKED, GgmlType


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a GGUF file: where its data lies (from the start of the data) and how long it is."""

    name: str
    dimensions: tuple[int, ...]
    kind: GgmlType
    offset: int
    size_bytes: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        count = 1
        for dimension in self.dimensions:
            count *= dimension
        return count

    @property
    def is_repacked(self) -> bool:
        """Whether llama.cpp's CPU code (x86 with AVX2) keeps a reordered copy instead of using it in place."""
        rows = self.dimensions[1] if len(self.dimensions) > 1 else 0
        return self.kind.name in REPACKED and rows > 0 and rows % 8 == 0 and self.name != "token_embd.weight"


class Sizes(TypedDict):
    """The part of ModelFacts that the tensor table gives."""

    weights_bytes: int
    mapped_bytes: int
    kept_bytes: int
    repack_bytes: int
    layer_bytes: tuple[int, ...]
    embedding_bytes: int
    output_bytes: int
    tensor_bytes: tuple[tuple[str, int], ...]


def extent(tensors: Iterable[TensorInfo]) -> int:
    """Where the last tensor ends, counted from the start of the data."""
    return max((tensor.offset + tensor.size_bytes for tensor in tensors), default=0)


def sizes(parts: Sequence[Sequence[TensorInfo]]) -> Sizes:
    """The sums over all parts of a model. A memory map of a part holds everything from its first to its last tensor."""
    tensors = [tensor for part in parts for tensor in part]
    by_type: dict[str, int] = {}
    by_layer: dict[int, int] = {}
    for tensor in tensors:
        by_type[tensor.kind.name] = by_type.get(tensor.kind.name, 0) + tensor.size_bytes
        layer = _layer(tensor.name)
        if layer is not None:
            by_layer[layer] = by_layer.get(layer, 0) + tensor.size_bytes
    named = {tensor.name: tensor.size_bytes for tensor in tensors}
    return {
        "weights_bytes": sum(tensor.size_bytes for tensor in tensors),
        "mapped_bytes": sum(extent(part) for part in parts),
        "kept_bytes": sum(_kept_range(part) for part in parts),
        "repack_bytes": sum(tensor.size_bytes for tensor in tensors if tensor.is_repacked),
        "layer_bytes": tuple(by_layer[layer] for layer in sorted(by_layer)),
        "embedding_bytes": named.get("token_embd.weight", 0),
        "output_bytes": named.get("output.weight", 0),
        "tensor_bytes": tuple(sorted(by_type.items(), key=lambda item: (-item[1], item[0]))),
    }


def _kept_range(tensors: Sequence[TensorInfo]) -> int:
    kept = [tensor for tensor in tensors if not tensor.is_repacked]
    return extent(kept) - kept[0].offset if kept else 0


def _layer(name: str) -> int | None:
    """The block a tensor belongs to, out of "blk.<number>.<rest>"."""
    parts = name.split(".", 2)
    if len(parts) < 2 or parts[0] != "blk" or not parts[1].isascii() or not parts[1].isdigit():
        return None
    return int(parts[1])
