"""What vLLM's log lines say: stages of loading, sizes, complaints. Texts of vLLM 0.32 and 0.33."""

import re

from webapp.engines.base import LogFact

GIB = 2**30
_MOST = 4096  # longer lines are text that users sent, never facts
_SHARDS = re.compile(r"Loading safetensors checkpoint shards:\s+(\d+)% Completed")
_WEIGHTS = re.compile(r"Model loading took ([\d.]+) GiB")
# On cards it is what was left; on processors what was asked for, of what there is.
_CACHE = re.compile(r"(?:Available KV cache memory: |Explicitly set \()([\d.]+)(?: GiB|/[\d.]+\) GiB for KV cache)")
_ERROR = re.compile(r"(?:^|\s)(?:ERROR \d|(?:ValueError|RuntimeError|OSError|AssertionError): )")
# In the order they appear. Reading weights moves between its own stage and the next. The version stands beside a logo
# of blocks, or in a plain line where the logo is turned off.
_STAGES = (
    ("█  version ", "program", "starting the program"),
    ("Resolved architecture", "architecture", "inspecting the model"),
    ("Initializing a V1 LLM engine", "engine", "starting the engine"),
    ("Starting to load model", "weights", "loading the weights"),
    ("Loading weights took", "weights_read", "weights loaded"),
    ("Compiling a graph", "compile", "compiling"),
    ("KV cache size:", "cache", "allocating the KV cache"),
    ("Capturing CUDA graphs", "graphs", "capturing CUDA graphs"),
    ("init engine (profile", "warm_up", "warmed up"),
    ("Application startup complete", "loaded", "model loaded"),
)
_OUR_ASKING = re.compile(r'"GET /(?:health|metrics) HTTP/1\.1" 200(?: OK)?\s*$')
_READING = next(number for number, (_marker, key, _words) in enumerate(_STAGES, start=1) if key == "weights")
_PLAIN_VERSION = "vLLM server version"


def parse(line: str) -> LogFact | None:
    """The fact in one line, or None."""
    if len(line) > _MOST:
        return None
    for pattern, term in ((_WEIGHTS, "weights"), (_CACHE, "kv_cache")):
        size = pattern.search(line)
        if size is not None:
            return LogFact("buffer", term, value_bytes=round(float(size[1]) * GIB), device="vllm")
    shards = _SHARDS.search(line)
    if shards is not None:
        part = (_READING + int(shards[1]) / 100) / len(_STAGES)
        return LogFact("progress", "weights", fraction=part, text=f"loading the weights, {shards[1]} %")
    for number, (marker, key, words) in enumerate(_STAGES, start=1):
        if marker in line or (key == "program" and _PLAIN_VERSION in line):
            return LogFact("progress", key, fraction=number / len(_STAGES), text=words)
    if _ERROR.search(line):
        return LogFact("error", "error", text=line.strip())
    return None


def is_our_asking(line: str) -> bool:
    """Whether the line only says that health or metrics were asked for, and answered."""
    return len(line) <= _MOST and _OUR_ASKING.search(line) is not None
