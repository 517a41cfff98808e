"""Ends every process group the supervisor started when the supervisor itself is killed.

The parent-death signal reaches direct children only; a pool's workers would be left. The guard is a fork that sleeps
on a pipe: it costs nothing, hears of every group, and acts when the pipe's other end is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

GRACE_S = 3.0


class Guard:
    """The supervisor's side: tell the guard which groups exist."""

    def __init__(self) -> None:
        reader, self._writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._writer)
            _watch(reader)
        os.close(reader)
        os.set_inheritable(self._writer, False)

    def add(self, group: int) -> None:
        """Kill this group if we die."""
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        """This group is gone: its number may be somebody else's soon."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """An orderly end: every group was removed, the guard goes too."""
        os.close(self._writer)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _tell(self, words: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._writer, words.encode())


def _watch(reader: int) -> None:
    """The guard's life; never returns."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            # A terminal or a pipe that somebody reads to its end must not be held open.
            os.dup2(null, descriptor)
        _kill(_groups_at_the_end(reader))
    finally:
        os._exit(0)


def _groups_at_the_end(reader: int) -> set[int]:
    groups: set[int] = set()
    with os.fdopen(reader) as lines:
        for line in lines:
            (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    return groups


def _kill(groups: set[int]) -> None:
    deadline = time.monotonic() + GRACE_S
    for number in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)
        while number == signal.SIGTERM and time.monotonic() < deadline and any(map(_lives, groups)):
            time.sleep(0.05)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
