"""How it is asked whether it works, and what its answers mean."""

import json

import pytest

from webapp.engines.base import Capabilities, ProbeOutcome, Readiness
from webapp.engines.llamacpp.adapter import LlamaCpp
from webapp.engines.llamacpp.options import LlamaCppOptions
from webapp.planner.facts import ModelFacts

ENGINE = LlamaCpp()
LOADING = b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'
ANSWER = b'{"choices":[{"text":" 2","index":0}],"usage":{"completion_tokens":1}}'


@pytest.mark.parametrize(
    ("outcome", "readiness"),
    [
        (ProbeOutcome(None, error="connection refused"), Readiness.REFUSED),
        (ProbeOutcome(None, error="timeout"), Readiness.REFUSED),
        (ProbeOutcome(503, LOADING), Readiness.LOADING),
        (ProbeOutcome(200, b'{"status":"ok"}'), Readiness.READY),
        (ProbeOutcome(404, b""), Readiness.FAILED),
        (ProbeOutcome(500, b"oops"), Readiness.FAILED),
    ],
)
def test_health_answers(outcome: ProbeOutcome, readiness: Readiness) -> None:
    assert ENGINE.classify_health(outcome) is readiness


@pytest.mark.parametrize(
    ("outcome", "readiness"),
    [
        (ProbeOutcome(None, error="connection reset"), Readiness.REFUSED),
        (ProbeOutcome(503, LOADING), Readiness.LOADING),
        (ProbeOutcome(503, b"busy"), Readiness.FAILED),
        (ProbeOutcome(200, ANSWER), Readiness.READY),
        (ProbeOutcome(200, b'{"data":[{"embedding":[0.1]}]}'), Readiness.READY),
        (ProbeOutcome(200, b'{"choices":[]}'), Readiness.FAILED),
        (ProbeOutcome(200, b"<html>"), Readiness.FAILED),
        (ProbeOutcome(200, b"[" * 100_000), Readiness.FAILED),
        (ProbeOutcome(500, b'{"error":"a string"}'), Readiness.FAILED),
        (ProbeOutcome(501, b'{"error":{"type":"not_supported_error"}}'), Readiness.FAILED),
    ],
)
def test_completion_answers(outcome: ProbeOutcome, readiness: Readiness) -> None:
    assert ENGINE.classify_completion(outcome) is readiness


def test_probes_ask_for_the_least_that_proves_it_works() -> None:
    health, completion = ENGINE.health_probe(), ENGINE.completion_probe("smollm2")
    assert (health.method, health.path, health.body) == ("GET", "/health", None)
    assert (completion.method, completion.path) == ("POST", "/v1/completions")
    body = json.loads(completion.body or b"")
    assert (body["model"], body["max_tokens"]) == ("smollm2", 1)
    embedding = ENGINE.completion_probe("e5", LlamaCppOptions(embeddings=True))
    assert embedding.path == "/v1/embeddings"


def test_a_probe_of_a_model_that_writes_nothing_asks_for_a_vector() -> None:
    options = ENGINE.settled(LlamaCppOptions(), ModelFacts("bert", generates=False))
    assert ENGINE.completion_probe("smollm2", options).path == "/v1/embeddings"


@pytest.mark.parametrize(
    ("body", "capabilities"),
    [
        (
            b'{"chat_template_caps":{"supports_tools":false},"modalities":{"vision":false,"audio":true},'
            b'"default_generation_settings":{"n_ctx":256}}',
            Capabilities(False, False, True, 256),
        ),
        (b'{"chat_template_caps":{"supports_tools":true}}', Capabilities(True)),
        (b'{"chat_template_caps":7,"modalities":[],"default_generation_settings":{"n_ctx":"x"}}', Capabilities()),
        (b"[]", Capabilities()),
        (b"nonsense", Capabilities()),
    ],
)
def test_what_it_says_of_itself_is_read_as_far_as_it_is_understood(body: bytes, capabilities: Capabilities) -> None:
    assert ENGINE.read_capabilities(body) == capabilities
