"""How much memory one replica takes, as named terms that add up, and what of that is the same for every engine.

Which terms there are, and what an engine takes beside weights and cache, its own memory module says.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from webapp.planner.facts import Basis, KvGroup
from webapp.planner.ggml import GgmlType

MIB = 2**20
GIB = 2**30
GPU_CONTEXT_BYTES = 300 * MIB  # CUDA context and libraries per device; an assumption until measured

Place = Literal["host", "gpu"]


@dataclass(frozen=True, slots=True)
class Term:
    """One part of the memory. `label` is one line for people; `place` says which memory it lies in."""

    name: str
    label: str
    bytes: int
    basis: Basis
    place: Place = "host"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Terms that add up."""

    terms: tuple[Term, ...]

    @property
    def total_bytes(self) -> int:
        return sum(term.bytes for term in self.terms)

    @property
    def host_bytes(self) -> int:
        return sum(term.bytes for term in self.terms if term.place == "host")

    @property
    def gpu_bytes(self) -> int:
        return sum(term.bytes for term in self.terms if term.place == "gpu")

    @property
    def basis(self) -> Basis:
        """The weakest basis among the terms that make up at least 5 % of the total."""
        order: list[Basis] = ["exact", "config", "estimate"]
        heavy = [term.basis for term in self.terms if term.bytes * 20 >= self.total_bytes]
        return max(heavy, key=order.index, default="exact")

    def bytes_of(self, name: str, place: Place | None = None) -> int:
        """The sum of the terms of that name (in one place, or both)."""
        return sum(term.bytes for term in self.terms if term.name == name and place in (None, term.place))


@dataclass(frozen=True, slots=True)
class Capacity:
    """Memory that is free for one replica."""

    host_bytes: int
    gpu_bytes: int = 0

    def holds(self, estimate: Estimate) -> bool:
        """Whether there is room for all of it."""
        return estimate.host_bytes <= self.host_bytes and estimate.gpu_bytes <= self.gpu_bytes


def estimate_of(terms: Iterable[Term]) -> Estimate:
    """The terms that take something."""
    return Estimate(tuple(term for term in terms if term.bytes))


def split(name: str, label: str, size: int, basis: Basis, share: float) -> list[Term]:
    """A term whose `share` (0..1) lies on the GPU and the rest on the host."""
    on_gpu = round(size * share)
    return [Term(name, label, on_gpu, basis, "gpu"), Term(name, label, size - on_gpu, basis)]


def gpu_context(gpus: int = 1) -> Term:
    """What a program takes of each of its GPUs before it has put anything there."""
    return Term("gpu_context", "GPU context (driver and libraries)", gpus * GPU_CONTEXT_BYTES, "estimate", "gpu")


def row_bytes(group: KvGroup, key: GgmlType, value: GgmlType) -> int:
    """Bytes that one token takes in the key-value cache of one of these layers."""
    return key.size_of(group.key_elements) + value.size_of(group.value_elements)
