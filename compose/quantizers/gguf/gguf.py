"""Makes and judges GGUF files with llama.cpp's own tools, one step of a job a run; steps.py has the protocol.

Orders (paths inside the container; sizes in tokens):

    convert   {"step": "convert", "source": "/models/7", "out": "/job/f16.gguf", "type": "f16" | "bf16" | "f32",
               "name": "what the file says it is"}
    calibrate {"step": "calibrate", "model": ..., "text": ..., "out": "/job/imatrix.gguf", "context": 512, "chunks": 0}
    quantise  {"step": "quantise", "model": ..., "imatrix": ... | null, "out": ..., "type": "Q4_K_M",
               "requantise": false}
    logits    {"step": "logits", "model": ..., "text": ..., "out": "/job/base.kld", "context": 512, "chunks": 0}
    judge     {"step": "judge", "model": ..., "base": "/job/base.kld" | null, "text": ..., "context": 512, "chunks": 0}
    verify    like judge; proves that the file loads
    speed     {"step": "speed", "model": ..., "prompt": 256, "generate": 64, "streams": [1, 8]}
    prompts   {"step": "prompts", "model": ..., "prompts": "/job/prompts.json", "tokens": 128}

`chunks` 0 means the whole text. `threads` may stand in each.
"""

import json
import os
import re
import sys
import time
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import steps
from steps import Meter, StepError, run, whole

TOOLS = Path(os.environ.get("MODELYARD_GGUF_TOOLS", "/opt/llama.cpp/bin"))
CONVERTER = Path(os.environ.get("MODELYARD_GGUF_CONVERTER", "/opt/llama.cpp/convert_hf_to_gguf.py"))

# The longest prompt has 4,000 characters.
CHAT_TOKENS = 8192
SOURCE = Path(__file__).with_name("llama-cpp-source.lock")

WRITING = re.compile(r"Writing:\s+(\d+)%")
TENSOR = re.compile(r"^\[\s*(\d+)/\s*(\d+)\]\s+(\S+)")
FALLBACK = re.compile(r"(\d+) of (\d+) tensor\(s\) required fallback")
CHUNKS = re.compile(r"(?:over|calculating perplexity over) (\d+) chunks")
CHUNK = re.compile(r"^\s*\[?(\d+)\]?[\s\]]*(-?[\d.]+)")
PERPLEXITY = re.compile(r"Final estimate: PPL = ([\d.]+) \+/- ([\d.]+)")
KLD_LINES = {
    "perplexity": re.compile(r"Mean PPL\(Q\)\s*:\s*([\d.]+)\s*±\s*([\d.]+)"),
    "base_perplexity": re.compile(r"Mean PPL\(base\)\s*:\s*([\d.]+)\s*±\s*([\d.]+)"),
    "kl_divergence": re.compile(r"Mean\s+KLD:\s*(-?[\d.]+)\s*±\s*([\d.]+)"),
    "kl_divergence_p99": re.compile(r"99\.0%\s+KLD:\s*(-?[\d.]+)"),
    "top1_agreement_percent": re.compile(r"Same top p:\s*([\d.]+)\s*±\s*([\d.]+)"),
}


def convert(order: dict[str, Any]) -> dict[str, Any]:
    """A folder of safetensors becomes one 16- or 32-bit GGUF file."""
    source, out = Path(order["source"]), Path(order["out"])
    weights = sum(path.stat().st_size for path in source.glob("*.safetensors"))
    if not weights:
        raise StepError("bad_source", f"{source.name} holds no safetensors files.", "Fetch the model again.")
    meter = Meter("convert", "percent")

    def heard(text: str) -> None:
        found = WRITING.search(text)
        if found:
            meter.at(int(found.group(1)), 100)

    with whole(out, needed_bytes=weights) as draft:
        argv = [
            sys.executable,
            str(CONVERTER),
            str(source),
            "--outtype",
            order.get("type", "f16"),
            "--outfile",
            str(draft),
            *(["--model-name", order["name"]] if order.get("name") else []),
        ]
        run(argv, heard)
    return described(out)


def calibrate(order: dict[str, Any]) -> dict[str, Any]:
    """The importance matrix of a model on a text."""
    steps.read_texts(Path(order["text"]))
    out = Path(order["out"])
    with whole(out) as draft:
        argv = [tool("llama-imatrix"), "-m", order["model"], "-f", order["text"], "-o", f"{draft}", *_size(order)]
        text = run([*argv, "--output-format", "gguf"], ChunkMeter("calibrate").hear)
    return {**described(out), **_perplexity(text)}


def quantise(order: dict[str, Any]) -> dict[str, Any]:
    """One GGUF file becomes a smaller one."""
    model, out = Path(order["model"]), Path(order["out"])
    meter = Meter("quantise", "tensors")
    fallbacks: list[int] = []

    def heard(text: str) -> None:
        found = TENSOR.match(text)
        if found:
            meter.at(int(found.group(1)), int(found.group(2)), found.group(3))
        fallback = FALLBACK.search(text)
        if fallback:
            fallbacks.append(int(fallback.group(1)))

    matrix = ["--imatrix", order["imatrix"]] if order.get("imatrix") else []
    again = ["--allow-requantize"] if order.get("requantise") else []
    with whole(out) as draft:
        argv = [tool("llama-quantize"), *again, *matrix, str(model), str(draft), order["type"], str(_threads(order))]
        run(argv, heard)
    return {**described(out), "fallback_tensors": fallbacks[-1] if fallbacks else 0}


def logits(order: dict[str, Any]) -> dict[str, Any]:
    """What the 16-bit parent expects at every place of the text, for `judge` to compare with."""
    out = Path(order["out"])
    with whole(out) as draft:
        argv = [tool("llama-perplexity"), "-m", order["model"], "-f", order["text"], *_size(order)]
        text = run([*argv, "--kl-divergence-base", str(draft)], ChunkMeter("logits").hear)
    return {**described(out), **_perplexity(text)}


def judge(order: dict[str, Any]) -> dict[str, Any]:
    """Perplexity on the text and, against the parent's logits, KL divergence and top-1 agreement."""
    base = order.get("base")
    argv = [tool("llama-perplexity"), "-m", order["model"], *_size(order)]
    if not base:
        text = run([*argv, "-f", order["text"]], ChunkMeter(order["step"]).hear)
        return {**_perplexity(text), "tool": version()}
    text = run([*argv, "--kl-divergence-base", base, "--kl-divergence"], ChunkMeter("judge").hear)
    found = {name: pattern.search(text) for name, pattern in KLD_LINES.items()}
    missing = [name for name, match in found.items() if match is None]
    if missing:
        raise StepError("tool_failed", f"llama-perplexity did not say {', '.join(missing)}.", "Look at the job's log.")
    result: dict[str, Any] = {"tool": version()}
    for name, match in found.items():
        assert match is not None
        result[name] = float(match.group(1))
        if match.re.groups > 1:
            result[f"{name}_error"] = float(match.group(2))
    return result


def verify(order: dict[str, Any]) -> dict[str, Any]:
    """The file loads and makes sense of a text."""
    return judge({**order, "base": None})


def speed(order: dict[str, Any]) -> dict[str, Any]:
    """Prompt and decode tokens per second with so many streams at once, load time and peak resident memory."""
    prompt, generate = int(order.get("prompt", 256)), int(order.get("generate", 64))
    streams = [int(count) for count in order.get("streams", [1, 8])]
    meter, began = Meter("speed", "runs"), time.monotonic()
    loaded: list[float] = []
    rows: list[dict[str, Any]] = []

    def heard(text: str) -> None:
        if not loaded and "n_kv_max" in text:
            loaded.append(time.monotonic() - began)
        if text.startswith("{"):
            rows.append(json.loads(text))
            meter.at(len(rows), len(streams))

    context = max(streams) * (prompt + generate)
    argv = [tool("llama-batched-bench"), "-m", order["model"], "-c", str(context), "-npp", str(prompt)]
    argv += ["-ntg", str(generate), "-npl", ",".join(map(str, streams)), "-t", str(_threads(order))]
    run([*argv, "--output-format", "jsonl"], heard)
    measured = [
        {"streams": row["pl"], "prompt_per_s": round(row["speed_pp"], 2), "decode_per_s": round(row["speed_tg"], 2)}
        for row in rows
    ]
    load_s = round(loaded[0], 3) if loaded else None
    return {"speed": measured, "load_s": load_s, "peak_memory_bytes": steps.peak_memory_bytes()}


def prompts(order: dict[str, Any]) -> dict[str, Any]:
    """How many golden prompts are answered as expected, each asked as a chat without chance."""
    library = os.environ.get("MODELYARD_GGUF_SERVER", "/opt/xllamacpp")
    found = steps.ask([sys.executable, __file__, "--answer"], order, env={"PYTHONPATH": library})
    served = [one.version for one in distributions(path=[library]) if one.name == "xllamacpp"]
    tool_name = f"llama.cpp of xllamacpp {served[0]}" if served else "llama.cpp"
    return {**found, "tool": tool_name, "peak_memory_bytes": steps.peak_memory_bytes()}


def _answer(order: dict[str, Any]) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.warmup = order["model"], CHAT_TOKENS, 1, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads(order)
    server = xllamacpp.Server(params)
    for one in json.loads(Path(order["prompts"]).read_text(encoding="utf-8")):
        said = server.handle_chat_completions(
            {
                "messages": [{"role": "user", "content": one["prompt"]}],
                "max_tokens": int(order["tokens"]),
                "temperature": 0,
                "seed": 0,
            }
        )
        steps.answer((said.get("choices") or [{}])[0].get("message", {}).get("content") or "")
    # The library's own end waits for its threads.
    sys.stdout.flush()
    os._exit(0)


class ChunkMeter:
    """Follows `[1]56.9,[2]45.5` or the numbered lines of the KL table until the number of chunks that was announced."""

    def __init__(self, step: str) -> None:
        self._meter = Meter(step, "chunks")
        self._total = 0

    def hear(self, text: str) -> None:
        announced = CHUNKS.search(text)
        if announced:
            self._total = int(announced.group(1))
        found = CHUNK.match(text)
        if found and 0 < int(found.group(1)) <= self._total:
            self._meter.at(int(found.group(1)), self._total)


def described(path: Path) -> dict[str, Any]:
    return {"file": path.name, "size_bytes": path.stat().st_size, "sha256": steps.sha256(path), "tool": version()}


def version() -> str:
    """Whose llama.cpp this is: the package that carried its source."""
    found = re.search(r"^llama-cpp-python==([\w.]+)", SOURCE.read_text(), re.MULTILINE) if SOURCE.exists() else None
    return f"llama.cpp of llama-cpp-python {found.group(1)}" if found else "llama.cpp"


def tool(name: str) -> str:
    return str(TOOLS / name)


def _perplexity(text: str) -> dict[str, Any]:
    found = PERPLEXITY.search(text)
    return {"perplexity": float(found.group(1)), "perplexity_error": float(found.group(2))} if found else {}


def _size(order: dict[str, Any]) -> list[str]:
    chunks = int(order.get("chunks", 0))
    argv = ["-c", str(int(order.get("context", 512))), "-t", str(_threads(order))]
    return [*argv, "--chunks", str(chunks)] if chunks else argv


def _threads(order: dict[str, Any]) -> int:
    return int(order.get("threads") or len(os.sched_getaffinity(0)))


if __name__ == "__main__":
    if "--answer" in sys.argv:
        _answer(json.loads(os.environ["MODELYARD_JOB"]))
    each = (convert, calibrate, quantise, logits, judge, verify, speed, prompts)
    sys.exit(steps.main({step.__name__: step for step in each}))
