"""Usage records: one per request, right, on disk before anything else, at web exactly once in effect."""

import contextlib
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.stack import ADA, Stack, chat_body, eventually
from webapp.gateway.ledger import segments as segment_files
from webapp.gateway.ledger.segments import Segments


def stored(stack: Stack) -> list[dict[str, Any]]:
    """The records on disk that web has not confirmed."""
    files = sorted((stack.folder / "gateway" / "usage").glob("*/*.jsonl"))
    found = []
    for path in files:
        with contextlib.suppress(FileNotFoundError):  # confirmed, and so removed, since it was listed
            found += [json.loads(line) for line in path.read_text().splitlines()]
    return found


def test_a_record_says_who_what_where_and_how_long(stack: Stack) -> None:
    answer = stack.chat("gpt-4o", fake={"tokens": 3})
    record = stack.record(answer.request_id)
    assert {name: record[name] for name in ("key", "user", "team", "deployment", "replica_id")} == {
        "key": 1,
        "user": 3,
        "team": 2,
        "deployment": 12,
        "replica_id": 16,
    }
    assert (record["endpoint"], record["status"], record["outcome"]) == ("chat/completions", 200, "ok")
    assert (record["stream"], record["prompt_tokens"], record["completion_tokens"]) == (False, 7, 3)
    assert (record["counted_by"], record["request_id"]) == ("engine", answer.request_id)
    assert 0 < record["ttft_ms"] <= record["duration_ms"]
    assert record["bytes_out"] > len(answer.body)
    assert record["id"] == answer.request_id
    assert set(record) == {
        *("id", "at", "key", "user", "team", "deployment", "replica_id", "endpoint", "request_id", "status", "outcome"),
        *(
            "stream",
            "prompt_tokens",
            "completion_tokens",
            "counted_by",
            "ttft_ms",
            "duration_ms",
            "max_gap_ms",
            "bytes_out",
        ),
    }


def test_a_stream_tells_its_first_token_and_its_longest_gap(stack: Stack) -> None:
    line = stack.connect()
    body = json.dumps(chat_body("smol", {"tokens": 3, "holds": True}, stream=True))
    line.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {ADA}"})
    answer = line.getresponse()
    for _ in range(2):
        # The gateway has seen this token, and sees the next one 200 ms later or more, whatever the machine does.
        assert answer.readline().startswith(b"data: ") and answer.readline() == b"\n"
        time.sleep(0.2)
        stack.engine.go_on()
    assert answer.read().endswith(b"data: [DONE]\n\n")
    line.close()
    record = stack.record(answer.headers["x-request-id"])
    assert record["max_gap_ms"] >= 199
    assert record["ttft_ms"] + record["max_gap_ms"] + 199 <= record["duration_ms"]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ('event: message_start\ndata: {"message":{"usage":{"input_tokens":9,"output_tokens":1}}}\n\n', (9, 1)),
        (
            'data: {"message":{"usage":{"input_tokens":9}}}\n\ndata: {"usage":{"output_tokens":4}}\n\n',
            (9, 4),
        ),
        ('data: {"response":{"usage":{"input_tokens":3,"output_tokens":2}}}\n\n', (3, 2)),
        ('data: {"usage": null}\n\ndata: {"usage":\n data: {}\n\n', (None, None)),
    ],
)
def test_usage_is_understood_under_other_names(stack: Stack, text: str, tokens: tuple[int, int]) -> None:
    raw = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw += f"{len(text):x}\r\n{text}\r\n0\r\n\r\n"
    answer = stack.ask("POST", "/v1/messages", {**chat_body("smol", {"raw": raw}), "stream": True})
    assert answer.body.decode() == text
    record = stack.record(answer.request_id)
    if tokens == (None, None):
        assert record["counted_by"] == "estimate"
    else:
        assert (record["prompt_tokens"], record["completion_tokens"]) == tokens


def test_the_prompt_of_an_answer_without_usage_is_estimated_and_marked_as_such(stack: Stack) -> None:
    record = stack.record(
        stack.ask("POST", "/v1/embeddings", chat_body("smol", {"status": 200, "text": "{}"})).request_id
    )
    assert (record["outcome"], record["counted_by"], record["completion_tokens"]) == ("ok", "estimate", None)
    assert 20 <= record["prompt_tokens"] <= 40


def test_records_wait_on_disk_while_web_is_down_and_survive_a_kill(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    eventually(lambda: (stack.folder / "gateway" / "routes.sealed").exists())
    stack.web.stop()
    ids = {stack.chat().request_id for _ in range(5)}
    eventually(lambda: {record["id"] for record in stored(stack)} == ids)
    stack.processes[-1].send_signal(signal.SIGKILL)
    stack.processes[-1].wait()
    stack.launch()
    ids.add(stack.chat().request_id)
    stack.web.start()
    eventually(lambda: {record["id"] for record in stack.web.records} == ids)
    eventually(lambda: stored(stack) == [])
    assert len(stack.web.records) == 6


def test_a_record_is_kept_until_web_has_said_that_it_is_safe(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    stack.web.usage_status = 500
    request_id = stack.chat().request_id
    usage_posts = lambda: [a for a in stack.web.server.asked if a.target == "/internal/gateway/usage"]  # noqa: E731
    eventually(lambda: len(usage_posts()) >= 2)
    assert [record["id"] for record in stored(stack)] == [request_id]
    stack.web.usage_status = 200
    assert stack.record(request_id)
    eventually(lambda: stored(stack) == [])


def test_records_that_web_will_never_take_do_not_hold_up_the_others(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    stack.web.usage_status = 422
    refused = stack.chat().request_id
    aside = stack.folder / "gateway" / "usage" / "0" / "rejected"
    eventually(lambda: list(aside.glob("*.jsonl")))
    assert refused in next(aside.glob("*.jsonl")).read_text()
    stack.web.usage_status = 200
    assert stack.record(stack.chat().request_id)


def test_the_records_of_a_process_that_is_not_there_any_more_are_adopted(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    orphan = stack.folder / "gateway" / "usage" / "3"
    orphan.mkdir(parents=True)
    (orphan / "1-3.jsonl").write_text('{"id":"left","request_id":"left"}\n')
    stack.start()
    assert stack.record("left")


def test_the_last_records_are_delivered_at_the_end(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    request_id = stack.chat().request_id
    assert stack.end() == 0
    assert [record["id"] for record in stack.web.records] == [request_id]


def test_a_torn_line_is_left_out_and_the_rest_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    path.write_bytes(b'{"id":"a"}\n{"id":"b"}\n{"id":"c","us')
    assert [json.loads(body) for body in segment_files.batches(path)] == [{"records": [{"id": "a"}, {"id": "b"}]}]


def test_many_records_are_sent_in_parts(tmp_path: Path) -> None:
    segments = Segments(tmp_path)
    segments.append(b"".join(b'{"id":%d}\n' % n for n in range(1200)))
    assert segments.waiting() == []
    segments.close_open()
    (path,) = segments.waiting()
    sizes = [len(json.loads(body)["records"]) for body in segment_files.batches(path)]
    assert sizes == [500, 500, 200]


def test_a_full_segment_is_followed_by_another(tmp_path: Path) -> None:
    segments = Segments(tmp_path)
    line = b'{"x":"' + b"a" * 1_000_000 + b'"}\n'
    for _ in range(6):
        segments.append(line)
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert segments.backlog_bytes() == 6 * len(line)


def test_the_access_log_names_the_request_and_neither_prompt_nor_key(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    body = chat_body("smol") | {"messages": [{"role": "user", "content": "my secret prompt"}]}
    done = stack.ask("POST", "/v1/chat/completions", body)
    refused = stack.ask("POST", "/v1/chat/completions?api_key=hunter2", body)
    page = stack.ask("GET", "/page?token=hunter2")
    path = stack.folder / "log" / "gateway-0.access.jsonl"
    eventually(lambda: path.exists() and len(path.read_text().splitlines()) == 3)
    text = path.read_text()
    for secret in ("secret prompt", ADA, ADA[12:], "hunter2"):
        assert secret not in text
    lines = {line["request_id"]: line for line in map(json.loads, text.splitlines())}
    assert lines[done.request_id]["path"] == "/v1/chat/completions"
    assert (lines[done.request_id]["status"], lines[done.request_id]["client"]) == (200, "127.0.0.1")
    assert lines[refused.request_id]["error"] == "key_in_query"
    assert (lines[page.request_id]["path"], lines[page.request_id]["method"]) == ("/page", "GET")


def test_metrics_count_requests_tokens_and_times_and_stay_off_the_public_port(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack().start()
    stack.chat(stream=True)
    stack.chat(fake={"status": 500})
    stack.chat("nosuch")
    text = stack.metrics()
    label = 'deployment="research/smol",endpoint="chat/completions"'
    assert f'modelyard_gateway_requests_total{{{label},status="200",outcome="ok"}} 1' in text
    assert f'modelyard_gateway_requests_total{{{label},status="502",outcome="engine_failed"}} 1' in text
    assert 'modelyard_gateway_completion_tokens_total{deployment="research/smol"} 5' in text
    assert 'modelyard_gateway_time_to_first_token_seconds_count{deployment="research/smol"} 1' in text
    assert 'modelyard_gateway_refused_total{code="model_not_found"} 1' in text
    stack.ask("GET", "/metrics")
    assert stack.web.pages[-1].target == "/metrics"
