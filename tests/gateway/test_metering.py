"""What a request is said to have used: all of its choices, also when it was cut, and never what cannot be."""

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from tests.gateway.stack import ADA, Stack, chat_body, eventually
from webapp.gateway.inference import metering
from webapp.gateway.inference.metering import Meter, Question

COUNTERS = {
    "chat/completions": "/v1/chat/completions/input_tokens",
    "completions": "/tokenize",
    "embeddings": "/tokenize",
    "messages": "/v1/messages/count_tokens",
}
SSE = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`llama` counts for each choice and can be asked to count, `mute` cannot."""
    stack = Stack(tmp_path_factory.mktemp("counting"))
    llama = {"usage_per_choice": True, "token_counters": COUNTERS, "context_length": 1000}
    stack.web.snapshot["deployments"] += [
        stack.deployment(31, "llama", **llama, replicas=[stack.replica(31, 0)]),
        stack.deployment(32, "mute", context_length=1000, replicas=[stack.replica(32, 0)]),
        stack.deployment(33, "short", max_tokens_default=50, max_tokens_limit=100, replicas=[stack.replica(33, 0)]),
    ]
    try:
        yield stack.start()
    finally:
        stack.stop()


def used(stack: Stack, request_id: str) -> tuple[int | None, int | None, str]:
    record = stack.record(request_id)
    return record["prompt_tokens"], record["completion_tokens"], record["counted_by"]


def document(choices: list[Any], prompt: int, completion: int) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    return {"status": 200, "text": json.dumps({"choices": choices, "usage": usage})}


def said(text: str, why: str = "length") -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text}, "finish_reason": why}


def stream(*events: Any) -> dict[str, str]:
    """A stream with one event in each chunk."""
    raw = SSE
    for event in events:
        text = f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n"
        raw += f"{len(text.encode()):x}\r\n{text}\r\n"
    return {"raw": raw + "0\r\n\r\n"}


def usage_event(prompt: int, completion: int) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}


def test_a_document_of_several_choices_is_counted_with_all_of_them(counting: Stack) -> None:
    fake = document([said("a b c"), said("d e"), said("f g h i", "stop")], 12, 3)
    answer = counting.chat("llama", fake=fake, n=3)
    # The engine told of the first; the end of the third was a token of its own.
    assert used(counting, answer.request_id) == (12, 3 + 2 + 4 + 1, "gateway")


def test_an_engine_that_counts_all_choices_is_believed(counting: Stack) -> None:
    answer = counting.chat("mute", fake=document([said("a b c"), said("d e")], 12, 5), n=2)
    assert used(counting, answer.request_id) == (12, 5, "engine")


def test_a_stream_of_several_choices_is_counted_with_all_of_them(counting: Stack) -> None:
    words = [{"choices": [{"index": n % 2, "delta": {"content": "x"}}]} for n in range(7)]
    fake = stream(*words, usage_event(12, 4), usage_event(12, 3), "[DONE]")
    answer = counting.chat("llama", fake=fake, stream=True, n=2)
    assert used(counting, answer.request_id) == (12, 7, "engine")
    assert "usage" not in answer.body.decode()


def test_a_list_of_prompts_is_counted_with_all_of_them(counting: Stack) -> None:
    body = {"model": "llama", "prompt": ["one two three", "four"]}
    fake = document([{"text": "a b", "finish_reason": "length"}, {"text": "c", "finish_reason": "length"}], 3, 2)
    answer = counting.ask("POST", "/v1/completions", {**body, "fake": fake})
    assert used(counting, answer.request_id) == (4, 3, "gateway")
    events = [{**usage_event(5 + n, 2), "choices": [{"index": n, "text": ""}]} for n in range(2)]
    answer = counting.ask("POST", "/v1/completions", {**body, "stream": True, "fake": stream(*events, "[DONE]")})
    assert used(counting, answer.request_id) == (11, 4, "engine")


@pytest.mark.parametrize(
    ("path", "model", "members", "seen"),
    [
        ("chat/completions", "llama", {}, (20, "gateway")),
        ("messages", "llama", {}, (20, "gateway")),
        ("completions", "llama", {"prompt": "one two three"}, (3, "gateway")),
        ("completions", "llama", {"prompt": [1, 2, 3, 4]}, (4, "gateway")),
        ("completions", "llama", {"prompt": [[1, 2], "three four"]}, (4, "gateway")),
        ("completions", "llama", {"prompt": [1.5, None, {"a": 1}, "one"]}, (1, "gateway")),
        ("chat/completions", "mute", {}, (None, "estimate")),
    ],
)
def test_whoever_leaves_in_the_middle_pays_for_the_prompt(
    counting: Stack, path: str, model: str, members: dict[str, Any], seen: tuple[int | None, str]
) -> None:
    line = counting.connect()
    body = chat_body(model, {"tokens": 10, "holds": True}, stream=True, **members)
    line.request("POST", f"/v1/{path}", json.dumps(body), {"Authorization": f"Bearer {ADA}"})
    answer = line.getresponse()
    assert answer.readline().startswith(b"data: ")
    answer.close()
    line.close()
    prompt, completion, counted_by = used(counting, answer.headers["x-request-id"])
    assert (completion, counted_by) == (1, seen[1])
    assert prompt == seen[0] or (seen[0] is None and prompt and 20 <= prompt <= 80)


def test_what_an_answer_begins_with_is_no_count_of_one_that_was_cut(counting: Stack) -> None:
    """Anthropic's streams tell of usage at their start, when nothing has been written yet."""
    begun = {"type": "message_start", "message": {"usage": {"input_tokens": 20, "output_tokens": 0}}}
    words = [{"type": "content_block_delta", "delta": {"text": "x"}} for _ in range(8)]
    raw = stream(begun, *words)["raw"].removesuffix("0\r\n\r\n")
    answer = counting.raw(
        b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nX-Request-ID: cut-message\r\nConnection: close\r\n"
        + f"Authorization: Bearer {ADA}\r\n".encode()
        + _sized(chat_body("llama", {"raw": raw, "keeps": False}, stream=True))
    )
    assert b'"source":"engine"' in answer
    assert used(counting, "cut-message") == (20, 9, "gateway")


def test_whoever_leaves_while_the_engine_thinks_pays_for_the_prompt(counting: Stack) -> None:
    line = counting.connect()
    body = json.dumps(chat_body("llama", {"hang": 60}))
    headers = {"Authorization": f"Bearer {ADA}", "X-Request-ID": "left-early"}
    line.request("POST", "/v1/chat/completions", body, headers)
    eventually(lambda: counting.engine.running)
    line.close()
    assert used(counting, "left-early") == (20, None, "gateway")


def test_an_engine_that_dies_in_its_answer_has_read_the_prompt(counting: Stack) -> None:
    answer = counting.raw(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Request-ID: died\r\nConnection: close\r\n"
        + f"Authorization: Bearer {ADA}\r\n".encode()
        + _sized(chat_body("llama", {"tokens": 9, "die_after": 4}, stream=True))
    )
    assert b'"source":"engine"' in answer
    assert used(counting, "died") == (20, 4, "gateway")


def _sized(body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    return b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)


@pytest.mark.parametrize(
    ("prompt", "completion", "seen"),
    [
        (-5, 3, (20, 3)),
        (7, -1, (7, 3)),
        (10**12, 3, (20, 3)),
        (7, 10**9, (7, 3)),
        (1001, 1001, (20, 3)),
        (1000, 1000, (1000, 1000)),
    ],
)
def test_counts_that_cannot_be_are_replaced_by_what_was_seen(
    counting: Stack, prompt: int, completion: int, seen: tuple[int, int]
) -> None:
    answer = counting.chat("llama", fake=document([said("a b c")], prompt, completion))
    assert used(counting, answer.request_id)[:2] == seen
    words = [{"choices": [{"index": 0, "delta": {"content": "x"}}]} for _ in range(3)]
    # The event with the usage is one that passed, too.
    answer = counting.chat("llama", fake=stream(*words, usage_event(prompt, completion), "[DONE]"), stream=True)
    assert used(counting, answer.request_id)[:2] == (seen[0], seen[1] if completion == seen[1] else 4)


def test_an_engine_that_counts_too_little_is_not_believed(counting: Stack) -> None:
    words = [{"choices": [{"index": 0, "delta": {"content": "x"}}]} for _ in range(200)]
    answer = counting.chat("llama", fake=stream(*words, usage_event(7, 0), "[DONE]"), stream=True)
    assert used(counting, answer.request_id) == (7, 201, "gateway")


def test_an_answer_that_is_too_long_to_be_read_is_not_free(counting: Stack) -> None:
    answer = counting.chat("llama", fake=document([said("word " * 250_000)], 7, 250_000))
    prompt, completion, counted_by = used(counting, answer.request_id)
    # The request was as long: it was not kept either, and no prompt is longer than the context.
    assert (prompt, counted_by) == (1000, "estimate")
    assert completion is not None and 300_000 < completion < 320_000


def test_what_counts_nothing_is_not_counted_when_it_is_cut(counting: Stack) -> None:
    line = counting.connect()
    headers = {"Authorization": f"Bearer {ADA}", "X-Request-ID": "cut-tokenize"}
    line.request("POST", "/v1/tokenize", json.dumps({"model": "llama", "fake": {"hang": 60}}), headers)
    eventually(lambda: counting.engine.running)
    line.close()
    assert used(counting, "cut-tokenize") == (None, None, "none")


def test_cached_tokens_of_anthropics_usage_are_part_of_the_prompt(counting: Stack) -> None:
    usage = {"cache_read_input_tokens": 24, "input_tokens": 8, "output_tokens": 3}
    fake = {"status": 200, "text": json.dumps({"type": "message", "content": [], "usage": usage})}
    answer = counting.ask("POST", "/v1/messages", chat_body("llama", fake))
    assert used(counting, answer.request_id) == (32, 3, "engine")
    events = [{"type": "message_start", "message": {"usage": {**usage, "output_tokens": 0}}}]
    events += [{"type": "message_delta", "usage": {"output_tokens": 3}}]
    answer = counting.ask("POST", "/v1/messages", chat_body("llama", stream(*events), stream=True))
    assert used(counting, answer.request_id) == (32, 3, "engine")


def test_an_event_that_says_nothing_is_taken_out_of_the_beginning(counting: Stack) -> None:
    events = [{**usage_event(5, 1), "choices": [{"index": n, "text": "x"}]} for n in range(2)]
    body = {"model": "llama", "prompt": ["a", "b"], "stream": True, "fake": stream("null", *events, "null", "[DONE]")}
    answer = counting.ask("POST", "/v1/completions", body)
    assert answer.events() == [*events, None, "[DONE]"]
    only = counting.ask("POST", "/v1/completions", {**body, "fake": stream("null", "[DONE]")})
    assert only.events() == ["[DONE]"]
    assert used(counting, only.request_id)[1] == 0


def test_an_answer_is_as_long_as_the_deployment_allows(counting: Stack) -> None:
    answer = counting.chat("short", max_tokens=500, stream=True)
    assert counting.engine.last()["max_tokens"] == 100
    assert answer.headers["x-modelyard-warning"] == "max_tokens lowered to 100, the most that this deployment allows"
    answer = counting.chat("short")
    assert counting.engine.last()["max_tokens"] == 50
    assert answer.headers["x-modelyard-warning"] is None


def test_a_clients_own_mistake_is_not_the_engines(counting: Stack) -> None:
    error = {"error": {"code": 400, "message": "Field 'temperature' is wrong", "type": "invalid_request_error"}}
    answer = counting.chat("llama", fake={"status": 400, "text": json.dumps(error)})
    assert (answer.error["source"], answer.headers["x-modelyard-failed"]) == ("client", "client")
    assert counting.record(answer.request_id)["outcome"] == "client_error"
    answer = counting.chat("llama", fake={"status": 503, "text": json.dumps({"error": {"message": "busy"}})})
    assert counting.record(answer.request_id)["outcome"] == "engine_failed"
    answer = counting.ask("POST", "/d/research/llama/v1/chat/completions", b"{")
    assert (answer.error["source"], counting.record(answer.request_id)["outcome"]) == ("client", "client_error")


def test_the_last_counts_are_delivered_at_the_end(tmp_path_factory: pytest.TempPathFactory) -> None:
    stack = Stack(tmp_path_factory.mktemp("ending"))
    llama = {"usage_per_choice": True, "token_counters": COUNTERS}
    stack.web.snapshot["deployments"] += [stack.deployment(31, "llama", **llama, replicas=[stack.replica(31, 0)])]
    try:
        answer = stack.start().chat("llama", fake=document([said("a b c"), said("d e")], 12, 3), n=2)
        assert stack.end() == 0
        assert [(r["request_id"], r["completion_tokens"]) for r in stack.web.records] == [(answer.request_id, 5)]
    finally:
        stack.stop()


def test_many_that_leave_at_once_are_estimated_instead_of_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits to be counted keeps its request and its answer in memory."""

    async def never(timeout_s: float) -> None:
        await asyncio.sleep(60)

    async def scene() -> None:
        meter = Meter()
        for record in records:
            question = Question("chat/completions", b"a" * 400, 400, "chat", "/count", counts_prompt=True)
            meter.count(question, record, replica, partial(done.append, record))
        assert 500 <= len(done) < 1000
        assert {(record.prompt_tokens, record.counted_by) for record in done} == {(100, "estimate")}
        await meter.close()

    monkeypatch.setattr(metering, "COUNT_WITHIN_S", 0.2)
    replica: Any = SimpleNamespace(host_header=b"", pool=SimpleNamespace(take=lambda now: None, open=never))
    records: list[Any] = [SimpleNamespace(prompt_tokens=None, completion_tokens=3) for _ in range(1000)]
    done: list[Any] = []
    asyncio.run(scene())
    assert len(done) == 1000
    assert {(record.prompt_tokens, record.completion_tokens) for record in records} == {(100, 3)}
