"""Pages of other origins: only those that are named may read an answer, and every answer says so."""

import gzip
from collections.abc import Callable, Iterator
from http.client import HTTPMessage
from pathlib import Path

import pytest

from tests.gateway.stack import Stack, chat_body
from webapp.gateway import settings
from webapp.gateway.http.cors import Cors

PAGE, OTHER = "https://app.example", "https://evil.example"
CHAT = "/v1/chat/completions"
PROMISED = ("x-request-id", "retry-after", "x-modelyard-failed", "x-modelyard-served-by", "x-modelyard-warning")


@pytest.fixture(scope="module")
def open_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("cors")
    origins = f"{PAGE.upper()}:443, http://localhost:3000"
    stack = Stack(folder, MODELYARD_CORS_ORIGINS=origins, MODELYARD_MAX_BODY_BYTES=str(1024 * 1024))
    try:
        yield stack.start()
    finally:
        stack.stop()


def preflight(stack: Stack, path: str = CHAT, origin: str = PAGE, **headers: str) -> tuple[int, HTTPMessage]:
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization,x-stainless-os"}
    answer = stack.ask("OPTIONS", path, None, None, Origin=origin, **asked, **headers)
    return answer.status, answer.headers


def allowed(headers: HTTPMessage) -> str | None:
    found = headers.get_all("access-control-allow-origin") or [None]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    "path", [CHAT, "/v1/models", "/v1/models/a%2Fb", "/d/research/smol/v1/embeddings", "/v1/nothing"]
)
def test_a_preflight_needs_no_key_and_names_what_is_allowed(open_stack: Stack, path: str) -> None:
    status, headers = preflight(open_stack, path)
    assert (status, allowed(headers)) == (204, PAGE)
    assert headers["access-control-allow-methods"] == "GET, HEAD, POST"
    assert headers["access-control-allow-headers"] == "authorization,x-stainless-os"
    assert headers["access-control-max-age"] == "600"
    assert "origin" in headers.get_all("vary")
    assert headers["access-control-allow-credentials"] is None
    assert headers["content-length"] is None
    assert open_stack.engine.asked == open_stack.web.pages == []


@pytest.mark.parametrize(
    "origin", [OTHER, f"{PAGE}:8443", "http://app.example", "null", "https://app.example.evil.example"]
)
def test_a_preflight_of_another_origin_is_refused(open_stack: Stack, origin: str) -> None:
    status, headers = preflight(open_stack, origin=origin)
    assert (status, allowed(headers)) == (403, None)
    assert "origin" in headers.get_all("vary")


def test_every_answer_names_the_origin_whatever_it_is(open_stack: Stack) -> None:
    chat = chat_body("smol", {"tokens": 1})
    answers = {
        "document": open_stack.ask("POST", CHAT, chat, Origin=PAGE),
        "stream": open_stack.ask("POST", CHAT, {**chat, "stream": True}, Origin=PAGE),
        "list": open_stack.ask("GET", "/v1/models", Origin=PAGE),
        "one model": open_stack.ask("GET", "/v1/models/smol", Origin=PAGE),
        "no key": open_stack.ask("POST", CHAT, chat, None, Origin=PAGE),
        "list without key": open_stack.ask("GET", "/v1/models", None, None, Origin=PAGE),
        "no model": open_stack.ask("POST", CHAT, chat_body("nosuch"), Origin=PAGE),
        "not up": open_stack.ask("POST", CHAT, chat_body("asleep"), Origin=PAGE),
        "bad body": open_stack.ask("POST", CHAT, b"{", Origin=PAGE),
        "bad coding": open_stack.ask("POST", CHAT, gzip.compress(b"{}"), Origin=PAGE, Content_Encoding="br"),
        "too large": open_stack.ask("POST", CHAT, b" " * 2_000_000, Origin=PAGE),
        "wrong method": open_stack.ask("GET", CHAT, Origin=PAGE),
        "wrong path": open_stack.ask("POST", "/chat/completions", chat, Origin=PAGE),
        "engine's refusal": open_stack.ask("POST", CHAT, chat_body("smol", {"status": 400, "text": "no"}), Origin=PAGE),
        "engine died": open_stack.ask("POST", CHAT, chat_body("smol", {"die": "at once"}), Origin=PAGE),
        "two Host headers": open_stack.ask("GET", "/v1/models", Origin=PAGE, Transfer_Encoding="gzip"),
    }
    for name, answer in answers.items():
        assert allowed(answer.headers) == PAGE, name
        assert "origin" in answer.headers.get_all("vary"), name
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert set(PROMISED) <= set(exposed), name
    assert {answers[name].status for name in ("document", "stream", "list")} == {200}
    assert {answer.status for answer in answers.values()} >= {200, 400, 401, 404, 405, 413, 415, 502, 503}


def test_what_the_api_says_in_headers_may_be_read_by_the_page(open_stack: Stack) -> None:
    """Whatever header of our own an answer carries is in the list."""
    plain = {"content-type", "content-length", "date", "connection", "transfer-encoding", "vary", "cache-control"}
    for body in (chat_body("smol"), chat_body("asleep"), chat_body("nosuch")):
        answer = open_stack.ask("POST", CHAT, body, Origin=PAGE)
        own = {name.lower() for name in answer.headers if not name.lower().startswith("access-control")} - plain
        assert own <= set(answer.headers["access-control-expose-headers"].split(", "))


def test_another_origin_gets_no_word_that_would_show_it_the_answer(open_stack: Stack) -> None:
    for origin in (OTHER, "null", None):
        headers = {} if origin is None else {"Origin": origin}
        answer = open_stack.ask("POST", CHAT, chat_body("smol"), **headers)
        assert (answer.status, allowed(answer.headers)) == (200, None)
        assert answer.headers.get_all("vary") == ["origin"]  # a cache must not show this one to the page that may


def test_pages_and_the_rest_api_are_for_their_own_origin(open_stack: Stack) -> None:
    answer = open_stack.ask("GET", "/api/v1/deployments", Origin=PAGE)
    assert (answer.status, allowed(answer.headers)) == (200, None)
    status, headers = preflight(open_stack, "/api/v1/deployments")
    assert (status, allowed(headers)) == (200, None)


def test_headers_that_are_none_are_not_repeated(open_stack: Stack) -> None:
    answer = open_stack.ask(
        "OPTIONS", CHAT, None, None, Origin=PAGE, Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="x\x07y: z",
    )  # fmt: skip
    assert "z" not in answer.headers.get("access-control-allow-headers", "")


def test_options_that_is_no_preflight_is_no_way_around_a_key(open_stack: Stack) -> None:
    assert open_stack.ask("OPTIONS", CHAT, None, None).status == 401
    assert open_stack.ask("OPTIONS", CHAT, None, None, Origin=PAGE).status == 401


def test_without_the_setting_no_other_origin_may(stack: Stack) -> None:
    status, headers = preflight(stack)
    assert (status, allowed(headers)) == (403, None)
    answer = stack.ask("POST", CHAT, chat_body("smol"), Origin=PAGE)
    assert (answer.status, allowed(answer.headers), answer.headers["vary"]) == (200, None, None)


def test_everybody_may_when_a_star_says_so(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(MODELYARD_CORS_ORIGINS="*").start()
    for origin in (OTHER, "null"):
        status, headers = preflight(stack, origin=origin)
        assert (status, allowed(headers), headers["access-control-allow-credentials"]) == (204, "*", None)
        stream = stack.ask("POST", CHAT, chat_body("smol", stream=True), Origin=origin)
        assert (stream.status, allowed(stream.headers)) == (200, "*")


@pytest.mark.parametrize(
    "text",
    ["app.example", "https://app.example/", "https://app.example/path", "https://*.example", "ftp://a", "null", "https://",
     "https://a:b", "https://a b", "https://me@a", "https://app.example https://b.example"],
)  # fmt: skip
def test_what_is_no_origin_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(settings.SettingError, match="MODELYARD_CORS_ORIGINS"):
        settings.from_environment(0, {"MODELYARD_CORS_ORIGINS": text})


def test_origins_are_read_as_browsers_spell_them() -> None:
    text = " HTTPS://App.Example:443 ,http://localhost:3000,, http://[::1]:80"
    found = settings.from_environment(0, {"MODELYARD_CORS_ORIGINS": text}).cors_origins
    assert found == ("https://app.example", "http://localhost:3000", "http://[::1]")
    assert settings.from_environment(0, {}).cors_origins == ()
    assert settings.from_environment(0, {"MODELYARD_CORS_ORIGINS": "http://a, *"}).cors_origins == ("*",)
    assert Cors(()).lines(PAGE.encode()) == b""
