"""Roughly where a model fits when only its size is known. What a deployment books is worked out by the planner."""

from collections.abc import Iterable
from dataclasses import dataclass

GIB = 1024**3
# Weights are most of it; the cache of a usual context and the engine's own buffers make about a tenth more.
OVERHEAD = 1.1
FIXED_BYTES = GIB


@dataclass(frozen=True, slots=True)
class Room:
    """A host's memory. `cards` are the usable bytes of each GPU."""

    name: str
    memory_bytes: int
    cards: tuple[int, ...] = ()

    @property
    def most_bytes(self) -> int:
        """What it holds in one kind of memory."""
        return max(self.memory_bytes, sum(self.cards))


@dataclass(frozen=True, slots=True)
class Fit:
    """One host's answer: `where` is GPU, 2 GPUs, memory, or nothing."""

    host: str
    where: str


def rough_bytes(weights_bytes: float) -> int:
    """Memory that weights of this size want in all."""
    return int(weights_bytes * OVERHEAD) + FIXED_BYTES


def places(need_bytes: int, rooms: Iterable[Room]) -> list[Fit]:
    """For every host the smallest number of its GPUs that hold it, else its memory."""
    return [Fit(room.name, _where(need_bytes, room)) for room in rooms]


def leading(rooms: Iterable[Room]) -> list[Room]:
    """Those that hold more than every one before them: whatever fits somewhere has its first place among these."""
    found: list[Room] = []
    for room in rooms:
        if not found or room.most_bytes > found[-1].most_bytes:
            found.append(room)
    return found


def _where(need_bytes: int, room: Room) -> str:
    held = 0
    for count, card in enumerate(sorted(room.cards, reverse=True), start=1):
        held += card
        if held >= need_bytes:
            return "GPU" if count == 1 else f"{count} GPUs"
    return "memory" if room.memory_bytes >= need_bytes else ""
