"""Steps with elapsed time on the terminal, and the one way the launcher fails."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str], None]
# When `make run` began, in Unix seconds: every process of it shows the time since then.
STARTED = "MODELYARD_RUN_STARTED"


class LauncherError(Exception):
    """Something a person must do first; the text says what happened, why, and what to do."""


def silent(_message: str) -> None:
    """Progress for callers that do not show any."""


class Steps:
    """Prints numbered steps with the time they took and the time since the start, in seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        began = float(os.environ.get(STARTED) or time.time())
        self._started = clock() - (time.time() - began)
        self._is_terminal = sys.stdout.isatty()
        self._shown_at = 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since `make run`."""
        return self._clock() - self._started

    @contextmanager
    def step(self, title: str) -> Iterator[Progress]:
        """Announce a step, hand out its progress function, and print how long it took."""
        began = self._clock()
        self._line(f"{title} ...")
        yield lambda message: self._progress(title, message)
        self._line(f"{title}: done in {self._clock() - began:.1f} s")

    def note(self, message: str) -> None:
        """One line without a step."""
        self._line(message)

    def _progress(self, title: str, message: str) -> None:
        # A terminal gets every message on one line, a log file at most one every two seconds.
        if self._is_terminal:
            sys.stdout.write(f"\r\x1b[K[{self.elapsed_s:6.1f} s] {title}: {message}"[:200])
            sys.stdout.flush()
        elif self._clock() - self._shown_at >= 2:
            self._shown_at = self._clock()
            self._line(f"{title}: {message}")

    def _line(self, message: str) -> None:
        clear = "\r\x1b[K" if self._is_terminal else ""
        print(f"{clear}[{self.elapsed_s:6.1f} s] {message}", flush=True)
