"""What every quantiser's program shares: its order, its lines of JSON, its child programs, and files that appear whole.

A program does one step of a job, named by MODELYARD_JOB (JSON), and prints one JSON object a line:

    progress  {"step": "quantise", "done": 8, "total": 272, "unit": "tensors", "message": "blk.0.ffn_down.weight"}
    result    {"step": "done", "result": {...}}
    failure   {"error": {"code": "...", "message": "what happened", "advice": "what to do"}}, exit code 1; or 28 for a
              full disk, on which the line itself may find no room

Whoever is terminated says nothing and ends with 143: that is no fault of the step.

Codes: disk_full, out_of_memory, unknown_architecture, bad_source, bad_calibration, group_size, tool_failed, bad_job.
Standard library alone.
"""

import errno
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPORT_EVERY_S = 0.5
READ_BYTES = 8192
# What a child of ours begins a line of its result with.
RESULT = "modelyard-result "
KEPT_LINES = 60
PARTIAL = ".partial-"
# A disk with less is full: no tool of ours writes files that small.
LEAST_FREE_BYTES = 1024**2
TERMINATED = 128 + signal.SIGTERM
# What changes in a bar: numbers, blanks and blocks.
COUNTED = re.compile(r"[\d.\s\u2580-\u259f#]+")
# What llama.cpp's programs print of each piece of a text, with nothing behind it until the next: `[12]8.6042,`
COUNTER = re.compile(r"\[\d+\]-?[\d.]+,")
ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class StepError(Exception):
    """The step cannot be done; code, message and advice go to whoever asked."""

    def __init__(self, code: str, message: str, advice: str) -> None:
        super().__init__(message)
        self.code, self.advice = code, advice


def main(steps: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]) -> int:
    """Do the step that the order names and print how it went. Returns the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        order = json.loads(os.environ.get("MODELYARD_JOB", "null"))
        step = steps.get(order.get("step", "")) if isinstance(order, dict) else None
        if step is None:
            raise StepError("bad_job", f"The order names none of {', '.join(steps)}.", "Report this.")
        began = time.monotonic()
        with _readable_errors():
            result = step(order)
        say({"step": "done", "result": {**result, "seconds": round(time.monotonic() - began, 3)}})
    except StepError as error:
        say({"error": {"code": error.code, "message": str(error), "advice": error.advice}})
        return errno.ENOSPC if error.code == "disk_full" else 1
    return 0


def say(line: Mapping[str, Any]) -> None:
    print(json.dumps(line), flush=True)


@contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _of_the_disk(error) from error
    except KeyError as error:
        raise StepError("bad_job", f"The order lacks {error}.", "Report this.") from error
    except MemoryError as error:
        raise out_of_memory() from error


def _of_the_disk(error: OSError) -> StepError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full()
    return StepError("tool_failed", f"{error.filename or 'A file'}: {error.strerror}", "Look at the job's log.")


def disk_full() -> StepError:
    return StepError("disk_full", "The disk is full.", "Remove models that nobody uses on this host, then retry.")


def out_of_memory() -> StepError:
    return StepError(
        "out_of_memory", "The tool used more memory than it was given.", "Give the job more memory, then retry."
    )


class Meter:
    """Says how far a step is, at most every half second; the last word is always said."""

    def __init__(self, step: str, unit: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._step, self._unit, self._clock = step, unit, clock
        self._said_at = float("-inf")
        self._last: tuple[int, int, str] | None = None
        self._first: tuple[float, int] | None = None

    def at(self, done: int, total: int, message: str = "") -> None:
        if (done, total, message) == self._last:
            return
        self._last = (done, total, message)
        now = self._clock()
        if self._first is None:
            self._first = now, done
        if now - self._said_at >= REPORT_EVERY_S or done >= total:
            self._said_at = now
            unit = {"done": done, "total": total, "unit": self._unit}
            say({"step": self._step, **unit, **self._speed(now, done), "message": message[:200]})

    def _speed(self, now: float, done: int) -> dict[str, float]:
        """Units per second since the first of them; nothing while that would be a guess."""
        began, first = self._first or (now, done)
        return {"speed": round((done - first) / (now - began), 4)} if done > first and now - began >= 2 else {}


class Echo:
    """Passes a tool's words on to the job's log. Of a bar that is drawn anew, two a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shape, self._said_at = "", float("-inf")

    def say(self, text: str) -> None:
        shape, now = COUNTED.sub("#", text), self._clock()
        if shape == self._shape and now - self._said_at < REPORT_EVERY_S:
            return
        self._shape, self._said_at = shape, now
        # Our own lines are the ones that begin with a brace.
        print(text if not text.startswith("{") else f" {text}", file=sys.stderr, flush=True)


def run(argv: Sequence[str], on_text: Callable[[str], None], env: Mapping[str, str] | None = None) -> str:
    """Run a tool, hand over each piece of text that it prints (lines, or pieces ended by a carriage return or a comma:
    some tools count on one endless line), and return its last lines. Raises StepError when it fails."""
    child = subprocess.Popen(
        list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, **(env or {})},
    )  # fmt: skip
    before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    out = child.stdout
    assert out is not None
    kept, echo = deque[str](maxlen=KEPT_LINES), Echo()
    try:
        for piece in pieces(iter(lambda: os.read(out.fileno(), READ_BYTES), b"")):
            kept.append(piece)
            echo.say(piece)
            on_text(piece)
        code = child.wait()
    finally:
        child.kill()
        out.close()
        signal.signal(signal.SIGTERM, before)
    text = "\n".join(kept)
    if code in (-signal.SIGTERM, TERMINATED):
        sys.exit(TERMINATED)
    if code != 0:
        raise failure(Path(argv[0]).name, code, text)
    return text


def pieces(chunks: Iterator[bytes]) -> Iterator[str]:
    """Texts between line ends, carriage returns and commas behind a counter, without colours; the rest at the end."""
    rest = ""
    for chunk in chunks:
        rest += ANSI.sub("", chunk.decode(errors="replace"))
        *whole, rest = re.split(r"[\r\n]+|(?<=\d),(?=\[)", rest)
        if COUNTER.fullmatch(rest):
            whole, rest = [*whole, rest[:-1]], ""
        yield from (text for text in whole if text.strip())
        if len(rest) > 100_000:
            yield rest
            rest = ""
    if rest.strip():
        yield rest


def failure(tool: str, code: int, text: str) -> StepError:
    """What a tool's last words mean. Only texts that the tools really print are looked for."""
    if "No space left on device" in text or "failed to write" in text.lower():
        return disk_full()
    if code in (-signal.SIGKILL, 137) or "Cannot allocate memory" in text or "std::bad_alloc" in text:
        return out_of_memory()
    unknown = re.search(r"Model (\S+) is not supported|unknown model architecture: '([^']+)'", text)
    if unknown:
        name = unknown.group(1) or unknown.group(2)
        return StepError(
            "unknown_architecture", f"{tool} does not know the architecture {name}.", "Choose another method."
        )
    if "Insufficient" in text or "you need at least" in text:
        return StepError("bad_calibration", "The calibration text is too short.", "Choose a longer one, then retry.")
    broken = re.search(
        r".*(invalid magic|data is not within the file bounds|corrupted|HeaderTooLarge|Error while deseri).*", text
    )
    if broken:
        return StepError("bad_source", f"The source is broken: {broken.group(0).strip()[:300]}", "Fetch it again.")
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "nothing")
    return StepError(
        "tool_failed", f"{tool} ended with exit code {code}: {last.strip()[:300]}", "Look at the job's log."
    )


@contextmanager
def whole(path: Path, needed_bytes: int = 0) -> Iterator[Path]:
    """A path to write to; it gets its real name when everything is on the disk. What is left of a failed try goes.

    Raises StepError for a full disk whatever the tool said: llama-quantize calls it an "iostream error", and
    llama-perplexity does not look whether its file was written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if needed_bytes > shutil.disk_usage(path.parent).free:
        raise disk_full()
    draft = path.with_name(PARTIAL + path.name)
    _remove(draft)
    try:
        try:
            yield draft
        except StepError as error:
            if _is_full(path.parent):
                raise disk_full() from error
            raise
        if _is_full(path.parent):
            raise disk_full()
        _sync(draft)
        _remove(path)
        draft.rename(path)
        _sync(path.parent, inside=False)
    finally:
        _remove(draft)


def _is_full(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < LEAST_FREE_BYTES


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path, *, inside: bool = True) -> None:
    files = sorted(path.rglob("*")) if inside and path.is_dir() else []
    for name in [*files, path]:
        descriptor = os.open(name, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def ask(argv: Sequence[str], order: Mapping[str, Any], env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Have a child answer the order's golden prompts, one line of JSON behind RESULT each, and judge the answers."""
    import golden  # only the images whose programs answer carry it

    prompts = json.loads(Path(order["prompts"]).read_text(encoding="utf-8"))
    meter, answers = Meter("prompts", "prompts"), list[str]()
    meter.at(0, len(prompts))

    def heard(text: str) -> None:
        if text.startswith(RESULT):
            answers.append(json.loads(text.removeprefix(RESULT)))
            meter.at(len(answers), len(prompts))

    run(argv, heard, env={**(env or {}), "MODELYARD_JOB": json.dumps(order)})
    if len(answers) != len(prompts):
        raise StepError("tool_failed", f"{len(answers)} of {len(prompts)} prompts were answered.", "Look at the log.")
    found: dict[str, Any] = golden.summary(prompts, answers)
    return found


def answer(text: str) -> None:
    """Said by that child: one answer on a line of its own, and without commas, which may end a piece.

    In one call: a library's threads write their log to the same pipe at any time.
    """
    said = json.dumps(text).replace(",", "\\u002c")
    os.write(sys.stdout.fileno(), f"\n{RESULT}{said}\n".encode())


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def peak_memory_bytes() -> int:
    """The largest child so far, resident; Linux counts in KiB (getrusage(2))."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def read_texts(path: Path, least: int = 1) -> list[str]:
    """Paragraphs of a UTF-8 text file. Raises StepError for another encoding or too few of them."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise StepError(
            "bad_calibration", f"{path.name} is not UTF-8: byte {error.start}.", "Save the text as UTF-8, then retry."
        ) from error
    texts = [paragraph.strip() for paragraph in text.split("\n\n") if paragraph.strip()]
    if len(texts) < least:
        raise StepError(
            "bad_calibration", f"{path.name} has {len(texts)} paragraphs; {least} are needed.", "Choose a longer text."
        )
    return texts
