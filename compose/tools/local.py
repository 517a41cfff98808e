"""Files that lie on the host: plain ones, and members of zip archives (a wheel is one)."""

import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from compose.tools.failures import FetchError
from webapp.catalog import reading


@dataclass(frozen=True)
class Origin:
    """What is imported: `path` is where it lies in here, below `root`; `shown` is what people call it."""

    root: Path
    path: Path
    shown: Path

    def name(self, path: Path) -> Path:
        """What people call a path below `root`."""
        return self.shown.parent / path.relative_to(self.root) if path.is_relative_to(self.root) else path

    def unreadable(self, path: Path, error: OSError) -> FetchError:
        """`path` could not be opened: in the words of the look before the job, if it is for lack of permission."""
        what = f"{self.name(path)} cannot be read: {error.strerror}."
        advice = "Check that it is still there and that its disk is healthy."
        if isinstance(error, PermissionError):
            # What tells the bits from a rule that no bit shows (SELinux) is that no bit stands in the way.
            is_whole = self.path != path
            found = reading.closed(self.path, [str(path)], reading.may_here)
            stops = [reading.Closed(self.name(stop.path), stop.is_folder) for stop in found]
            if stops:
                said = reading.command(self.shown, stops, is_whole=is_whole)
                what, advice = reading.told(stops, said)
        return FetchError("source_missing", what, advice)


@dataclass(frozen=True)
class LocalSource:
    """One file to read. `identity` changes when the file is another one: half of an older file is not continued."""

    origin: Origin
    path: Path
    member: str | None
    size: int
    identity: str

    @contextmanager
    def open(self, start: int) -> "Iterator[Stream]":
        # Only errors of opening are caught: those of the caller are the target's.
        with archive_errors(self.path), ExitStack() as stack:
            try:
                file: IO[bytes]
                if self.member is None:
                    file = stack.enter_context(self.path.open("rb"))
                else:
                    archive = stack.enter_context(zipfile.ZipFile(self.path))
                    file = stack.enter_context(archive.open(self.member))
                file.seek(start)
            except OSError as error:
                raise self.origin.unreadable(self.path, error) from error
            yield Stream(self.origin.name(self.path), file, start)


@dataclass
class Stream:
    """The rest of a file from byte `start` on; `path` is what people call it."""

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
    named = str(source.get("path") or "")
    root = Path(os.path.realpath(imports))
    # Jobs of before say nothing of what people call it.
    shown = Path(source.get("shown") or named)
    path = inside(imports, named, shown)
    origin = Origin(root, path, shown)
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            path = inside(imports, str(path / name), shown / name)
        elif not alone:
            raise FetchError("bad_job", "One source file cannot become several files.", "Import a folder instead.")
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            advice = "Name a file, or a folder that holds it."
            raise FetchError("source_missing", f"{origin.name(path)} is not a file.", advice)
        with path.open("rb"):
            pass
    except OSError as error:
        raise origin.unreadable(path, error) from error
    identity, size, member = f"{path} {facts.st_size} {facts.st_mtime_ns}", facts.st_size, source.get("member")
    if member is not None:
        info = _member(path, member)
        identity, size = f"{identity} {info.filename} {info.CRC}", info.file_size
    return LocalSource(origin, path, member, size, identity)


def inside(root: Path, path: str, shown: object) -> Path:
    """`path` with links followed, when that is inside `root`; a FetchError that calls it `shown` when it is not."""
    real = Path(os.path.realpath(path))
    if not path or not real.is_relative_to(os.path.realpath(root)):
        raise FetchError("not_allowed", f"{shown} leads out of its folder.", "Choose a path inside the allowed folder.")
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
