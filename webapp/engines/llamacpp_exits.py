"""Why a llama-server container is not running, for people.

An exit code alone says little: 137 is a memory kill, a `docker kill`, a daemon restart or our own impatience
together. So the facts are asked in order of how sure they are: our own wish, what Docker knows, what the log says,
the code.
"""

import re
from collections.abc import Callable

from webapp.engines.base import ExitCode, ExitFacts, ExitReason

SIGNALS = {4: "an illegal instruction", 6: "abort", 7: "a bus error", 8: "an arithmetic error", 11: "a memory fault"}
_KILL, _TERM = 137, 143
_MOST_TEXT = 300


def explain(facts: ExitFacts) -> ExitReason:
    """The reason, never None: what cannot be told apart is `exited` with the last complaint of the log."""
    for judge in _JUDGES:
        reason = judge(facts)
        if reason is not None:
            return reason
    return _plain_exit(facts)


def _our_stop(facts: ExitFacts) -> ExitReason | None:
    if not facts.stop_requested:
        return None
    forced = " It did not end by itself in time and was killed." if facts.exit_code == _KILL else ""
    return ExitReason(ExitCode.STOPPED, f"Stopped because it was asked to.{forced}", "", retry=False)


def _host_memory(facts: ExitFacts) -> ExitReason | None:
    if facts.oom_killed:
        who = "The engine" if facts.exit_code in (_KILL, None) else "A process inside the container"
        return _out_of_memory(f"{who} used more memory than its limit and was killed by the kernel.", facts)
    if _HOST_ALLOCATION.search(facts.log_tail):
        return _out_of_memory("The engine could not get the host memory it asked for.", facts)
    return None


def _out_of_memory(message: str, facts: ExitFacts) -> ExitReason:
    advice = "Give it more memory, a shorter context, fewer slots, a q8_0 cache, or a smaller quantisation."
    return ExitReason(ExitCode.OUT_OF_MEMORY, message, advice, retry=facts.was_ready)


def _never_started(facts: ExitFacts) -> ExitReason | None:
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
            ExitCode.START_FAILED, f"Docker could not start the container: {detail}", "Look at the host's Docker.", True
        )
    if facts.exit_code is None:
        return ExitReason(ExitCode.START_FAILED, "The container was never started.", "Start it again.", True)
    return None


def _unhealthy(facts: ExitFacts) -> ExitReason | None:
    if not facts.health_failed:
        return None
    return ExitReason(
        ExitCode.UNHEALTHY,
        "It was running but no longer answered, so it was ended.",
        "It is started again. If this repeats, look at the log for what it was doing, and at the load of the host.",
        retry=True,
    )


def _daemon(facts: ExitFacts) -> ExitReason | None:
    if not facts.daemon_restarted or facts.exit_code not in (None, 0, _KILL, _TERM, 255):
        return None
    return ExitReason(
        ExitCode.DAEMON_RESTART,
        "Docker on the host was restarted and took the engine with it.",
        "It is started again by itself. Docker's live-restore setting keeps engines running through such restarts.",
        retry=True,
    )


def _gpu_memory(facts: ExitFacts) -> ExitReason | None:
    found = _GPU_MEMORY.search(facts.log_tail)
    if found is None:
        return None
    return ExitReason(
        ExitCode.GPU_OUT_OF_MEMORY,
        f"The GPU's memory did not suffice ({_line_around(facts.log_tail, found.start())}).",
        "Use a shorter context, fewer slots, fewer layers on the GPU, a smaller quantisation, or another GPU; "
        "see whether another program took memory on it.",
        retry=True,
    )


def _bad_option(facts: ExitFacts) -> ExitReason | None:
    found = _OPTION.search(facts.log_tail)
    if found is None:
        return None
    return ExitReason(
        ExitCode.BAD_OPTION,
        f"llama-server did not accept its options: {_line_around(facts.log_tail, found.start())}.",
        "Change the option, or use an image whose llama-server knows it.",
        retry=False,
    )


def _bad_model(facts: ExitFacts) -> ExitReason | None:
    for pattern, message, advice in _MODEL_ERRORS:
        found = re.search(pattern, facts.log_tail)
        if found is not None:
            detail = _line_around(facts.log_tail, found.start())
            return ExitReason(ExitCode.MODEL_REFUSED, f"{message} ({detail}).", advice, retry=False)
    return None


def _from_outside(facts: ExitFacts) -> ExitReason | None:
    names = {_KILL: "SIGKILL", _TERM: "SIGTERM"}
    name = names.get(facts.exit_code or 0)
    if name is None:
        return None
    return ExitReason(
        ExitCode.KILLED,
        f"Somebody else ended it with {name}; it was neither a memory limit nor Modelyard.",
        "It is started again. Stop it in Modelyard if it is not wanted.",
        retry=True,
    )


def _plain_exit(facts: ExitFacts) -> ExitReason:
    if facts.exit_code == 0:
        message = "It ended by itself, without an error."
    else:
        signal = SIGNALS.get((facts.exit_code or 0) - 128)
        message = f"It ended with exit code {facts.exit_code}" + (f", which means {signal}." if signal else ".")
    complaint = _last_complaint(facts.log_tail)
    if complaint:
        message = f"{message[:-1]}; its last complaint: {complaint}."
    advice = "Look at the last lines of its log."
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


def _last_complaint(log: str) -> str:
    lines = [line for line in log.splitlines()[-50:] if _COMPLAINT.search(line)]
    return _shorten(_STAMP.sub("", lines[-1])).rstrip(".") if lines else ""


_STAMP = re.compile(r"^[\d.]+ [A-Z] ")
_COMPLAINT = re.compile(r"^[\d.]+ E |\b(?:error|abort|assert|fatal|terminate called|exception)", re.IGNORECASE)
_HOST_ALLOCATION = re.compile(
    r"std::bad_alloc|unable to allocate (?:CPU|Host)\w* buffer|failed to allocate (?:CPU|Host)\w* buffer"
    r"|ggml_aligned_malloc: insufficient memory|cannot allocate memory",
    re.IGNORECASE,
)
_GPU_MEMORY = re.compile(
    r"CUDA(?: error)?:? out of memory|cudaMalloc failed: out of memory|hipMalloc failed: out of memory"
    r"|CUDA error: out of memory|ROCm error: out of memory|ErrorOutOfDeviceMemory|OUT_OF_DEVICE_MEMORY"
    r"|allocating [\d.]+ MiB on device \d+: \w+ failed"
    r"|unable to allocate (?:CUDA|ROCm|Vulkan|SYCL)\w* buffer|failed to allocate (?:CUDA|ROCm|Vulkan|SYCL)\w* buffer"
)
_OPTION = re.compile(
    r"error: invalid argument|error while handling (?:argument|environment variable)|error: unknown value for"
    r"|error: invalid value for|Unsupported cache type|quantized V cache was requested|requires flash_attn"
    r"|error: [Ii]nvalid \w"
)
_AGAIN = "Fetch the file again; its checksum tells whether it is complete."
_MODEL_ERRORS: tuple[tuple[str, str, str], ...] = (
    (r"invalid magic characters", "The file is not a GGUF model", "Choose the .gguf file itself, or fetch it again."),
    (
        r"this GGUF file is version|GGUFv1 is no longer supported",
        "The image does not support the file's GGUF version",
        "Use a newer image, or convert the model again.",
    ),
    (
        r"is not within the file bounds|corrupted or incomplete|failed to read (?:magic|header|key-value|tensor info)",
        "The model file is cut short",
        _AGAIN,
    ),
    (
        r"unknown (?:model|pre-tokenizer|tokenizer)",
        "This llama.cpp does not know the model's architecture or tokenizer",
        "Use a newer image, or another conversion of the model.",
    ),
    (
        r"missing tensor|tensor '[^']*' not found|wrong number of tensors|wrong shape|key not found in model"
        r"|missing key .* in GGUF split",
        "The model file lacks something that its architecture needs",
        "Use another conversion of the model, or a newer image.",
    ),
    (
        r"failed to open GGUF file|failed to open .*: No such file",
        "The model file could not be opened",
        "See whether the artifact is on this host; fetch it again.",
    ),
    (
        r"error loading model|failed to load model|exiting due to model loading error",
        "llama.cpp could not load the model",
        "Look at the log. A fresh download, another quantisation or a newer image are worth a try.",
    ),
)
_IMAGE_GONE = "The image is fetched again. Without access to its registry, load or build it on the host."
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
        "Free space on the host: unused artifacts and images show what they take.",
        True,
    ),
    (
        r"unknown or invalid runtime|unresolvable CDI devices|nvidia-container-cli|failed to inject CDI",
        ExitCode.START_FAILED,
        "The GPU could not be passed into the container",
        "Look at the GPU driver and the container toolkit on the host.",
        True,
    ),
)

_JUDGES: tuple[Callable[[ExitFacts], ExitReason | None], ...] = (
    _our_stop,
    _never_started,
    _gpu_memory,
    _host_memory,
    _unhealthy,
    _daemon,
    _bad_option,
    _bad_model,
    _from_outside,
)
