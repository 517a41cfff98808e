"""The gateway in front of the real llama.cpp with a real model: its words, its counts, and what it says of itself.

Needs an interpreter with xllamacpp in MODELYARD_TEST_LLAMACPP_PYTHON and a whole model file in MODELYARD_TEST_GGUF.
"""

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.stack import ADA, REPOSITORY, Stack, eventually, free_port
from webapp.engines.base import HardwareAllocation, ModelFiles
from webapp.engines.llamacpp.adapter import LlamaCpp
from webapp.engines.llamacpp.options import LlamaCppOptions
from webapp.planner.facts import ModelFacts

PYTHON = os.environ.get("MODELYARD_TEST_LLAMACPP_PYTHON", "")
MODEL = os.environ.get("MODELYARD_TEST_GGUF", "")
pytestmark = pytest.mark.skipif(not (PYTHON and MODEL), reason="no xllamacpp and model file are named")

ENGINE = LlamaCpp()
# As the header of SmolLM2 says: it names no pooling.
FACTS = ModelFacts("llama", pooling="")
OPTIONS = LlamaCppOptions(context_length=256, parallel_slots=2, embeddings=True)
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
HELLO = [{"role": "user", "content": "Say one short word."}]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`real` as the adapter starts it, and as web tells the gateways of it."""
    folder, port = tmp_path_factory.mktemp("real"), free_port()
    launch = ENGINE.launch(ModelFiles(MODEL, "real", "gguf", FACTS.as_json()), OPTIONS, HardwareAllocation("cpu"))
    argv = [str(port) if word == str(launch.port) else word for word in launch.argv]
    with (folder / "engine.log").open("wb") as log:
        process = subprocess.Popen(
            [PYTHON, str(REPOSITORY / "compose/engines/llamacpp/server.py"), *argv], stdout=log, stderr=log
        )
    stack = Stack(folder)
    try:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: process.poll() is not None or is_up(url), 120)
        assert process.poll() is None, (folder / "engine.log").read_text()[-2000:]
        probe = ENGINE.capabilities_probe()
        assert probe is not None
        with urllib.request.urlopen(url + probe.path) as answer:
            found = ENGINE.read_capabilities(answer.read()).as_json()
        facts = {
            "endpoints": list(ENGINE.offers(OPTIONS, FACTS)),
            "usage_per_choice": ENGINE.usage_per_choice,
            "token_counters": dict(ENGINE.token_counters),
            "ignored_members": {name: list(words) for name, words in ENGINE.ignored_members.items()},
        }
        replica = {"id": 41, "url": url, "state": "ready"}
        stack.web.snapshot["deployments"] += [stack.deployment(41, "real", **facts, **found, replicas=[replica])]
        yield stack.start()
    finally:
        stack.stop()
        process.kill()
        process.wait()


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/health") as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


def ask(stack: Stack, endpoint: str, **members: Any) -> Any:
    return stack.ask("POST", f"/v1/{endpoint}", {"model": "real", **members})


def test_it_says_what_it_can(served: Stack) -> None:
    told = served.ask("GET", "/v1/models/real").json()
    assert (told["context_length"], told["capabilities"]["tools"], told["capabilities"]["vision"]) == (
        256,
        False,
        False,
    )
    assert told["capabilities"]["embeddings"] is True


@pytest.mark.parametrize(
    ("endpoint", "members"),
    [
        ("chat/completions", {"messages": HELLO, "max_tokens": 2}),
        ("completions", {"prompt": "a", "max_tokens": 2}),
        ("responses", {"input": "Hi", "max_output_tokens": 2}),
        ("messages", {"messages": HELLO, "max_tokens": 2}),
        ("messages/count_tokens", {"messages": HELLO, "max_tokens": 2}),
        ("embeddings", {"input": "a"}),
        ("tokenize", {"content": "a"}),
        ("detokenize", {"tokens": [1]}),
    ],
)
def test_everything_that_is_offered_is_answered(served: Stack, endpoint: str, members: dict[str, Any]) -> None:
    answer = ask(served, endpoint, **members)
    assert answer.status == 200, answer.body
    assert served.record(answer.request_id)["outcome"] == "ok"


@pytest.mark.parametrize(
    ("endpoint", "members", "code", "words"),
    [
        ("chat/completions", {"messages": HELLO, "tools": TOOLS}, "tools_not_supported", "cannot call tools"),
        ("chat/completions", {"messages": []}, "empty_array", "empty array"),
        ("chat/completions", {"messages": HELLO, "n": 3}, "invalid_value", "from 1 to 2, not 3"),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, PICTURE]}]},
            "input_not_supported",
            "takes no image input",
        ),
        ("chat/completions", {"messages": [{"content": "a"}]}, "invalid_value", "Missing 'role'"),
        ("completions", {"prompt": "word " * 2000}, "context_length_exceeded", "256 tokens. However, .* 2001 tokens"),
        ("embeddings", {"input": "word " * 300}, "context_length_exceeded", "256 tokens. However, .* 301 tokens"),
        ("embeddings", {"input": "word " * 600}, "context_length_exceeded", "512 tokens .* 601 tokens"),
    ],
)
def test_a_clients_mistake_is_a_400_in_words_that_help(
    served: Stack, endpoint: str, members: dict[str, Any], code: str, words: str
) -> None:
    import re

    answer = ask(served, endpoint, **members)
    assert (answer.status, answer.error["code"], answer.error["source"]) == (400, code, "client")
    assert re.search(words, answer.error["message"])
    assert served.record(answer.request_id)["outcome"] == "client_error"


def test_what_it_does_not_heed_is_told(served: Stack) -> None:
    answer = ask(served, "embeddings", input="a", dimensions=3)
    assert len(answer.json()["data"][0]["embedding"]) != 3
    assert answer.headers["x-modelyard-warning"].startswith("dimensions is ignored")


def test_all_choices_and_prompts_are_counted(served: Stack) -> None:
    answer = ask(served, "chat/completions", messages=HELLO, max_tokens=6, n=2, temperature=0, ignore_eos=True)
    record = served.record(answer.request_id)
    assert answer.json()["usage"]["completion_tokens"] == 6, "it tells of one"
    assert record["completion_tokens"] == 12
    assert record["prompt_tokens"] == answer.json()["usage"]["prompt_tokens"]
    body = {"prompt": ["one two three", "a"], "max_tokens": 3, "temperature": 0, "ignore_eos": True}
    counts = []
    for more in ({}, {"stream": True}):
        answer = ask(served, "completions", **body, **more)
        record = served.record(answer.request_id)
        counts.append((record["prompt_tokens"], record["completion_tokens"]))
    assert b"data: null" not in answer.body
    assert counts == [(4, 6), (4, 6)]


@pytest.mark.parametrize("n", [1, 2])
def test_a_stream_is_counted_with_all_its_choices(served: Stack, n: int) -> None:
    body = {"messages": HELLO, "max_tokens": 5, "temperature": 0, "ignore_eos": True, "stream": True}
    answer = ask(served, "chat/completions", **body, n=n)
    record = served.record(answer.request_id)
    assert (record["prompt_tokens"], record["completion_tokens"], record["counted_by"]) == (35, 5 * n, "engine")


def test_whoever_leaves_pays_for_the_prompt_as_the_engine_counts_it(served: Stack) -> None:
    line = served.connect()
    body = {"model": "real", "messages": HELLO, "max_tokens": 200, "stream": True, "ignore_eos": True}
    line.request("POST", "/v1/chat/completions", json.dumps(body), {"Authorization": f"Bearer {ADA}"})
    answer = line.getresponse()
    assert answer.readline().startswith(b"data: ")
    answer.close()
    line.close()
    record = served.record(answer.headers["x-request-id"])
    assert (record["outcome"], record["prompt_tokens"], record["counted_by"]) == ("client_gone", 35, "gateway")


def test_a_prompt_from_its_cache_is_a_prompt(served: Stack) -> None:
    messages = [{"role": "user", "content": "Tell me about cats and dogs please."}]
    for _ in range(2):
        answer = ask(served, "messages", messages=messages, max_tokens=2)
    usage = answer.json()["usage"]
    assert usage["cache_read_input_tokens"] > 0
    whole = ask(served, "messages/count_tokens", messages=messages, max_tokens=2).json()["input_tokens"]
    assert served.record(answer.request_id)["prompt_tokens"] == whole
