"""What a client gets from /v1, and what an engine sees of it."""

import json
import re
from collections.abc import Callable

import pytest

from tests.gateway.fake_engine import checksum, token, usage
from tests.gateway.stack import ADA, ENDPOINTS, EVE, Stack, chat_body


def test_a_completion_comes_back_whole(stack: Stack) -> None:
    answer = stack.chat()
    assert answer.status == 200
    assert answer.json()["choices"][0]["message"]["content"] == "".join(token(n) for n in range(5))
    assert answer.headers["x-modelyard-served-by"] == "smol/11"
    assert re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", answer.headers["x-request-id"])


@pytest.mark.parametrize(
    "fake", [{}, {"crlf": True}, {"split": True}], ids=["lf", "crlf", "usage event in two packets"]
)
def test_a_stream_has_every_token_once_and_no_usage_that_was_not_asked_for(stack: Stack, fake: dict[str, bool]) -> None:
    answer = stack.chat(stream=True, fake={"tokens": 300, **fake})
    events = answer.events()
    assert [e["choices"][0]["delta"]["content"] for e in events[:300]] == [token(n) for n in range(300)]
    assert events[300]["choices"][0]["sum"] == checksum(300)
    assert events[301:] == ["[DONE]"]
    assert stack.engine.last()["stream_options"] == {"include_usage": True}
    record = stack.record(answer.request_id)
    assert (record["prompt_tokens"], record["completion_tokens"], record["counted_by"]) == (7, 300, "engine")


@pytest.mark.parametrize(
    ("options", "sent", "shown"),
    [
        ({"include_usage": True}, {"include_usage": True}, True),
        ({"include_usage": False}, {"include_usage": True}, False),
        ({"include_obfuscation": False}, {"include_obfuscation": False, "include_usage": True}, False),
        ({}, {"include_usage": True}, False),
        (None, {"include_usage": True}, False),
    ],
)
def test_usage_is_shown_exactly_when_it_was_asked_for(
    stack: Stack, options: dict[str, bool] | None, sent: dict[str, bool], shown: bool
) -> None:
    answer = stack.chat(stream=True, stream_options=options)
    assert stack.engine.last()["stream_options"] == sent
    assert any(e != "[DONE]" and e.get("usage") == usage(5) for e in answer.events()) is shown
    assert stack.record(answer.request_id)["completion_tokens"] == 5


def test_members_the_gateway_does_not_know_reach_the_engine_byte_by_byte(stack: Stack) -> None:
    body = b'{"model":"gpt-4o", "seed":12345678901234567890, "temperature":1.0e0, "x":"\\u00e9 \xc3\xa9"}'
    assert stack.ask("POST", "/v1/chat/completions", body).status == 200
    seen = stack.engine.asked[-1].body
    assert json.loads(seen)["model"] == "inner"
    for untouched in (b"12345678901234567890", b"1.0e0", b'"\\u00e9 \xc3\xa9"'):
        assert untouched in seen


def test_an_unchanged_body_is_passed_on_as_it_is(stack: Stack) -> None:
    body = b' {"model" : "smol" , "messages" : [ {"role" : "user", "content" : ""} ] } '
    stack.ask("POST", "/v1/chat/completions", body)
    assert stack.engine.asked[-1].body == body


def test_an_engine_sees_neither_key_nor_cookie_nor_path_of_the_client(stack: Stack) -> None:
    body = json.dumps(chat_body("smol")).encode()
    stack.ask(
        "POST", "/v1/chat/completions?api-version=3", body, Cookie="session=secret", X_Odd="1", Traceparent="00-a-b-01"
    )
    asked = stack.engine.asked[-1]
    names = {name.lower() for name, _ in asked.headers}
    assert names == {"host", "content-type", "content-length", "x-request-id", "traceparent"}
    assert asked.target == "/v1/chat/completions"
    assert ADA not in str(asked.headers)


def test_a_client_sees_only_allowed_headers_of_an_engine(stack: Stack) -> None:
    raw = "HTTP/1.1 200 OK\r\nServer: secret/1\r\nSet-Cookie: a=b\r\nX-Debug: 1\r\n"
    raw += "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    answer = stack.chat(fake={"raw": raw})
    names = {name.lower() for name in answer.headers}
    assert names == {"content-type", "content-length", "x-request-id", "x-modelyard-served-by"}


def test_a_request_id_of_the_client_is_kept_when_it_is_harmless(stack: Stack) -> None:
    body = chat_body("smol")
    assert stack.ask("POST", "/v1/chat/completions", body, X_Request_ID="mine-1").headers["x-request-id"] == "mine-1"
    assert stack.engine.asked[-1].header("x-request-id") == "mine-1"
    other = stack.ask("POST", "/v1/chat/completions", body, X_Request_ID="a b\tc" + "d" * 200).headers["x-request-id"]
    assert len(other) == 32


def test_the_path_of_a_deployment_needs_no_model_in_the_body(stack: Stack) -> None:
    for model in (None, "anything at all"):
        answer = stack.ask("POST", "/d/research/renamed/v1/chat/completions", chat_body(model))
        assert answer.status == 200
        assert stack.engine.last()["model"] == "inner"


def test_a_granted_deployment_is_reached_by_name_and_by_path(stack: Stack) -> None:
    assert stack.chat("theirs").headers["x-modelyard-served-by"] == "theirs/17"
    path = "/d/others/theirs/v1/chat/completions"
    assert stack.ask("POST", path, chat_body("theirs")).status == 200


@pytest.mark.parametrize("path", ["/d/others/hidden/v1/chat/completions", "/d/others/nothing/v1/chat/completions"])
def test_what_belongs_to_another_team_looks_like_nothing(stack: Stack, path: str) -> None:
    answer = stack.ask("POST", path, chat_body("hidden"))
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert stack.chat("hidden").status == 404
    assert stack.chat("hidden", key=EVE).status == 200


def test_tokenize_is_asked_where_engines_have_it(stack: Stack) -> None:
    stack.ask("POST", "/v1/tokenize", {"model": "smol", "content": "x"})
    assert stack.engine.asked[-1].target == "/tokenize"


def test_a_form_is_routed_by_its_model_field_and_renamed(stack: Stack) -> None:
    sound = bytes(range(256)) * 10
    body = b'--b0\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n\r\n%b\r\n' % sound
    body += b'--b0\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4o\r\n--b0--\r\n'
    answer = stack.ask("POST", "/v1/audio/transcriptions", body, Content_Type="multipart/form-data; boundary=b0")
    assert answer.json() == {"text": "heard"}
    assert stack.engine.asked[-1].body == body.replace(b"gpt-4o", b"inner")


def test_models_are_listed_for_the_key_that_asks(stack: Stack) -> None:
    listed = [model["id"] for model in stack.ask("GET", "/v1/models").json()["data"]]
    assert listed == ["asleep", "gpt-4o", "pair", "renamed", "smol", "theirs", "waking"]
    assert [m["id"] for m in stack.ask("GET", "/v1/models", key=EVE).json()["data"]] == ["hidden", "theirs"]
    smol = stack.ask("GET", "/v1/models/smol").json()
    assert (smol["owned_by"], smol["created"], smol["ready"]) == ("research", 1_600_000_000, True)
    assert (smol["context_length"], smol["max_tokens"], sorted(smol["endpoints"])) == (None, None, sorted(ENDPOINTS))
    assert smol["capabilities"] == {
        "chat": True, "embeddings": True, "rerank": False, "tools": None, "vision": None, "audio": None
    }  # fmt: skip
    assert stack.ask("GET", "/v1/models/hidden").status == 404
    head = stack.ask("HEAD", "/v1/models")
    assert (head.status, head.body) == (200, b"")


def test_requests_spread_over_replicas_by_load(stack: Stack) -> None:
    lines = []
    for _ in range(4):
        line = stack.connect()
        body = json.dumps(chat_body("pair", {"tokens": 2, "delay": 0.3}, stream=True))
        line.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {ADA}"})
        line.getresponse().read(1)
        lines.append(line)
    assert [engine.running for engine in stack.engines] == [2, 2]
    for line in lines:
        line.close()


def test_requests_share_connections_to_an_engine(stack: Stack) -> None:
    opened = stack.engine.server.connections
    line = stack.connect()
    for number in range(60):
        body = json.dumps(chat_body("smol", stream=number % 2 == 0))
        line.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {ADA}"})
        assert line.getresponse().read()
    assert len(stack.engine.asked) == 60
    assert stack.engine.server.connections - opened <= 1
    line.close()


def test_an_engine_that_hangs_up_behind_a_stream_never_gets_a_request_on_that_connection(
    make_stack: Callable[..., Stack],
) -> None:
    """llama.cpp does: keep-alive in the head, and the end of the connection a moment after the last chunk."""
    stack = make_stack()
    snapshot = stack.usual_snapshot()
    hangs_up = stack.deployment(7, "smol", replicas=[stack.replica(11, 0)], closes_after_stream=True)
    stack.web.snapshot = {**snapshot, "deployments": [hangs_up]}
    stack.start()
    opened = stack.engine.server.connections
    line = stack.connect()
    for number in range(20):
        body = json.dumps(chat_body("smol", {"hangs_up": True}, stream=number % 2 == 0))
        line.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {ADA}"})
        answer = line.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)
    line.close()
    # Plain answers keep their connection; each of ten streams ends one.
    assert 10 <= stack.engine.server.connections - opened <= 11


def test_a_large_body_arrives_whole(stack: Stack) -> None:
    body = chat_body("smol", extra="x" * 900_000)
    assert stack.ask("POST", "/v1/chat/completions", body).status == 200
    assert stack.engine.last()["extra"] == "x" * 900_000
