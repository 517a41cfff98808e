"""Bad input: the right status, the right shape, who failed, and a connection that still works."""

import json
import re
import socket

import pytest

from tests.gateway.stack import ADA, EVE, EXPIRED, READER, Stack, announced, chat_body, post, read_all


def ask_with(stack: Stack, **headers: str) -> tuple[int, str]:
    answer = stack.ask("POST", "/v1/chat/completions", chat_body("smol"), None, **headers)
    return answer.status, answer.json().get("error", {}).get("code", "")


@pytest.mark.parametrize("name", ["Authorization", "X_Api_Key", "Api_Key"])
def test_every_key_header_leads_to_the_same_decision(stack: Stack, name: str) -> None:
    def with_key(key: str) -> tuple[int, str]:
        return ask_with(stack, **{name: f"Bearer {key}" if name == "Authorization" else key})

    assert with_key(ADA)[0] == 200
    assert with_key(ADA[:-1] + "b") == (401, "invalid_key")
    assert with_key(EXPIRED) == (401, "expired_key")
    assert with_key(READER) == (403, "missing_scope")
    assert with_key("myp_forged.token") == (401, "invalid_token")


def test_no_key_two_keys_and_odd_schemes_are_refused(stack: Stack) -> None:
    assert ask_with(stack) == (401, "missing_key")
    assert ask_with(stack, Authorization="Bearer ") == (401, "missing_key")
    assert ask_with(stack, Authorization=f"Basic {ADA}") == (401, "wrong_scheme")
    assert ask_with(stack, Authorization=f"Bearer {ADA}", X_Api_Key=EVE) == (401, "conflicting_credentials")
    assert ask_with(stack, Authorization=f"Bearer {ADA}", X_Api_Key=ADA, Api_Key=ADA)[0] == 200
    assert ask_with(stack, Authorization=f"bearer   {ADA}")[0] == 200
    assert ask_with(stack, X_Api_Key="k" * 5000) == (401, "invalid_key")


@pytest.mark.parametrize("query", ["api_key=x", "key=x", "a=1&Access_Token=x", "%61pi_key=x"])
def test_a_key_in_the_address_is_refused_even_beside_a_good_one(stack: Stack, query: str) -> None:
    answer = stack.ask("POST", f"/v1/chat/completions?{query}", chat_body("smol"))
    assert (answer.status, answer.error["code"]) == (401, "key_in_query")
    assert stack.ask("GET", f"/v1/models?{query}").status == 401


def test_an_unknown_model_is_named_with_those_that_exist(stack: Stack) -> None:
    answer = stack.chat("nosuch")
    assert answer.status == 404
    assert answer.error["code"] == "model_not_found"
    assert answer.error["param"] == "model"
    assert answer.error["source"] == "client"
    assert "smol" in answer.error["message"]
    assert "hidden" not in answer.error["message"]
    assert answer.error["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(("model", "word"), [("asleep", "stopped"), ("waking", "loading")])
def test_a_model_that_is_not_up_says_why_and_when_to_come_back(stack: Stack, model: str, word: str) -> None:
    answer = stack.chat(model)
    assert answer.status == 503
    assert word in answer.error["message"]
    assert int(answer.headers["retry-after"]) > 0
    assert stack.record(answer.request_id)["outcome"] == "refused"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'"x"',
        b"{",
        b'{"model": 5}',
        b'{"model":"smol","stream":"yes"}',
        b"\xff\xfe{}",
        b"[" * 5000,
        b'{"model":"smol","stream":true,"stream_options":5}',
        b'{"stream":true}',
        b'{"model":""}',
    ],
)
def test_a_body_that_cannot_be_read_is_a_400(stack: Stack, body: bytes) -> None:
    answer = stack.ask("POST", "/v1/chat/completions", body)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert stack.engine.asked == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/nothing", 404, "unknown_endpoint"),
        ("POST", "/v1", 404, "unknown_endpoint"),
        ("POST", "/v1//chat/completions", 404, "unknown_endpoint"),
        ("POST", "/v1/../metrics", 404, "unknown_endpoint"),
        ("POST", "/d/research/smol/v1/slots", 404, "unknown_endpoint"),
        ("POST", "/v1/rerank", 404, "endpoint_not_offered"),
    ],
)
def test_only_listed_paths_reach_an_engine(stack: Stack, method: str, path: str, status: int, code: str) -> None:
    answer = stack.ask(method, path, {"model": "smol"})
    assert (answer.status, answer.error["code"]) == (status, code)
    assert stack.engine.asked == []
    assert stack.web.pages == []


@pytest.mark.parametrize(
    "path",
    [
        "/internal/gateway/snapshot",
        "/%69nternal/x",
        "//internal/x",
        "/./internal",
        "/x/../internal/y",
        "/INTERNAL/x",
        "/%2569nternal/x",
        "/internal",
        "/internal?x=1",
        "/..%2finternal/x",
        "/\\internal",
    ],
)
def test_webs_internal_paths_do_not_exist_outside(stack: Stack, path: str) -> None:
    answer = stack.ask("GET", path)
    assert answer.status == 404
    assert stack.web.pages == []


def test_a_refused_small_body_costs_no_connection(stack: Stack) -> None:
    line = stack.connect()
    for status in (401, 401, 200):
        key = ADA if status == 200 else "my_wrong"
        line.request("POST", "/v1/chat/completions", json.dumps(chat_body("smol")), {"Authorization": f"Bearer {key}"})
        response = line.getresponse()
        assert (response.status, bool(response.read())) == (status, True)
        assert response.headers["connection"] is None
    line.close()


def test_a_300_mb_body_is_refused_before_it_is_sent(stack: Stack) -> None:
    answer = stack.raw(announced("Content-Length: 314572800"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer
    assert b"body_too_large" in answer


def test_a_client_that_sends_a_refused_body_anyway_still_reads_the_answer(stack: Stack) -> None:
    size = 30_000_000
    with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as line:
        line.sendall(announced(f"Content-Length: {size}") + b" " * size)
        assert read_all(line).startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_is_refused_when_it_has_grown_too_large(stack: Stack) -> None:
    head = announced("Transfer-Encoding: chunked")
    chunk = b"%x\r\n%b\r\n" % (65536, b" " * 65536)
    assert stack.raw(head + chunk * 20).startswith(b"HTTP/1.1 413 ")
    assert stack.metric("buffered_request_bytes") == 0


def test_an_unknown_client_cannot_make_the_gateway_hold_its_body(stack: Stack) -> None:
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer no\r\nContent-Length: 900000\r\n\r\n"
    )
    assert stack.raw(head + b"x" * 1000).startswith(b"HTTP/1.1 401 ")


def test_errors_are_answered_to_pipelined_neighbours_in_order(stack: Stack) -> None:
    good = json.dumps(chat_body("smol")).encode()
    answer = stack.raw(post(b"nonsense") + post(good) + post(b"{}", extra="Connection: close\r\n"))
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"400", b"200", b"400"]
