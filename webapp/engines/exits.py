"""Why an engine's container is not running, for people; each engine brings the words of its own log.

An exit code alone says little: 137 is a memory kill, a `docker kill`, a daemon restart or our own impatience
together, and 0 is what a server ends with after `docker stop`. So the facts are asked in order of how sure they are:
our own request, what Docker knows, what the log says, the code. Within a log, a line that names one thing goes before
one that only says that loading failed, wherever the two stand: programs print the cause first, its consequences last.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from webapp.engines.base import ExitCode, ExitFacts, ExitReason

SIGNALS = {
    4: "illegal instruction (SIGILL)", 6: "abort (SIGABRT)", 7: "bus error (SIGBUS)",
    8: "floating-point exception (SIGFPE)", 11: "segmentation fault (SIGSEGV)",
}  # fmt: skip
_KILL, _TERM = 137, 143
_SIGNAL_NAMES = {_KILL: "SIGKILL", _TERM: "SIGTERM"}
_AFTER_SIGNAL = (0, 130, 131, _KILL, _TERM)
_MOST_TEXT = 300
# Between a cause and the end stand two tracebacks, of the process that failed and of the one that waited for it.
_MOST_LINES = 150


@dataclass(frozen=True, slots=True)
class Words:
    """How one engine complains. `model_errors`: pattern, message, advice; the first of the tuple that is found counts.

    What is quoted is the line of the pattern's group `line`, or of its beginning.
    """

    program: str
    gpu_memory: re.Pattern[str]
    host_memory: re.Pattern[str]
    option: re.Pattern[str]
    model_errors: tuple[tuple[str, str, str], ...]
    memory_advice: str
    gpu_advice: str
    # Pattern, message and advice for a failed load that none of `model_errors` explains.
    load_failed: tuple[str, str, str] | None = None
    # Lines that only follow from what was printed before them.
    consequence: re.Pattern[str] | None = None
    # What it prints when it ends because of a signal.
    stopped: re.Pattern[str] | None = None
    # Its one group is the name of what this build lacks for this hardware.
    kernel: re.Pattern[str] | None = None
    kernel_advice: str = ""


def explain(facts: ExitFacts, words: Words) -> ExitReason:
    """The reason, never None: what cannot be told apart is `exited` with the last complaint of the log."""
    for judge in _JUDGES:
        reason = judge(facts, words)
        if reason is not None:
            return reason
    return _plain_exit(facts, words)


def _our_stop(facts: ExitFacts, words: Words) -> ExitReason | None:
    if not facts.stop_requested:
        return None
    forced = " It did not stop in time and was killed (SIGKILL)." if facts.exit_code == _KILL else ""
    return ExitReason(ExitCode.STOPPED, f"Stopped on request.{forced}", "", retry=False)


def _shut_down(facts: ExitFacts, words: Words) -> ExitReason | None:
    """Everything was stopped. What died by itself in that moment has a code or a flag that says so."""
    if not facts.shut_down or facts.exit_code not in _AFTER_SIGNAL or facts.oom_killed:
        return None
    return ExitReason(
        ExitCode.SHUT_DOWN,
        "Stopped with Modelyard itself, by `make down`.",
        "It restarts automatically.",
        retry=True,
    )


def _sent_signal(facts: ExitFacts, words: Words) -> ExitReason | None:
    """Docker remembers a stop or kill that was not ours, and the code is one that programs end with after it."""
    if (
        not facts.signal_sent
        or facts.exit_code not in _AFTER_SIGNAL
        or facts.health_failed
        or facts.daemon_restarted
        or facts.oom_killed
    ):
        return None
    return _stopped_from_outside(facts)


def _host_memory(facts: ExitFacts, words: Words) -> ExitReason | None:
    if facts.oom_killed:
        who = "The engine" if facts.exit_code in (_KILL, None) else "A process inside the container"
        return _out_of_memory(f"{who} was OOM-killed: it exceeded the memory limit of the container.", facts, words)
    if words.host_memory.search(facts.log_tail):
        return _out_of_memory("Out of memory: the engine could not allocate host memory.", facts, words)
    return None


def _out_of_memory(message: str, facts: ExitFacts, words: Words) -> ExitReason:
    return ExitReason(ExitCode.OUT_OF_MEMORY, message, words.memory_advice, retry=facts.was_ready)


def _never_started(facts: ExitFacts, words: Words) -> ExitReason | None:
    """Docker refused to create or start the container, or the entry point could not be run (125-127)."""
    if not facts.error_text and facts.exit_code not in (None, 125, 126, 127):
        return None
    text = facts.error_text or facts.log_tail
    for pattern, code, message, advice, retry in _START_ERRORS:
        if re.search(pattern, text, re.IGNORECASE):
            return ExitReason(code, f"{message} ({_shorten(text)})", advice, retry)
    if facts.error_text:
        detail = _shorten(facts.error_text)
        return ExitReason(
            ExitCode.START_FAILED, f"Docker could not start the container: {detail}", "Check Docker on the host.", True
        )
    if facts.exit_code is None:
        return ExitReason(
            ExitCode.START_FAILED, "The container was never started.", "Start the deployment again.", True
        )
    return None


def _unhealthy(facts: ExitFacts, words: Words) -> ExitReason | None:
    if not facts.health_failed:
        return None
    return ExitReason(
        ExitCode.UNHEALTHY,
        "Health checks failed while it was running, so the container was killed.",
        "It restarts automatically. If this repeats, check the log for what it was doing, and the load on the host.",
        retry=True,
    )


def _daemon(facts: ExitFacts, words: Words) -> ExitReason | None:
    if not facts.daemon_restarted or facts.exit_code not in (None, 0, _KILL, _TERM, 255):
        return None
    return ExitReason(
        ExitCode.DAEMON_RESTART,
        "Docker on the host was restarted, which stopped the engine.",
        "It restarts automatically. Docker's live-restore setting keeps engines running through such restarts.",
        retry=True,
    )


def _gpu_memory(facts: ExitFacts, words: Words) -> ExitReason | None:
    found = words.gpu_memory.search(facts.log_tail)
    if found is None:
        return None
    return ExitReason(
        ExitCode.GPU_OUT_OF_MEMORY,
        f"Out of GPU memory ({_line_around(facts.log_tail, found.start())}).",
        words.gpu_advice,
        retry=True,
    )


def missing_kernel(text: str, words: Words) -> ExitReason | None:
    """The log's text says that the program has no code for this on this hardware; None when it does not."""
    found = words.kernel.search(text) if words.kernel is not None else None
    if found is None:
        return None
    return ExitReason(
        ExitCode.KERNEL_MISSING,
        f"{words.program} has no kernel for this model on this processor or GPU (it lacks {found[1]}).",
        words.kernel_advice,
        retry=False,
    )


def _bad_option(facts: ExitFacts, words: Words) -> ExitReason | None:
    found = None if facts.was_ready else words.option.search(facts.log_tail)
    if found is None:
        return None
    return ExitReason(
        ExitCode.BAD_OPTION,
        f"{words.program} rejected its command-line options: {_line_around(facts.log_tail, found.start())}.",
        f"Change the option, or use an image whose {words.program} supports it.",
        retry=False,
    )


def _bad_model(facts: ExitFacts, words: Words) -> ExitReason | None:
    """Only of one that never got ready: what was loaded once can be loaded."""
    if facts.was_ready:
        return None
    for pattern, message, advice in words.model_errors:
        found = re.search(pattern, facts.log_tail)
        if found is not None:
            at = found.start("line") if "line" in found.re.groupindex and found["line"] else found.start()
            detail = _line_around(facts.log_tail, at)
            return ExitReason(ExitCode.MODEL_REFUSED, f"{message} ({detail}).", advice, retry=False)
    if words.load_failed is None:
        return None
    pattern, message, advice = words.load_failed
    found = re.search(pattern, facts.log_tail)
    if found is None:
        return None
    detail = _last_complaint(facts.log_tail, words) or _line_around(facts.log_tail, found.start())
    return ExitReason(ExitCode.MODEL_REFUSED, f"{message} ({detail}).", advice, retry=False)


def _from_outside(facts: ExitFacts, words: Words) -> ExitReason | None:
    """What the code says, or the program itself: a server that handles SIGTERM ends with 0."""
    says_so = words.stopped is not None and words.stopped.search(_last_lines(facts.log_tail, 10))
    if facts.exit_code in (_KILL, _TERM) or (facts.exit_code == 0 and says_so):
        return _stopped_from_outside(facts)
    return None


def _stopped_from_outside(facts: ExitFacts) -> ExitReason:
    name = facts.signal_sent or _SIGNAL_NAMES.get(facts.exit_code or 0, "SIGTERM")
    command = "docker kill" if name == "SIGKILL" else "docker stop"
    return ExitReason(
        ExitCode.KILLED,
        f"The container was stopped externally ({command} or similar: {name}, exit code {facts.exit_code}): not an OOM "
        "kill and not requested by Modelyard.",
        "It restarts automatically. To keep it down, stop the deployment in Modelyard.",
        retry=True,
    )


def _plain_exit(facts: ExitFacts, words: Words) -> ExitReason:
    if facts.exit_code == 0:
        message = "The engine exited on its own (code 0)."
    else:
        signal = SIGNALS.get((facts.exit_code or 0) - 128)
        message = f"The engine exited with code {facts.exit_code}" + (f": {signal}." if signal else ".")
    complaint = _last_complaint(facts.log_tail, words)
    if complaint:
        message = f"{message[:-1]}; last error: {complaint}."
    advice = "Check the last lines of its log."
    if facts.exit_code == 128 + 4:
        advice = "This CPU lacks instructions that the image was built for; use another image."
    return ExitReason(ExitCode.EXITED, message, advice, retry=facts.exit_code != 128 + 4)


def _shorten(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _MOST_TEXT else words[: _MOST_TEXT - 1] + "…"


def _line_around(text: str, at: int) -> str:
    start, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
    line = text[start : end if end >= 0 else len(text)]
    return _shorten(_STAMP.sub("", line).strip()).rstrip(".")


def _last_complaint(log: str, words: Words) -> str:
    """The last one that is no mere consequence of another; a consequence where there is nothing else."""
    lines = [line for line in log.splitlines()[-_MOST_LINES:] if _COMPLAINT.search(line)]
    causes = [line for line in lines if words.consequence is None or not words.consequence.search(line)]
    told = causes or lines
    return _shorten(_STAMP.sub("", told[-1])).rstrip(".") if told else ""


def _last_lines(log: str, count: int) -> str:
    return "\n".join(log.splitlines()[-count:])


_STAMP = re.compile(r"^[\d.]+ [A-Z] ")
_COMPLAINT = re.compile(
    r"^[\d.]+ E |\b(?:error|abort|assert|fatal|terminate called|exception)|[a-z](?:error|exception):", re.IGNORECASE
)
# A copy is kept for as long as a deployment uses it, and what is there is not fetched once more.
FETCH_AGAIN = (
    "Delete this deployment, then the file's copy on this host (on the model's page), and download it again: its "
    "checksum shows whether it is complete."
)
_IMAGE_GONE = "The image is pulled again. Without access to its registry, load or build it on the host."
_START_ERRORS: tuple[tuple[str, ExitCode, str, str, bool], ...] = (
    (r"no such image", ExitCode.IMAGE_MISSING, "The image is not on the host", _IMAGE_GONE, True),
    (
        r"pull access denied|repository does not exist|manifest (?:unknown|for .* not found)|not found: manifest",
        ExitCode.IMAGE_MISSING,
        "The registry does not have that image",
        "Correct the image's name, or build it on the host.",
        False,
    ),
    (
        r"bind source path does not exist|cannot access path .*/_data",
        ExitCode.START_FAILED,
        "The model's files are no longer on the host",
        "Copy them there again, or choose another model.",
        False,
    ),
    (
        r"executable file not found|no such file or directory.*exec|exec.*no such file or directory|exec format error"
        r"|exec:.*permission denied",
        ExitCode.START_FAILED,
        "The image's program could not be started",
        "The image is not the right one for this engine or this kind of CPU; choose another.",
        False,
    ),
    (
        r"could not select device driver",
        ExitCode.START_FAILED,
        "Docker on the host cannot pass GPUs into containers",
        "Install the NVIDIA (or AMD) container toolkit on the host.",
        False,
    ),
    (
        r"no space left on device",
        ExitCode.START_FAILED,
        "The host's disk is full",
        "Free space on the host: the page Models > Disk lists files that nothing uses, `docker system df` images.",
        True,
    ),
    (
        r"unknown or invalid runtime|unresolvable CDI devices|nvidia-container-cli|failed to inject CDI",
        ExitCode.START_FAILED,
        "The GPU could not be passed into the container",
        "Check the GPU driver and the container toolkit on the host.",
        True,
    ),
)

_JUDGES: tuple[Callable[[ExitFacts, Words], ExitReason | None], ...] = (
    _our_stop,
    _shut_down,
    _never_started,
    _sent_signal,
    _gpu_memory,
    _host_memory,
    _unhealthy,
    _daemon,
    lambda facts, words: missing_kernel(facts.log_tail, words),
    _bad_option,
    _bad_model,
    _from_outside,
)
