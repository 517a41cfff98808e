"""Access lines, gathered and written off the event loop, with the file turned over when it is full."""

import asyncio
import logging
import os
import time
from concurrent.futures import Executor
from pathlib import Path

import msgspec

from webapp.gateway.http.json_text import json_text
from webapp.gateway.http.request import Request
from webapp.gateway.ledger.records import AccessLine, UsageRecord, encode_lines

log = logging.getLogger(__name__)

FLUSH_S = 0.5
MAX_FILE_BYTES = 10 * 1024 * 1024
KEPT_FILES = 3
_MAX_WAITING = 100_000


class LoggedRequest(msgspec.Struct, gc=False):
    """A request for inference: client and path as JSON, the error's code, and what else is known about it."""

    client: bytes
    path: bytes
    error: str | None
    record: UsageRecord


class AccessLog:
    """JSON lines in <state>/log. A disk that is full costs lines, never requests."""

    def __init__(self, path: Path, disk: Executor) -> None:
        self._path = path
        self._disk = disk
        self._requests: list[LoggedRequest] = []
        self._others: list[AccessLine] = []
        self._timer: asyncio.TimerHandle | None = None

    def add_request(self, request: LoggedRequest) -> None:
        """Its line is made later, in the thread that writes."""
        self._requests.append(request)
        if self._timer is None:
            self._start_timer()

    def add(self, line: AccessLine) -> None:
        """For what is not inference, or was refused before it was."""
        self._others.append(line)
        if self._timer is None:
            self._start_timer()

    def close(self) -> None:
        """Write what waits, now and here."""
        if self._timer is not None:
            self._timer.cancel()
        self._write(*self._take())

    def _start_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._timer = None
        self._disk.submit(self._write, *self._take())

    def _take(self) -> tuple[list[LoggedRequest], list[AccessLine]]:
        requests, self._requests = self._requests, []
        others, self._others = self._others, []
        return requests[-_MAX_WAITING:], others[-_MAX_WAITING:]

    def _write(self, requests: list[LoggedRequest], others: list[AccessLine]) -> None:
        if not requests and not others:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(_lines(requests) + encode_lines(others))
                is_full = file.tell() > MAX_FILE_BYTES
            if is_full:
                self._turn_over()
        except OSError as error:
            log.error("%d access lines were lost: %s", len(requests) + len(others), error)

    def _turn_over(self) -> None:
        for number in range(KEPT_FILES - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))


def _lines(requests: list[LoggedRequest]) -> bytes:
    """The usage record of each, with who asked and what went wrong in front."""
    records = encode_lines([request.record for request in requests]).split(b"\n")
    return b"".join(
        b'{"client":%b,"path":%b,"error":%b,%b\n' % (request.client, request.path, json_text(request.error), record[1:])
        for request, record in zip(requests, records[:-1], strict=True)
    )


def plain_line(
    request: Request,
    request_id: str,
    client: str,
    status: int,
    duration_s: float,
    bytes_out: int,
    error: str | None = None,
) -> AccessLine:
    """The line of a request that is not inference. The query string is left out: it may hold anything."""
    return AccessLine(
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
