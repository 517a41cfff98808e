"""One supervised process: its group, its end by pidfd, its output as whole lines."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
READ_BYTES = 65_536
LINE_LIMIT_BYTES = 16_384

_libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Make orphaned grandchildren ours, so that they are reaped here and not lost under process 1."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_strangers(known: set[int]) -> None:
    """Reap dead children that nobody here started. Never waits for -1: that would steal a known child's status."""
    own = os.getpid()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        pid = int(entry.parent.name)
        if pid in known:
            continue
        with contextlib.suppress(OSError, IndexError):
            state, parent = entry.read_text(errors="replace").rsplit(")", 1)[1].split()[:2]
            if state == "Z" and int(parent) == own:
                os.waitpid(pid, os.WNOHANG)


class Child:
    """A process in a session and group of its own that dies with us, and whose group dies with it."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str] | None, cwd: str, on_line: Callable[[str], None]
    ) -> None:
        self._on_line = on_line
        self._rest = b""
        self._exited = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        supervisor = os.getpid()

        def die_with_supervisor() -> None:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != supervisor:
                # It died between fork and prctl.
                os._exit(1)

        self._process = subprocess.Popen(
            command,
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_supervisor,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()
        os.set_blocking(self._output, False)
        self._loop.add_reader(self._output, self._read)
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._pidfd, self._on_exit)

    @property
    def pid(self) -> int:
        """Process id, and id of its group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when one ended it."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for its end; the exit code."""
        await self._exited.wait()
        assert self._process.returncode is not None
        return self._process.returncode

    def signal(self, number: int) -> None:
        """Send a signal to the process alone, if it still runs."""
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self, grace_s: float) -> int:
        """SIGTERM, then after `grace_s` SIGKILL to the whole group; the exit code."""
        self.signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.wait(), grace_s)
        except TimeoutError:
            self.kill_group()
            return await self.wait()

    def kill_group(self) -> None:
        """SIGKILL everything in its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _on_exit(self) -> None:
        # The group's id stays taken while members live, so what is hit here is ours.
        self.kill_group()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()
        self._read()
        self._close_output()
        self._exited.set()

    def _read(self) -> None:
        while self._output >= 0:
            try:
                chunk = os.read(self._output, READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                chunk = b""
            if not chunk:
                self._close_output()
                return
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            if len(self._rest) > LINE_LIMIT_BYTES:
                lines.append(self._rest)
                self._rest = b""
            for line in lines:
                self._on_line(line.decode("utf-8", "replace").rstrip("\r"))

    def _close_output(self) -> None:
        if self._output < 0:
            return
        self._loop.remove_reader(self._output)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._output = -1
        if self._rest:
            self._on_line(self._rest.decode("utf-8", "replace"))
            self._rest = b""
