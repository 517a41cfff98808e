"""What llama-server's log lines say: stages of loading, buffer sizes, complaints.

Lines look like "0.00.491.161 I load_tensors:   CPU_Mapped model buffer size =    92.10 MiB" (the time and level are
absent in older builds and can be switched off). Sizes are printed at verbosity 4 only.
"""

import re
from collections.abc import Iterable

from webapp.engines.base import LogFact

MIB = 2**20

_PREFIX = re.compile(r"^(?:[\d.]+ (?P<level>[A-Z]) )?\s*")
_BUFFER = re.compile(
    r"(?P<device>[A-Za-z_]\w*(?:\[[\w.:\-]+\])?)\s+(?P<kind>model|KV|RS|output|compute)\s+buffer size\s*=\s*"
    r"(?P<mib>\d+(?:\.\d+)?)\s*MiB"
)
_LAYERS = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
_TERMS = {
    "model": "weights",
    "KV": "kv_cache",
    "RS": "recurrent_state",
    "output": "output_buffer",
    "compute": "compute_buffer",
}
# In the order they appear; the fraction is the place in this list.
_STAGES = (
    ("load_model: loading model", "opened", "opening the model file"),
    ("llama_model_loader: loaded meta data", "header", "reading metadata"),
    ("loading model tensors", "weights", "loading the weights"),
    ("constructing llama_context", "context", "allocating the KV cache"),
    ("warming up the model", "warm_up", "warming up"),
    ("load_model: initializing", "slots", "preparing the slots"),
    ("model loaded", "loaded", "model loaded"),
)
# Builds that log requests say the first; every question for metrics makes an idle server say the second.
_OUR_ASKING = re.compile(
    r"(?:request: GET /(?:v1/)?(?:health|metrics) \S* 200"
    r"|^(?:[\d.]+ [A-Z] )?srv\s+update_slots: all slots are idle)\s*$"
)
_MOST = 4096  # longer lines are text that users sent, never facts


def parse(line: str) -> LogFact | None:
    """The fact in one line, or None."""
    if len(line) > _MOST:
        return None
    prefix = _PREFIX.match(line)
    assert prefix is not None
    text = line[prefix.end() :].rstrip()
    level = prefix["level"]
    if level == "E" or (level is None and text.startswith(("error:", "error while "))):
        return LogFact("error", "error", text=text)
    buffer = _BUFFER.search(text)
    if buffer is not None:
        return _buffer(buffer)
    layers = _LAYERS.search(text)
    if layers is not None:
        return LogFact("progress", "offloaded", text=f"{layers[1]} of {layers[2]} layers on the GPU")
    for number, (marker, key, words) in enumerate(_STAGES, start=1):
        if marker in text:
            return LogFact("progress", key, fraction=number / len(_STAGES), text=words)
    return None


def is_our_asking(line: str) -> bool:
    """Whether the line only says that health or metrics were asked for, and answered."""
    return len(line) <= _MOST and _OUR_ASKING.search(line) is not None


def reported(lines: Iterable[str]) -> dict[str, int]:
    """Bytes per planner term that the last load in the log reported, over all devices.

    Weights and caches come in several lines that add up; a compute buffer that is printed again replaces itself.
    """
    sizes: dict[tuple[str, str], int] = {}
    for line in lines:
        fact = parse(line)
        if fact is None:
            continue
        if fact.key == "opened":
            sizes = {}
        elif fact.kind == "buffer" and fact.value_bytes is not None:
            place = (fact.key, fact.device or "")
            before = 0 if fact.replaces else sizes.get(place, 0)
            sizes[place] = before + fact.value_bytes
    totals: dict[str, int] = {}
    for (term, _device), size in sizes.items():
        totals[term] = totals.get(term, 0) + size
    return totals


def _buffer(found: re.Match[str]) -> LogFact:
    device, kind = found["device"], found["kind"]
    key = "repack" if device.endswith("_REPACK") else _TERMS[kind]
    size = round(float(found["mib"]) * MIB)
    # A compute buffer that is printed again is the same one in its new size.
    return LogFact("buffer", key, value_bytes=size, text=kind, device=device, replaces=key == "compute_buffer")
