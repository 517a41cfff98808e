"""AWQ, GPTQ, INT8 and FP8 files by llm-compressor, one step of a job a run; steps.py has the protocol.

    quantise  {"step": "quantise", "source": "/models/7", "out": "/job/out", "method": "awq" | "gptq" | "int8" | "fp8",
               "bits": 4, "group_size": 128, "symmetric": true, "text": "/models/.../calibration.txt" | null,
               "samples": 128, "length": 512, "ignore": ["lm_head"], "grid": 20}
    judge     {"step": "judge", "model": "/job/out", "base": "/models/7" | null, "text": ..., "context": 512,
               "chunks": 16}
    verify    like judge; proves that the folder loads
    prompts   {"step": "prompts", "model": "/job/out", "prompts": "/job/prompts.json", "tokens": 128}
    check     {"step": "check", "source": "/models/7", "group_size": 128, "ignore": ["lm_head"]}

The result is a folder in the compressed-tensors format with tokenizer and configuration. Nothing is fetched, no code of
the model's own is run.
"""

import json
import os
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import steps
from steps import Meter, StepError

METHODS = ("awq", "gptq", "int8", "fp8")
PIECE = re.compile(r"^\[(\d+)/(\d+)\]$")
LAYER = re.compile(r"\((\d+)/(\d+)\): (Calibrating|Propagating|Compressing)")


def check(order: dict[str, Any]) -> dict[str, Any]:
    """Which layers a group size does not divide; no weight is loaded."""
    from safetensors import safe_open

    size, ignored = int(order["group_size"]), order.get("ignore", ["lm_head"])
    odd = []
    for path in sorted(Path(order["source"]).glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118  it is no dict
                shape = file.get_slice(name).get_shape()
                linear = len(shape) == 2 and name.endswith("_proj.weight")
                if linear and shape[1] % size and not any(word in name for word in ignored):
                    odd.append(f"{name} {shape[1]}")
    return {"indivisible": odd[:20], "count": len(odd)}


def quantise(order: dict[str, Any]) -> dict[str, Any]:
    """Runs itself as a child, so that the tool's own words on both streams become progress."""
    source, out = Path(order["source"]), Path(order["out"])
    if order.get("method") not in METHODS:
        raise StepError(
            "bad_job", f"The method {order.get('method')!r} is not one of {', '.join(METHODS)}.", "Report this."
        )
    weights = sum(path.stat().st_size for path in source.glob("*.safetensors"))
    if not weights:
        raise StepError("bad_source", f"{source.name} holds no safetensors files.", "Fetch the model again.")
    if order.get("text"):
        steps.read_texts(Path(order["text"]), least=4)
    meter = Meter("quantise", "layers")

    def heard(text: str) -> None:
        found = LAYER.search(text)
        if found:
            meter.at(int(found.group(1)), int(found.group(2)), found.group(3))

    with steps.whole(out, needed_bytes=weights // 2) as draft:
        child = [sys.executable, __file__, "--child"]
        steps.run(child, heard, env={"MODELYARD_JOB": json.dumps({**order, "out": str(draft)})})
    files = [
        {"name": path.name, "size_bytes": path.stat().st_size, "sha256": steps.sha256(path)}
        for path in sorted(out.iterdir())
    ]
    config = json.loads((out / "config.json").read_text())
    return {
        "files": files,
        "tool": f"llmcompressor {version('llmcompressor')}",
        "format": config.get("quantization_config", {}).get("quant_method", ""),
        "peak_memory_bytes": steps.peak_memory_bytes(),
    }


def judge(order: dict[str, Any]) -> dict[str, Any]:
    """Perplexity on the text and, against the parent, KL divergence and top-1 agreement; cut and counted as
    llama-perplexity does: pieces of `context` tokens, of which the second half is judged."""
    steps.read_texts(Path(order["text"]))
    meter = Meter(order["step"], "chunks")
    said: list[str] = []

    def heard(text: str) -> None:
        found = PIECE.match(text)
        if found:
            meter.at(int(found.group(1)), int(found.group(2)))
        if text.startswith(steps.RESULT):
            said.append(text.removeprefix(steps.RESULT))

    steps.run([sys.executable, __file__, "--judge"], heard, env={"MODELYARD_JOB": json.dumps(order)})
    if not said:
        raise StepError("tool_failed", "Nothing was judged.", "Look at the job's log.")
    return {**json.loads(said[-1]), "peak_memory_bytes": steps.peak_memory_bytes()}


def _judge(order: dict[str, Any]) -> None:
    import time

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def load(folder: str) -> Any:
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16, local_files_only=True, trust_remote_code=False
        ).eval()

    began = time.monotonic()
    model = load(order["model"])
    load_s = round(time.monotonic() - began, 3)
    base = load(order["base"]) if order.get("base") else None
    tokenizer = AutoTokenizer.from_pretrained(order["model"], local_files_only=True, trust_remote_code=False)
    tokens = tokenizer(Path(order["text"]).read_text(encoding="utf-8"))["input_ids"]
    context = int(order["context"])
    count = min(int(order["chunks"]), len(tokens) // context)
    if not count:
        raise SystemExit(f"Insufficient text: {len(tokens)} tokens, {context} are needed.")
    rows = []
    with torch.inference_mode():
        for number in range(count):
            piece = torch.tensor([tokens[number * context : (number + 1) * context]])
            rows.append(_compare(torch, model, base, piece))
            print(f"[{number + 1}/{count}]", flush=True)
    print(steps.RESULT + json.dumps({**_summary(torch, rows), "load_s": load_s, "chunks": count}), flush=True)


def prompts(order: dict[str, Any]) -> dict[str, Any]:
    """How many golden prompts are answered as expected, each asked as a chat without chance."""
    found = steps.ask([sys.executable, __file__, "--answer"], order)
    return {**found, "tool": f"transformers {version('transformers')}", "peak_memory_bytes": steps.peak_memory_bytes()}


def _answer(order: dict[str, Any]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(
        order["model"], dtype=torch.bfloat16, local_files_only=True, trust_remote_code=False
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(order["model"], local_files_only=True, trust_remote_code=False)
    for one in json.loads(Path(order["prompts"]).read_text(encoding="utf-8")):
        text = one["prompt"]
        if tokenizer.chat_template:
            chat = [{"role": "user", "content": text}]
            text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        asked = tokenizer(text, return_tensors="pt", add_special_tokens=not tokenizer.chat_template)
        with torch.inference_mode():
            made = model.generate(**asked, max_new_tokens=int(order["tokens"]), do_sample=False)
        steps.answer(tokenizer.decode(made[0, asked["input_ids"].shape[1] :], skip_special_tokens=True))


def _compare(torch: Any, model: Any, base: Any, piece: Any) -> tuple[Any, ...]:
    """Of each judged token: -log p, and against the base its own, the divergence and whether both prefer the same."""
    half = piece.shape[1] // 2
    wanted = piece[0, half + 1 :]

    def scores(judged: Any) -> Any:
        return torch.log_softmax(judged(piece).logits[0, half:-1].float(), dim=-1)

    mine = scores(model)
    rows = (-mine.gather(1, wanted[:, None])[:, 0],)
    if base is None:
        return rows
    theirs = scores(base)
    divergence = (theirs.exp() * (theirs - mine)).sum(dim=-1)
    agree = (mine.argmax(dim=-1) == theirs.argmax(dim=-1)).float()
    return (*rows, -theirs.gather(1, wanted[:, None])[:, 0], divergence, agree)


def _summary(torch: Any, rows: list[tuple[Any, ...]]) -> dict[str, float]:
    """Means with their standard errors, under the names that gguf.py uses."""
    columns = [torch.cat(column).double() for column in zip(*rows, strict=True)]
    names = ("perplexity", "base_perplexity", "kl_divergence", "top1_agreement_percent")
    found: dict[str, float] = {}
    for name, column in zip(names, columns, strict=False):
        mean = float(column.mean())
        error = float(column.std(unbiased=True)) / len(column) ** 0.5
        if "perplexity" in name:
            mean = float(torch.exp(column.mean()))
            error *= mean
        if "percent" in name:
            mean, error = 100 * mean, 100 * error
        found[name], found[f"{name}_error"] = round(mean, 6), round(error, 6)
    if len(columns) > 2:
        found["kl_divergence_p99"] = round(float(columns[2].quantile(0.99)), 6)
    return found


def _child(order: dict[str, Any]) -> None:
    import torch
    from llmcompressor import oneshot
    from llmcompressor.pipelines.cache import IntermediatesCache
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not torch.cuda.is_available():
        # It pins memory whatever the machine has, which a CPU build of PyTorch refuses (llmcompressor 0.14).
        IntermediatesCache.pin_memory = lambda self, *_args, **_kwargs: None
    source = order["source"]
    model = AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.bfloat16, local_files_only=True, trust_remote_code=False
    )
    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    calibration: dict[str, Any] = {}
    if order.get("text"):
        samples, length = int(order.get("samples", 128)), int(order.get("length", 512))
        calibration = {
            "dataset": _samples(tokenizer, Path(order["text"]), samples, length),
            "max_seq_length": length,
            "num_calibration_samples": samples,
        }
    oneshot(model=model, recipe=_recipe(order), **calibration)
    model.save_pretrained(order["out"], save_compressed=True)
    tokenizer.save_pretrained(order["out"])


def _samples(tokenizer: Any, path: Path, samples: int, length: int) -> Any:
    """The first paragraphs, cut at `length` tokens; short ones are joined so that each sample carries weight."""
    import torch
    from torch.utils.data import DataLoader

    tokens = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in steps.read_texts(path)]
    stream = [token for text in tokens for token in text]
    rows = [stream[begin : begin + length] for begin in range(0, len(stream), length)][:samples]
    batches = [
        {"input_ids": torch.tensor([row]), "attention_mask": torch.ones(1, len(row))} for row in rows if len(row) > 1
    ]
    # Not a `datasets` table: hashing one pickles classes of pyarrow 26 that cannot be pickled.
    return DataLoader(batches, batch_size=None)


def _recipe(order: dict[str, Any]) -> list[Any]:
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    ignore, method = order.get("ignore", ["lm_head"]), order["method"]
    if method == "fp8":
        return [QuantizationModifier(targets=["Linear"], scheme="FP8_DYNAMIC", ignore=ignore)]
    if method == "int8":
        return [GPTQModifier(targets=["Linear"], scheme="W8A8", ignore=ignore)]
    weights = QuantizationArgs(
        num_bits=int(order.get("bits", 4)),
        type="int",
        symmetric=bool(order.get("symmetric", method == "gptq")),
        strategy="group",
        group_size=int(order.get("group_size", 128)),
    )
    groups = {"group_0": QuantizationScheme(targets=["Linear"], weights=weights)}
    if method == "gptq":
        return [GPTQModifier(config_groups=groups, ignore=ignore)]
    return [AWQModifier(n_grid=int(order.get("grid", 20))), QuantizationModifier(config_groups=groups, ignore=ignore)]


if __name__ == "__main__":
    if "--version" in sys.argv:
        import llmcompressor  # noqa: F401  proves that it loads, and leaves its bytecode

        print(version("llmcompressor"))
    elif "--child" in sys.argv:
        _child(json.loads(os.environ["MODELYARD_JOB"]))
    elif "--judge" in sys.argv:
        _judge(json.loads(os.environ["MODELYARD_JOB"]))
    elif "--answer" in sys.argv:
        _answer(json.loads(os.environ["MODELYARD_JOB"]))
    else:
        each = {"check": check, "quantise": quantise, "judge": judge, "verify": judge, "prompts": prompts}
        sys.exit(steps.main(each))
