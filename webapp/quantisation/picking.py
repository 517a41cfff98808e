"""Name one variant for somebody who says what they have and what matters. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from webapp.planner.facts import ModelFacts
from webapp.quantisation.refusing import is_quantised

Priority = Literal["quality", "speed", "size"]
GIB = 1024**3
# The engine's own program and buffers, roughly; what a deployment reserves is worked out by the planner.
PROGRAM_BYTES = GIB // 2
KV_BYTES = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """One artifact with what was measured of it; None where nobody has measured."""

    artifact_id: int
    name: str
    facts: ModelFacts
    size_bytes: int
    divergence: float | None = None
    decode_per_s: float | None = None

    def memory_bytes(self, context: int, users: int) -> int:
        """Weights, a cache row per token and user, and the program."""
        row = sum(group.layers * (group.key_elements + group.value_elements) for group in self.facts.kv_groups)
        return (self.facts.weights_bytes or self.size_bytes) + row * KV_BYTES * context * users + PROGRAM_BYTES


@dataclass(frozen=True, slots=True)
class Pick:
    """`candidate` is None when nothing fits; `why` says it in a sentence."""

    candidate: Candidate | None
    needed_bytes: int
    why: str


def pick(candidates: Iterable[Candidate], memory_bytes: int, context: int, users: int, priority: Priority) -> Pick:
    """The best variant that fits."""
    needs = [(candidate, candidate.memory_bytes(context, users)) for candidate in candidates]
    fitting = [(candidate, needed) for candidate, needed in needs if needed <= memory_bytes]
    if not needs:
        return Pick(None, 0, "This model has no files yet.")
    if not fitting:
        least, needed = min(needs, key=lambda row: row[1])
        return Pick(None, needed, f"Nothing fits: {least.name} needs the least, {needed / GIB:.1f} GiB.")
    candidate, needed = min(fitting, key=lambda row: _rank(row[0], priority))
    return Pick(candidate, needed, _why(candidate, priority, len(fitting), needed))


def front(points: Iterable[tuple[int, float, float]]) -> set[int]:
    """The keys of (key, size, loss) that no other point beats in both: the Pareto front."""
    best, kept = float("inf"), set()
    for key, _size, loss in sorted(points, key=lambda point: (point[1], point[2])):
        if loss < best:
            best = loss
            kept.add(key)
    return kept


def _rank(candidate: Candidate, priority: Priority) -> tuple[float, float]:
    # Unmeasured quality: the larger of two is taken for the better one, behind all that were measured.
    loss = candidate.divergence if candidate.divergence is not None else 1e6 / max(candidate.size_bytes, 1)
    unmeasured = candidate.divergence is None and is_quantised(candidate.facts)
    quality = loss + (10.0 if unmeasured else 0.0)
    if priority == "quality":
        return (quality, candidate.size_bytes)
    if priority == "size":
        return (candidate.size_bytes, quality)
    return (-(candidate.decode_per_s or 0.0), candidate.size_bytes)


def _why(candidate: Candidate, priority: Priority, count: int, needed: int) -> str:
    said: Mapping[str, Any] = {
        "quality": "Best quality" if candidate.divergence else "Best quality (among measured variants)",
        "speed": "Fastest as measured" if candidate.decode_per_s else "Smallest (speed was not measured)",
        "size": "Smallest",
    }
    return f"{said[priority]} of the {count} that fit; needs about {needed / GIB:.1f} GiB."
