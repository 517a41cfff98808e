"""How fast vLLM is with a folder of safetensors: one step of a quantising job; steps.py has the protocol.

    speed     {"step": "speed", "model": "/job/out", "prompt": 128, "generate": 32, "streams": [1, 8]}

Load time counts from the program's start until vLLM can take a request, as people wait for it. Memory is what the
container's processes hold together, vLLM's cache of VLLM_CPU_KVCACHE_SPACE GiB included. Prompts are different random
tokens, so that nothing is reused. A model that vLLM does not take is no failure of the job: the result then says why
nothing was measured.
"""

import json
import os
import random
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import steps
from steps import Meter, StepError

COUNT = "modelyard-count "
# The last line of a traceback. What libraries print behind it at their end says nothing about why.
COMPLAINT = re.compile(r"[\w.]+(?:Error|Exception): .")
SAMPLE_EVERY_S = 0.25
WARM_UP_TOKENS = 4


def speed(order: dict[str, Any]) -> dict[str, Any]:
    """Prompt and decode tokens per second for each number of streams, load time and peak memory."""
    meter, said, complaints = Meter("speed", "tokens"), list[str](), list[str]()

    def heard(text: str) -> None:
        if text.startswith(COUNT):
            done, total = text.removeprefix(COUNT).split("/")
            meter.at(int(done), int(total))
        elif text.startswith(steps.RESULT):
            said.append(text.removeprefix(steps.RESULT))
        elif COMPLAINT.match(text):
            complaints.append(text[:300])

    env = {
        "MODELYARD_JOB": json.dumps({**order, "began": time.monotonic()}),
        "OMP_NUM_THREADS": str(_threads()),
        # One process: a second one would import everything once more.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
    with Memory() as memory:
        try:
            steps.run([sys.executable, __file__, "--child"], heard, env=env)
        except StepError as error:
            return {"missing": f"vLLM did not run it: {complaints[-1] if complaints else error}"}
    return {**json.loads(said[-1]), "peak_memory_bytes": memory.peak_bytes}


def _threads() -> int:
    """vLLM's server leaves one processor to its other processes (VLLM_CPU_NUM_OF_RESERVED_CPU)."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


class Memory:
    """The most that all processes of this container held at once: what is theirs alone and what they share."""

    def __init__(self, processes: Path = Path("/proc")) -> None:
        self._processes, self._over = processes, threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self.peak_bytes = 0

    def __enter__(self) -> "Memory":
        self._sampler.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._sampler.join()

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_EVERY_S):
            self.peak_bytes = max(self.peak_bytes, self.now_bytes())

    def now_bytes(self) -> int:
        """RssAnon and RssShmem of every process (proc(5), kB there are KiB)."""
        found = 0
        for status in self._processes.glob("[0-9]*/status"):
            try:
                lines = status.read_text().splitlines()
            except OSError:
                continue  # it has ended meanwhile
            found += sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))
        return found * 1024


def _child(order: dict[str, Any]) -> None:
    from vllm import LLM

    prompt, generate = int(order["prompt"]), int(order["generate"])
    streams = [int(count) for count in order["streams"]]
    # As the server is started, but for the reuse of prompts.
    llm = LLM(
        order["model"], enforce_eager=True, enable_prefix_caching=False, max_model_len=prompt + generate,
        max_num_seqs=max(streams), trust_remote_code=False, seed=0,
    )  # fmt: skip
    load_s = round(time.monotonic() - float(order["began"]), 3)
    words = int(llm.llm_engine.model_config.get_vocab_size())
    run = Run(llm.llm_engine, random.Random(1), words)  # noqa: S311  tokens to time, no secret
    run.time("warm", 1, prompt, WARM_UP_TOKENS, lambda _done: None)
    meter, rows = Counter(sum(streams) * generate), []
    for count in streams:
        rows.append(run.time(str(count), count, prompt, generate, meter.heard))
        meter.before += count * generate
    print(steps.RESULT + json.dumps({"speed": rows, "load_s": load_s, "tool": f"vllm {_version()}"}), flush=True)


class Run:
    """Requests that begin together, carried on step by step."""

    def __init__(self, engine: Any, dice: random.Random, words: int) -> None:
        self._engine, self._dice, self._words = engine, dice, words

    def time(
        self, name: str, streams: int, prompt: int, generate: int, on_tokens: Callable[[int], None]
    ) -> dict[str, float]:
        """Tokens per second: of the prompts until each has its first answered token, of the answers after that."""
        from vllm import SamplingParams

        params = SamplingParams(temperature=0, max_tokens=generate, ignore_eos=True, detokenize=False)
        for number in range(streams):
            tokens = [self._dice.randrange(self._words) for _ in range(prompt)]
            self._engine.add_request(f"{name}-{number}", {"prompt_token_ids": tokens}, params)
        counts: dict[str, int] = {}
        began, first, early = time.monotonic(), 0.0, 0
        while self._engine.has_unfinished_requests():
            for output in self._engine.step():
                counts[output.request_id] = len(output.outputs[0].token_ids)
            if not first and len(counts) == streams:
                first, early = time.monotonic(), sum(counts.values())
            on_tokens(sum(counts.values()))
        ended, done = time.monotonic(), sum(counts.values())
        return {
            "streams": streams,
            "prompt_per_s": round(streams * prompt / (first - began), 2),
            "decode_per_s": round((done - early) / (ended - first), 2),
        }


class Counter:
    """Tells the parent how many of all tokens are there; `before` are those of finished runs."""

    def __init__(self, total: int) -> None:
        self.before, self._total = 0, total

    def heard(self, done: int) -> None:
        print(f"{COUNT}{self.before + done}/{self._total}", flush=True)


def _version() -> str:
    from importlib.metadata import version

    return version("vllm")


if __name__ == "__main__":
    if "--child" in sys.argv:
        _child(json.loads(os.environ["MODELYARD_JOB"]))
    else:
        sys.exit(steps.main({"speed": speed}))
