"""Files that lie on the host: plain ones, and members of zip archives (a wheel is one)."""

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from compose.tools.failures import FetchError


@dataclass(frozen=True)
class LocalSource:
    """One file to read. `identity` changes when the file is another one: half of an older file is not continued."""

    path: Path
    member: str | None
    size: int
    identity: str

    @contextmanager
    def open(self, start: int) -> "Iterator[Stream]":
        with archive_errors(self.path):
            if self.member is None:
                with self.path.open("rb") as file:
                    file.seek(start)
                    yield Stream(self.path, file, start)
            else:
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                    file.seek(start)
                    yield Stream(self.path, file, start)


@dataclass
class Stream:
    """The rest of a file from byte `start` on."""

    path: Path
    file: IO[bytes]
    start: int

    def read(self, size: int) -> bytes:
        # Errors of reading are told apart from errors of writing: the disk that is broken is another one.
        try:
            return self.file.read(size)
        except OSError as error:
            advice = "Check the disk that the source lies on."
            raise FetchError("source_missing", f"{self.path} cannot be read: {error.strerror}.", advice) from error


def find(source: dict[str, Any], name: str, imports: Path, *, alone: bool) -> LocalSource:
    """The source of the file `name`: the path itself when it is the only one, else a file of that folder."""
    path = inside(imports, str(source.get("path") or ""), "source")
    if path.is_dir():
        path = inside(imports, str(path / name), "source")
    elif not alone:
        raise FetchError("bad_job", "One source file cannot become several files.", "Import a folder instead.")
    try:
        facts = path.stat()
        with path.open("rb"):
            pass
    except OSError as error:
        advice = "Check that the file is still there and readable for everybody."
        raise FetchError("source_missing", f"{path} cannot be read: {error.strerror}.", advice) from error
    if not path.is_file():
        raise FetchError("source_missing", f"{path} is not a file.", "Name a file, or a folder that holds it.")
    identity, size, member = f"{path} {facts.st_size} {facts.st_mtime_ns}", facts.st_size, source.get("member")
    if member is not None:
        info = _member(path, member)
        identity, size = f"{identity} {info.filename} {info.CRC}", info.file_size
    return LocalSource(path, member, size, identity)


def inside(root: Path, path: str, what: str) -> Path:
    """`path` with links followed, when that is inside `root`."""
    real = Path(os.path.realpath(path))
    if not path or not real.is_relative_to(os.path.realpath(root)):
        raise FetchError(
            "not_allowed", f"{what} {path!r} is outside {root}.", "Choose a path inside the allowed folder."
        )
    return real


def _member(path: Path, member: str) -> zipfile.ZipInfo:
    with archive_errors(path), zipfile.ZipFile(path) as archive:
        try:
            return archive.getinfo(member)
        except KeyError:
            advice = "Look into the archive for the file's right name."
            raise FetchError("source_missing", f"{path.name} holds no {member!r}.", advice) from None


@contextmanager
def archive_errors(path: Path) -> Iterator[None]:
    try:
        yield
    # RuntimeError is how zipfile says "encrypted".
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        advice = "The archive is damaged or no zip: get it again from where it came from."
        raise FetchError("bad_archive", f"{path.name} cannot be unpacked: {error}.", advice) from error
