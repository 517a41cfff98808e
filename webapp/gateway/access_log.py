"""Access lines, gathered and written off the event loop, with the file turned over when it is full."""

import asyncio
import logging
import os
import time
from concurrent.futures import Executor
from pathlib import Path

from webapp.gateway.framing import Request
from webapp.gateway.records import AccessLine, encode_line

log = logging.getLogger(__name__)

FLUSH_S = 0.5
MAX_FILE_BYTES = 10 * 1024 * 1024
KEPT_FILES = 3
_MAX_WAITING = 100_000


class AccessLog:
    """JSON lines in <state>/log. A disk that is full costs lines, never requests."""

    def __init__(self, path: Path, disk: Executor) -> None:
        self._path = path
        self._disk = disk
        self._waiting: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, line: bytes) -> None:
        """`line` is one JSON object."""
        self._waiting.append(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def close(self) -> None:
        """Write what waits, now and here."""
        if self._timer is not None:
            self._timer.cancel()
        self._write(self._waiting)
        self._waiting = []

    def _flush(self) -> None:
        self._timer = None
        lines, self._waiting = self._waiting, []
        self._disk.submit(self._write, lines[-_MAX_WAITING:])

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(b"\n".join(lines) + b"\n")
                is_full = file.tell() > MAX_FILE_BYTES
            if is_full:
                self._turn_over()
        except OSError as error:
            log.error("%d access lines were lost: %s", len(lines), error)

    def _turn_over(self) -> None:
        for number in range(KEPT_FILES - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))


def plain_line(
    request: Request,
    request_id: str,
    client: str,
    status: int,
    duration_s: float,
    bytes_out: int,
    error: str | None = None,
) -> bytes:
    """The line of a request that is not inference. The query string is left out: it may hold anything."""
    line = AccessLine(
        client=client,
        path=request.target.partition(b"?")[0][:500].decode("latin-1"),
        error=error,
        at=time.time(),
        method=request.method.decode("latin-1"),
        request_id=request_id,
        status=status,
        duration_ms=round(duration_s * 1000, 3),
        bytes_out=bytes_out,
    )
    return encode_line(line)
