"""What a deployment cannot do is refused in words; what it limits is changed and told."""

import gzip
import json
from typing import Any

import pytest

from tests.gateway.stack import Stack
from webapp.gateway.http.errors import Problem
from webapp.gateway.inference import engine_errors, request_body, request_rules
from webapp.gateway.inference.request_rules import Ruled
from webapp.gateway.routing.snapshot import DeploymentEntry

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
HELLO = [{"role": "user", "content": "hello"}]


def entry(**facts: Any) -> DeploymentEntry:
    return DeploymentEntry(1, 2, "chat", ["chat/completions"], "chat", "llamacpp", **facts)


def apply(endpoint: str, body: dict[str, Any] | bytes, **facts: Any) -> Ruled:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    parsed = request_body.read(endpoint, b"application/json", data)
    assert parsed.known is not None
    ruled = request_rules.apply(endpoint, parsed.known, entry(**facts), data)
    if request_rules.is_plain(parsed.known, entry(**facts)):
        assert ruled == Ruled(data)
    return ruled


def refusal(endpoint: str, body: dict[str, Any], **facts: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        apply(endpoint, body, **facts)
    return caught.value


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("chat/completions", {"messages": HELLO, "tools": TOOLS}),
        ("chat/completions", {"messages": HELLO, "functions": [{"name": "f"}]}),
        ("messages", {"messages": HELLO, "tools": [{"name": "f", "input_schema": {}}]}),
        ("responses", {"input": "hello", "tools": TOOLS, "tool_choice": "required"}),
    ],
)
def test_tools_for_a_model_that_has_no_place_for_them_are_refused(endpoint: str, body: dict[str, Any]) -> None:
    problem = refusal(endpoint, body, tools=False)
    assert (problem.status, problem.code, problem.param) == (400, "tools_not_supported", "tools")
    assert problem.message.startswith("this model cannot call tools")
    assert apply(endpoint, body, tools=True).body == apply(endpoint, body, tools=None).body


@pytest.mark.parametrize("asked", [{}, {"tools": []}, {"tools": None}, {"tools": TOOLS, "tool_choice": "none"}])
def test_a_request_that_needs_no_tools_is_answered_by_any_model(asked: dict[str, Any]) -> None:
    assert apply("chat/completions", {"messages": HELLO, **asked}, tools=False).warnings == b""


def test_anthropics_word_for_no_tools_is_understood_too() -> None:
    body = {"messages": HELLO, "tools": [{"name": "f", "input_schema": {}}]}
    assert apply("messages", {**body, "tool_choice": {"type": "none"}}, tools=False).warnings == b""
    for other in ({"type": "auto"}, {"type": "any"}, "auto", None, 5):
        assert refusal("messages", {**body, "tool_choice": other}, tools=False).code == "tools_not_supported"


@pytest.mark.parametrize(
    ("endpoint", "name"), [("chat/completions", "messages"), ("messages", "messages"), ("responses", "input")]
)
def test_a_conversation_of_nothing_is_refused(endpoint: str, name: str) -> None:
    problem = refusal(endpoint, {name: []})
    assert (problem.status, problem.code, problem.param) == (400, "empty_array", name)
    with pytest.raises(Problem):
        apply(endpoint, b'{"%b": [%b]}' % (name.encode(), b" \n" * 1000))
    apply(endpoint, {name: [{"role": "user", "content": ""}]})


@pytest.mark.parametrize(
    ("asked", "sent", "lowered"),
    [
        ({}, {"max_tokens": 50}, False),
        ({"max_tokens": None}, {"max_tokens": 50}, False),
        ({"max_tokens": 80}, {"max_tokens": 80}, False),
        ({"max_completion_tokens": 80}, {"max_completion_tokens": 80, "max_tokens": 80}, False),
        ({"max_output_tokens": 80}, {"max_output_tokens": 80, "max_tokens": 80}, False),
        ({"n_predict": 1, "max_output_tokens": 80}, {"n_predict": 1, "max_output_tokens": 80, "max_tokens": 1}, False),
        ({"max_tokens": 101}, {"max_tokens": 100}, True),
        ({"max_tokens": -1}, {"max_tokens": 100}, True),
        ({"max_tokens": 1e6}, {"max_tokens": 100}, True),
        ({"max_tokens": 10, "n_predict": 1000}, {"max_tokens": 10, "n_predict": 100}, True),
        ({"max_completion_tokens": 500}, {"max_completion_tokens": 100, "max_tokens": 100}, True),
    ],
)
def test_a_deployments_own_limits_of_an_answer_are_kept(
    asked: dict[str, Any], sent: dict[str, Any], lowered: bool
) -> None:
    ruled = apply("chat/completions", {"messages": HELLO, **asked}, max_tokens_default=50, max_tokens_limit=100)
    assert json.loads(ruled.body) == {"messages": HELLO, **sent}
    assert (b"x-modelyard-warning: " in ruled.warnings) == lowered


def test_a_limit_that_is_no_number_is_refused_where_it_would_mean_none() -> None:
    problem = refusal("completions", {"prompt": "a", "max_tokens": "many"}, max_tokens_limit=100)
    assert (problem.status, problem.param) == (400, "max_tokens")
    body = {"prompt": "a", "max_tokens": "many"}
    assert json.loads(apply("completions", body, max_tokens_default=100).body) == body


def test_a_name_spelled_with_escapes_is_limited_like_any_other() -> None:
    ruled = apply("completions", rb'{"prompt":"a","max\u005ftokens":9000}', max_tokens_limit=100)
    assert json.loads(ruled.body)["max_tokens"] == 100


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions", "messages", "responses"])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict"])
def test_a_spelling_that_an_engine_overlooks_does_not_lift_the_limit(endpoint: str, name: str) -> None:
    usual = "max_output_tokens" if endpoint == "responses" else "max_tokens"
    assert json.loads(apply(endpoint, {name: 5.0}, max_tokens_limit=9).body) == {name: 5.0, usual: 5}
    body = {name: 5, "messages": HELLO}
    assert json.loads(apply(endpoint, body, max_tokens_default=9).body) == body


def test_each_way_of_asking_has_its_own_word_for_the_limit() -> None:
    assert json.loads(apply("responses", {"input": "a"}, max_tokens_limit=9).body)["max_output_tokens"] == 9
    assert json.loads(apply("messages", {"messages": HELLO}, max_tokens_default=9).body)["max_tokens"] == 9
    body = {"input": "a"}
    assert json.loads(apply("embeddings", body, max_tokens_default=9, max_tokens_limit=9).body) == body


@pytest.mark.parametrize(
    ("body", "choices", "prompts"),
    [
        ({"prompt": "a"}, 1, 1),
        ({"prompt": "a", "n": 3}, 3, 1),
        ({"prompt": ["a", "b"], "n": 2}, 2, 2),
        ({"prompt": [1, 2, 3]}, 1, 1),
        ({"prompt": [[1, 2], [3]]}, 1, 2),
        ({"prompt": "a", "n": "x"}, 1, 1),
        ({"prompt": "a", "n": -1}, 1, 1),
        ({"prompt": "a", "n": 1e300}, 1, 1),
        ({"prompt": []}, 1, 1),
    ],
)
def test_how_many_answers_a_request_asks_for_is_read(body: dict[str, Any], choices: int, prompts: int) -> None:
    ruled = apply("completions", body)
    assert (ruled.choices, ruled.prompts) == (choices, prompts)


IGNORED = {"embeddings": ["dimensions"], "chat/completions": ["tool_choice"], "messages": ["tool_choice"]}


@pytest.mark.parametrize(
    ("endpoint", "body", "word"),
    [
        ("embeddings", {"input": "a", "dimensions": 3}, b"dimensions"),
        ("embeddings", {"input": "dimensions"}, b""),
        ("embeddings", {"input": "a", "dimensions": None}, b""),
        ("chat/completions", {"messages": HELLO, "tools": TOOLS, "tool_choice": "required"}, b"tool_choice"),
        ("chat/completions", {"messages": HELLO, "tools": TOOLS, "tool_choice": TOOLS[0]}, b"tool_choice"),
        ("messages", {"messages": HELLO, "tools": TOOLS, "tool_choice": {"type": "any"}}, b"tool_choice"),
        ("messages", {"messages": HELLO, "tools": TOOLS, "tool_choice": {"type": "auto"}}, b""),
        ("chat/completions", {"messages": HELLO, "tools": TOOLS, "tool_choice": "auto"}, b""),
    ],
)
def test_what_an_engine_does_not_heed_is_told_in_a_header(endpoint: str, body: dict[str, Any], word: bytes) -> None:
    warnings = apply(endpoint, body, ignored_members=IGNORED).warnings
    assert warnings == b"" if not word else warnings.startswith(b"x-modelyard-warning: " + word)
    assert warnings.count(b"\r\n") == (1 if word else 0)


# As llama.cpp at 0c1e57098 says it; the last three are vLLM 0.32's.
@pytest.mark.parametrize(
    ("status", "error", "code", "words"),
    [
        (
            400,
            {
                "code": 400,
                "message": "request (2031 tokens) exceeds the available context size (256 tokens), try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 2031,
                "n_ctx": 256,
            },
            "context_length_exceeded",
            ["256 tokens", "2031 tokens"],
        ),
        (
            500,
            {
                "code": 500,
                "message": "input (601 tokens) is too large to process. increase the physical batch size "
                "(current batch size: 512)",
                "type": "server_error",
            },
            "context_length_exceeded",
            ["512 tokens", "601 tokens"],
        ),
        (
            400,
            {"code": 400, "message": "Field 'n': Value must be between 1 <= value <= 2, but got 3"},
            "invalid_value",
            ["from 1 to 2", "slots"],
        ),
        (
            500,
            {"code": 500, "message": "image input is not supported - hint: if this is unexpected, you may need ..."},
            "input_not_supported",
            ["no image input", "text"],
        ),
        (500, {"code": 500, "message": "audio input is not supported - hint: x"}, "input_not_supported", ["no audio"]),
        (
            500,
            {"code": 500, "message": "Failed to parse messages: Missing 'role' in message: {}", "type": "server_error"},
            "invalid_value",
            ["Missing 'role'"],
        ),
        (400, {"message": "smol is not a multimodal model"}, "input_not_supported", ["no image input"]),
        (400, {"message": "At most 0 audio(s) may be provided in one prompt."}, "input_not_supported", ["no audio"]),
        (
            400,
            {"message": "This model's maximum context length is 64 tokens. However, your prompt contains 90 input ..."},
            "context_length_exceeded",
            ["64 tokens", "90"],
        ),
    ],
)
def test_a_clients_mistake_is_told_in_openais_words(
    status: int, error: dict[str, Any], code: str, words: list[str]
) -> None:
    problem = engine_errors.normalise(status, json.dumps({"error": error}).encode())
    assert (problem.status, problem.code, problem.source) == (400, code, "client")
    assert all(word in problem.message for word in words)
    assert problem.type == "invalid_request_error"


def test_advice_for_whoever_starts_the_engine_reaches_nobody_else() -> None:
    message = "This server does not support reranking. Start it with `--reranking`"
    problem = engine_errors.normalise(501, json.dumps({"error": {"code": 501, "message": message}}).encode())
    assert (problem.status, problem.code, problem.source) == (404, "endpoint_not_offered", "client")
    assert "Start it" not in problem.message


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "smol", "messages": [{"role": "user", "content": "hello"}], "\xff": 1}',
        b'{"model": "smol", "stream": true, "stream_options": {"\xff": 1}, "messages": [{"role": "user"}]}',
    ],
)
def test_a_member_whose_name_is_no_text_is_a_400(stack: Stack, body: bytes, packed: bool) -> None:
    usual = stack.web.snapshot["deployments"]
    limited = [
        {**one, "max_tokens_limit": 9, "upstream_model": "other"} if one["name"] == "smol" else one for one in usual
    ]
    stack.publish(deployments=limited)
    try:
        for _ in range(3):  # the second and third come with a head that is known
            coding = {"Content-Encoding": "gzip"} if packed else {}
            answer = stack.ask("POST", "/v1/chat/completions", gzip.compress(body) if packed else body, **coding)
            assert (answer.status, answer.error["code"]) == (400, "invalid_json")
    finally:
        stack.publish(deployments=usual)
