"""From a bare checkout to an answer, and to the same again."""

import contextlib
import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import docker
import pytest
from openai import APIStatusError, AuthenticationError, BadRequestError, NotFoundError, OpenAI

from tests.journey.stack import Stack
from tests.launcher.waiting import eventually
from tests.parts.namespaces import HERE, elsewhere, listening_ports

pytestmark = [pytest.mark.journey, pytest.mark.docker]

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]


@pytest.fixture
def openai(stack: Stack, key: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{stack.url}/v1", api_key=key, max_retries=0) as client:
        yield client


def test_the_printed_curl_line_works_exactly_as_printed(stack):
    text = stack.runs[0][0]
    curl = text[text.index("curl ") :].split("\n\n")[0]
    done = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True)
    assert "Paris" in json.loads(done.stdout)["choices"][0]["message"]["content"]


def test_the_printed_python_works_exactly_as_printed(stack):
    text = stack.runs[0][0]
    program = text[text.index("from openai import OpenAI") :].split("\n\n")[0]
    assert len(program.splitlines()) == 4
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Paris" in done.stdout


def test_the_openai_client_streams_with_usage_and_without(openai):
    stream = openai.chat.completions.create(
        model="smollm2", messages=QUESTION, stream=True, max_tokens=24, temperature=0
    )
    chunks = list(stream)
    assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert all(chunk.usage is None for chunk in chunks)
    asked = openai.chat.completions.create(
        model="smollm2", messages=QUESTION, stream=True, max_tokens=24, stream_options={"include_usage": True}
    )
    last = list(asked)[-1]
    assert last.usage is not None and last.usage.completion_tokens > 0


def test_the_model_list_shows_what_the_key_may_use(openai):
    assert [model.id for model in openai.models.list()] == ["smollm2"]


def test_one_deployment_has_an_address_of_its_own(stack, key):
    client = OpenAI(base_url=stack.deployment("smollm2", key)["endpoint"], api_key=key, max_retries=0)
    assert "Paris" in (
        client.chat.completions.create(model="smollm2", messages=QUESTION).choices[0].message.content or ""
    )


def test_mistakes_are_told_in_openais_shape(stack, openai):
    with (
        OpenAI(base_url=f"{stack.url}/v1", api_key="my_deadbeef_wrong", max_retries=0) as stranger,
        pytest.raises(AuthenticationError) as wrong_key,
    ):
        stranger.models.list()
    assert wrong_key.value.body["message"]
    with pytest.raises(NotFoundError) as unknown:
        openai.chat.completions.create(model="gpt-9", messages=QUESTION)
    assert "smollm2" in str(unknown.value)
    with pytest.raises(BadRequestError):
        openai.chat.completions.create(model="smollm2", messages="no list")  # type: ignore[call-overload]
    with pytest.raises(APIStatusError):
        openai.embeddings.create(model="smollm2", input="not started for embeddings")


def test_a_body_of_300_mb_is_refused_before_it_is_read(stack, key):
    headers = {"Authorization": f"Bearer {key}", "Content-Length": str(300 << 20), "Content-Type": "application/json"}
    request = urllib.request.Request(f"{stack.url}/v1/chat/completions", b"{", headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    assert refused.value.code == 413
    refused.value.close()


def test_the_estimate_agrees_with_what_the_engine_reported(stack, key):
    [replica] = stack.deployment("smollm2", key)["replicas"]
    estimated = {term["name"]: term["bytes"] for term in replica["estimate"]}
    observed = replica["observed"]
    for name in ("weights", "kv_cache"):
        reported = [size for place, size in observed.items() if name in place.split()]
        assert reported, observed
        assert abs(sum(reported) - estimated[name]) <= 1 << 20, (name, reported, estimated[name])


def test_usage_of_these_requests_has_arrived(stack, key):
    def tokens():
        return stack.api("/usage?range=7d&group=key", key)["total"]["completion_tokens"]

    assert eventually(tokens, "the gateway has told what it counted")


def test_from_another_machine_nothing_of_it_answers(stack):
    """By default it binds this machine alone; no engine, broker or metrics port answers either."""
    with contextlib.closing(docker.APIClient(stack.docker_host())) as client:
        boxes = [client.inspect_container(box["Id"])["NetworkSettings"]["Networks"] for box in client.containers()]
    addresses = [net["IPAddress"] for networks in boxes for net in networks.values() if net["IPAddress"]]
    ports = listening_ports(stack.pids(""))
    assert stack.port in ports
    with elsewhere() as other, socket.socket() as control:
        control.bind((HERE, 0))
        control.listen()
        known = control.getsockname()[1]
        places = [(HERE, port) for port in sorted({*ports, known})]
        places += [(address, port) for address in addresses for port in (80, 8000, 8080)]
        assert other.reaches(places) == [(HERE, known)], "what listens on this cable on purpose, and nothing else"
