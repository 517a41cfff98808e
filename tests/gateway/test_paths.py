"""Addresses as clients spell them: what is tolerated, what is told the right address, what stays closed."""

from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from tests.gateway.stack import EVE, Stack, chat_body
from webapp.gateway.http.cors import Cors
from webapp.gateway.http.errors import Problem
from webapp.gateway.http.request import MAX_TARGET_BYTES, Request
from webapp.gateway.process import routes
from webapp.gateway.routing.targets import Kind, Target, classify

HUB, OLLAMA = "meta-llama/Llama-3.1-8B", "qwen2.5:7b"
ALIASES = [HUB, OLLAMA, "GPT-4o", "hf.co/a/B-GGUF:Q4_K_M", "50%2Foff"]


@pytest.fixture
def named(stack: Stack) -> Any:
    usual = stack.web.snapshot["deployments"]
    renamed = stack.deployment(12, "renamed", aliases=ALIASES, replicas=[stack.replica(16, 0)])
    stack.publish(deployments=[renamed if one["id"] == 12 else one for one in usual])
    yield stack
    stack.publish(deployments=usual)


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_is_found_in_a_body_and_in_a_path_spelled_either_way(named: Stack, alias: str) -> None:
    assert named.chat(alias).status == 200
    spellings = {quote(alias, safe=""), quote(alias, safe="").lower() if "/" not in alias else quote(alias)}
    for spelled in spellings - ({quote(alias, safe="").lower()} if alias != alias.lower() else set()):
        answer = named.ask("GET", f"/v1/models/{spelled}")
        assert (answer.status, answer.json()["id"]) == (200, alias), spelled
    if "%" not in alias:
        assert named.ask("GET", f"/v1/models/{alias}").json()["id"] == alias
        assert named.ask("GET", f"/v1/models/{alias}/").json()["id"] == alias
    assert alias in {model["id"] for model in named.ask("GET", "/v1/models").json()["data"]}


@pytest.mark.parametrize("twice", ["meta-llama%252FLlama-3.1-8B", "qwen2.5%253A7b", "50%2Foff"])
def test_a_path_is_decoded_once(named: Stack, twice: str) -> None:
    answer = named.ask("GET", f"/v1/models/{twice}")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("broken", ["%", "%zz", "%2", "%ff%fe", "..", "%2e%2e", "%00", "a%0d%0ab", "renamed%2f"])
def test_a_name_that_no_model_has_is_a_404_in_json(named: Stack, broken: str) -> None:
    assert named.ask("GET", f"/v1/models/{broken}").error["code"] == "model_not_found"


def test_a_deployments_own_path_takes_an_alias_with_its_slash_escaped(named: Stack) -> None:
    path = f"/d/research/{quote(HUB, safe='')}/v1/chat/completions"
    assert named.ask("POST", path, chat_body(None)).status == 200
    assert named.ask("POST", path, chat_body(None), EVE).status == 404
    assert named.ask("POST", "/d/research/sm%6Fl/v1/chat/completions", chat_body(None)).status == 200


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions/", "/v1/chat/completions/?x=1", "/d/research/smol/v1/tokenize/"]
)
def test_a_slash_at_the_end_is_tolerated(stack: Stack, path: str) -> None:
    assert stack.ask("POST", path, chat_body("smol")).status == 200
    assert not stack.engine.asked[-1].target.endswith("/")
    assert stack.ask("POST", path, chat_body("smol"), None).status == 401
    assert {model["id"] for model in stack.ask("GET", "/v1/models/").json()["data"]} >= {"smol"}


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/v1//chat/completions", "/v1/chat/completions"),
        ("/V1/chat/completions", "/v1/chat/completions"),
        ("/%76%31/embeddings", "/v1/embeddings"),
        ("/./v1/models", "/v1/models"),
        ("//v1/models/", "/v1/models"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v2/chat/completions", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/completions", "/v1/completions"),
        ("/embeddings/", "/v1/embeddings"),
        ("/rerank", "/v1/rerank"),
        ("/responses", "/v1/responses"),
        ("/messages", "/v1/messages"),
        ("/openai/deployments/chat/chat/completions?api-version=2024-06-01", "/v1/chat/completions"),
        ("/openai/deployments/emb/embeddings?api-version=2024-06-01", "/v1/embeddings"),
        ("/openai/v1/models", "/v1/models"),
        ("/v1/engines/davinci/completions", "/v1/completions"),
        ("/api/v1/chat/completions", "/v1/chat/completions"),
        ("/api/chat", "/v1/chat/completions"),
        ("/api/generate", "/v1/completions"),
        ("/api/tags", "/v1/models"),
        ("/d/research/smol/chat/completions", "/d/research/smol/v1/chat/completions"),
        ("/d/research/smol/embeddings", "/d/research/smol/v1/embeddings"),
        ("/d/research/smol", "/d/research/smol/v1/models"),
        ("/d/research/meta-llama/L-8B/v1/chat/completions", "/d/research/meta-llama%2FL-8B/v1/chat/completions"),
        ("/d/research/meta-llama%2FL-8B/v1/chat/complete", "/d/research/meta-llama%2FL-8B/v1/models"),
        ("/d/research/caf%C3%A9%20au/lait/v1/embeddings", "/d/research/caf%C3%A9%20au%2Flait/v1/embeddings"),
        ("/v1beta/models/gemini:generateContent", "/v1/models"),
        ("/anything/at/all/v1/chat/completions", "/v1/chat/completions"),
    ],
)
def test_what_looks_like_inference_is_told_the_right_address_in_json(stack: Stack, path: str, right: str) -> None:
    for method in ("GET", "POST"):
        answer = stack.ask(method, path, chat_body("smol"), Accept="text/html")
        assert (answer.status, answer.error["code"]) == (404, "unknown_endpoint")
        assert f"use {right};" in answer.error["message"]
    assert stack.web.pages == []
    assert stack.engine.asked == []


@pytest.mark.parametrize(
    "path",
    ["/", "/models", "/models/", "/models/12/", "/deployments/1/", "/api/v1/deployments", "/api/v1/models/3",
     "/api/v1/", "/usage/requests", "/jobs/1/embeddings-log", "/accounts/login/", "/static/x.js", "/ws/live/x",
     "/keys/", "/healthz"],
)  # fmt: skip
def test_webs_pages_stay_webs(path: str) -> None:
    assert classify(path.encode()).kind is Kind.WEB


@pytest.mark.parametrize(
    "path",
    ["/internal/v1/chat/completions", "//internal/chat/completions", "/%2569nternal/chat/completions",
     "/v1x/../internal/chat/completions", "/internal/d/a/b/v1/embeddings"],
)  # fmt: skip
def test_no_tolerance_opens_webs_internal_paths(path: str) -> None:
    assert classify(path.encode()).kind is Kind.HIDDEN


@pytest.mark.parametrize(
    "path",
    ["/v1%2Fchat/completions", "/v1/chat%2fcompletions", "/v1/chat/completions%2f", "/v1/chat/completions/.",
     "/v1\\chat/completions", "/v1/chat/completions;x", "/v1/chat/completions/..",
     "/x/../v1/chat/completions", "/d/research/smol/v1/../v1/chat/completions"],
)  # fmt: skip
def test_a_path_that_two_readers_could_read_differently_reaches_no_engine(path: str) -> None:
    """Only the exact spellings, with or without slashes at the end, are inference."""
    assert classify(path.encode()).kind in (Kind.UNKNOWN_ENDPOINT, Kind.WEB)


def test_of_a_target_that_is_too_long_only_the_beginning_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets that are refused are asked about, too, and a thousand of them stay in memory."""
    asked: list[bytes] = []

    def remember(raw: bytes) -> Target:
        asked.append(raw)
        return classify(raw)

    monkeypatch.setattr(routes, "classify", remember)
    counted: list[str] = []
    ledger = SimpleNamespace(
        metrics=SimpleNamespace(refused={"target_too_long": 0}),
        access_log=SimpleNamespace(add=lambda line: None),
        refusals=SimpleNamespace(count=lambda who, endpoint, problem, request_id: counted.append(problem.code)),
    )
    state: Any = SimpleNamespace(
        cors=Cors(("https://app.example",)),
        table=SimpleNamespace(directory=SimpleNamespace(keys={})),
        ledger=ledger,
        inference=None,
        settings=None,
    )
    front: Any = SimpleNamespace(client="", refuse=lambda problem, request_id: 0)
    service = routes.Routes(state)
    request = Request(b"GET", b"/v1/" + b"a" * 200_000)
    assert service.own_lines(request) == b"vary: origin\r\n"
    service.refuse(front, request, Problem(414, "target_too_long", "too long"))
    assert counted == ["target_too_long"]
    assert [len(raw) for raw in asked] == [MAX_TARGET_BYTES] * 2
