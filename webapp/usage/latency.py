"""Times to first token as counts per class, so that they can be added up and still tell a median. Pure."""

from bisect import bisect_left
from collections.abc import Sequence

# Upper ends of the classes in milliseconds; the last class has none.
BOUNDS_MS = (10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0, 30_000.0)
CLASSES = len(BOUNDS_MS) + 1


def class_of(milliseconds: float) -> int:
    """Which class a time belongs to: the first whose upper end it does not pass."""
    return bisect_left(BOUNDS_MS, milliseconds)


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The time in milliseconds that `share` (0..1) of the requests did not pass; None without any.

    Right to the class, spread evenly inside it; for the open last class its lower end, so "at least".
    """
    total = sum(counts)
    if total == 0:
        return None
    wanted = share * total
    passed = 0
    for place, count in enumerate(counts):
        if count and passed + count >= wanted:
            if place == len(BOUNDS_MS):
                break
            low = BOUNDS_MS[place - 1] if place else 0.0
            part = max(0.0, (wanted - passed) / count)
            return low + (BOUNDS_MS[place] - low) * part
        passed += count
    return BOUNDS_MS[-1]
