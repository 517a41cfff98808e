"""How vLLM is timed: the arithmetic on an engine that takes its time by the clock of the test, and the memory."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from webapp.foundation.paths import REPOSITORY


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The program as its image has it: beside steps.py, with vLLM's parameters of a request."""
    for folder in ("compose/quantizers/common", "compose/engines/vllm"):
        monkeypatch.syspath_prepend(str(REPOSITORY / folder))
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(SamplingParams=lambda **told: SimpleNamespace(**told)))
    for name in ("speed", "steps"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import speed

    yield speed
    for name in ("speed", "steps"):
        sys.modules.pop(name, None)


class Engine:
    """Reads one prompt a second, then makes a token of every stream in half a second."""

    def __init__(self) -> None:
        self.clock, self.waiting, self.made, self.most = 0.0, list[str](), dict[str, int](), 0
        self.prompts: list[list[int]] = []

    def add_request(self, name, prompt, params):
        assert params.ignore_eos and params.temperature == 0
        self.waiting.append(name)
        self.prompts.append(prompt["prompt_token_ids"])
        self.most = params.max_tokens

    def has_unfinished_requests(self):
        return bool(self.waiting) or any(count < self.most for count in self.made.values())

    def step(self):
        if self.waiting:
            self.clock += 1
            self.made[self.waiting.pop(0)] = 1
        else:
            self.clock += 0.5
            self.made = {name: count + 1 for name, count in self.made.items()}
        return [
            SimpleNamespace(request_id=name, outputs=[SimpleNamespace(token_ids=[0] * count)])
            for name, count in self.made.items()
        ]


def test_prompts_are_timed_to_the_last_first_token_and_answers_from_there(speed, monkeypatch) -> None:
    engine, seen = Engine(), []
    monkeypatch.setattr(speed.time, "monotonic", lambda: engine.clock)
    found = speed.Run(engine, random.Random(1), 1000).time("8", 8, prompt=100, generate=5, on_tokens=seen.append)
    assert found == {"streams": 8, "prompt_per_s": 100.0, "decode_per_s": 16.0}
    assert seen[-1] == 40
    assert len({tuple(prompt) for prompt in engine.prompts}) == 8, "a prompt that is there twice might be reused"


def test_memory_is_what_all_processes_hold(speed, tmp_path: Path) -> None:
    for number, anonymous in (("1", 100), ("26", 2000)):
        (tmp_path / number).mkdir()
        (tmp_path / number / "status").write_text(
            f"Name: x\nRssAnon:\t{anonymous} kB\nRssFile: 9 kB\nRssShmem:\t7 kB\n"
        )
    (tmp_path / "self").mkdir()
    (tmp_path / "30").mkdir()  # it ended between the look and the reading
    assert speed.Memory(tmp_path).now_bytes() == (100 + 2000 + 7 + 7) * 1024


def test_a_complaint_outlives_what_is_printed_behind_it(speed, monkeypatch, tmp_path: Path) -> None:
    """PyTorch says goodbye behind the traceback, and the exit code alone says nothing."""
    from webapp.engines.vllm import exits as vllm_exits

    words = "'_OpNamespace' '_C' object has no attribute 'cpu_gemm_wna16'"
    lines = ("Traceback:", f"AttributeError: {words}", "[rank0]:[W] Warning: destroy_process_group() was not called")
    child = tmp_path / "speed.py"
    child.write_text(f"import sys\nprint({chr(10).join(lines)!r}, flush=True)\nsys.exit(1)")
    monkeypatch.setattr(speed, "__file__", str(child))
    found = speed.speed({"model": "/model"})
    assert found["missing"] == f"vLLM did not run it: AttributeError: {words}"
    told = vllm_exits.in_words(found["missing"])
    assert "lacks cpu_gemm_wna16" in told and "AVX-512" in told and "GGUF" in told
    killed = "It was OOM-killed: it exceeded its memory limit."
    assert vllm_exits.in_words(killed) == killed


def test_what_vllm_refuses_is_a_result_with_the_reason(speed, monkeypatch, tmp_path: Path) -> None:
    """The child is a real process here; without vLLM it ends with an ImportError."""
    order = {"model": str(tmp_path), "prompt": 8, "generate": 2, "streams": [1]}
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "compose/quantizers/common"))
    found = speed.speed(order)
    assert found["missing"].startswith("vLLM did not run it: ") and "vllm" in found["missing"].split(": ", 1)[1]
