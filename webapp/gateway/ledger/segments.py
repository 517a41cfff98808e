"""Usage records on disk until web has them: append-only files, one record a line. Blocking: for a thread."""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

MAX_SEGMENT_BYTES = 4 * 1024 * 1024
BATCH_RECORDS = 500


class Segments:
    """The files of one gateway process. Nothing is ever changed in place: a file is appended to, read, and removed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: Path | None = None
        self._open_bytes = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def append(self, data: bytes) -> None:
        """Write whole lines and return when the disk has them. Raises OSError; then all, some or none were written."""
        if self._open is None or self._open_bytes + len(data) > MAX_SEGMENT_BYTES:
            self._open = self._folder / f"{time.time_ns():020d}-{self._folder.name}.jsonl"
            self._open_bytes = 0
        descriptor = os.open(self._open, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            written = 0
            while written < len(data):
                written += os.write(descriptor, data[written:])
            os.fsync(descriptor)
        except OSError:
            # A torn line must not be continued by the next record.
            self._open = None
            raise
        finally:
            os.close(descriptor)
        self._open_bytes += len(data)

    def close_open(self) -> None:
        """The next append begins a new file, so that the present one can be sent and removed."""
        self._open = None

    def waiting(self) -> list[Path]:
        """Every file that is not being written, oldest first."""
        return sorted(path for path in self._folder.glob("*.jsonl") if path != self._open)

    def backlog_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._folder.glob("*.jsonl"))

    def adopt(self, other: Path) -> None:
        """Take over the files of a process that will not run again."""
        for path in sorted(other.glob("*.jsonl")):
            path.replace(self._folder / path.name)

    def set_aside(self, segment: Path) -> None:
        """Keep a file that web will never accept where a person can look at it."""
        aside = self._folder / "rejected"
        aside.mkdir(mode=0o700, exist_ok=True)
        segment.replace(aside / segment.name)


def batches(segment: Path) -> Iterator[bytes]:
    """The file as bodies for web, {"records": [...]}. A line torn by a crash is left out."""
    lines: list[bytes] = []
    for line in segment.read_bytes().split(b"\n"):
        if not (line.startswith(b"{") and line.endswith(b"}")):
            if line:
                log.warning("a torn usage record in %s was left out", segment.name)
            continue
        lines.append(line)
        if len(lines) == BATCH_RECORDS:
            yield _body(lines)
            lines = []
    if lines:
        yield _body(lines)


def _body(lines: list[bytes]) -> bytes:
    return b'{"records":[' + b",".join(lines) + b"]}"
