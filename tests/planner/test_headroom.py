"""What a host that refuses could give now."""

import pytest

from webapp.planner import headroom
from webapp.planner.placement import GIB, Accelerator, Choice, Demand, Host, Need

CARDS = {
    "two": (Accelerator("a", "nvidia", 20 * GIB, 24 * GIB), Accelerator("b", "nvidia", 4 * GIB, 24 * GIB)),
    "slices": (
        Accelerator("s", "nvidia", 9 * GIB, 10 * GIB, is_slice=True),
        Accelerator("w", "nvidia", 8 * GIB, 24 * GIB),
    ),
    "mixed": (Accelerator("n", "nvidia", 8 * GIB, 24 * GIB), Accelerator("r", "amd", 12 * GIB, 16 * GIB)),
    "none": (),
}


@pytest.mark.parametrize(
    ("cards", "counts", "is_even", "wanted"),
    [
        ("two", (1, 2), False, ("nvidia", ("a", "b"), 24)),
        ("two", (1, 2), True, ("nvidia", ("a",), 20)),  # each would hold 4: less than the one
        ("two", (2,), True, ("nvidia", ("a", "b"), 8)),
        ("two", (4,), True, ("cpu", (), 0)),  # there are not so many
        ("slices", (1, 2), False, ("nvidia", ("s",), 9)),  # slices are never used together
        ("mixed", (1, 2), False, ("amd", ("r",), 12)),
        ("none", (1,), False, ("cpu", (), 0)),
    ],
)
def test_the_most_that_it_could_have(
    cards: str, counts: tuple[int, ...], is_even: bool, wanted: tuple[str, tuple[str, ...], int]
) -> None:
    needs = {"amd": Need(GIB, 30 * GIB, GIB), "nvidia": Need(GIB, 30 * GIB, GIB), "cpu": Need(40 * GIB)}
    host = Host(1, "h", accelerators=CARDS[cards])
    choice, held = headroom.most(Demand(needs, counts=counts, is_even=is_even), host)
    vendor, ids, gib = wanted
    assert (choice, held) == (Choice(1, vendor, ids), gib * GIB)


@pytest.mark.parametrize(
    ("host", "is_all"),
    [
        (Host(1, "small", free_memory_bytes=GIB), True),
        (Host(1, "small", free_memory_bytes=GIB, is_draining=True), False),
        (Host(1, "small", free_memory_bytes=GIB, is_online=False), False),
        (Host(1, "old", free_memory_bytes=GIB, cpu_flags=frozenset({"sse"})), False),
    ],
)
def test_memory_is_all_that_lacks_or_not(host: Host, is_all: bool) -> None:
    demand = Demand({"cpu": Need(40 * GIB)}, {("cpu", frozenset({"sse"})): "It needs AVX2."})
    assert headroom.is_all_that_lacks(demand, host) == is_all
