"""Counts bytes over all files of a job and reports how far and how fast."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

REPORT_EVERY_S = 0.5
# Speed is that of the last seconds: an average since the start would hide that it has become slow.
WINDOW_S = 8.0

Report = Callable[[dict[str, Any]], None]


@dataclass
class Meter:
    """`total` is None when a source does not say how long it is. Reports at most every half second."""

    total: int | None
    report: Report
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    said_at: float = float("-inf")
    step: str = ""
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, count: int, step: str, message: str, *, at_once: bool = False) -> None:
        """`count` more bytes; a new step begins with a new speed."""
        now = self.clock()
        if step != self.step:
            self.step = step
            self._seen.clear()
            self._seen.append((now, self.done))
        self.done += count
        if at_once or now - self.said_at >= REPORT_EVERY_S:
            self.said_at = now
            self._seen.append((now, self.done))
            while len(self._seen) > 2 and now - self._seen[1][0] >= WINDOW_S:
                self._seen.popleft()
            line = {"step": step, "done": self.done, "total": self.total, "unit": "bytes", "message": message}
            self.report({**line, "speed": self.speed} if self.speed is not None else line)

    @property
    def speed(self) -> int | None:
        """Bytes per second over the last seconds; None while there is too little to say."""
        (since, before), (now, done) = self._seen[0], self._seen[-1]
        return round((done - before) / (now - since)) if now - since >= 1 else None

    def wait(self, message: str) -> None:
        """Say that nothing moves for a while, and why."""
        self.step = "waiting"
        line = {"step": "waiting", "done": self.done, "total": self.total, "unit": "bytes", "message": message}
        self.report(line)

    def take_back(self, count: int) -> None:
        """`count` bytes turned out to be worthless."""
        self.done -= count
        self.step = ""
