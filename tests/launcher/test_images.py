"""The locally built llama.cpp image on a real Docker engine, and the ways an image gets there."""

import dataclasses
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from tests.launcher import small_registry
from tests.launcher.containers import HARDENED, ended
from tests.launcher.waiting import eventually
from webapp.engines.llamacpp.images import LOCAL
from workers.launcher import images, pulling
from workers.launcher.progress import LauncherError

pytestmark = pytest.mark.docker


class Engines:
    """Starts engine containers as the product does, and removes them."""

    def __init__(self, client: docker.DockerClient, image: str, models: Path) -> None:
        self.client, self.image, self.models = client, image, models
        self.containers: list[Container] = []

    def start(self, *flags: str, **extra: Any) -> Container:
        volumes = {str(self.models): {"bind": "/models", "mode": "ro"}}
        container = self.client.containers.run(
            self.image, list(flags), detach=True, volumes=volumes, **{**HARDENED, **extra}
        )
        self.containers.append(container)
        return container

    def ready(self, *flags: str, **extra: Any) -> tuple[Container, str]:
        container = self.start("-m", "/models/smollm2.gguf", "-c", "512", "-np", "1", "-t", "1", *flags, **extra)
        container.reload()
        url = f"http://{container.attrs['NetworkSettings']['IPAddress']}:8080"

        def health() -> bool:
            try:
                return urllib.request.urlopen(f"{url}/health", timeout=30).status == 200
            except OSError:
                container.reload()
                assert container.status == "running", container.logs().decode()
                return False

        eventually(health, "the engine is ready", 180)
        return container, url


@pytest.fixture
def engines(client: docker.DockerClient, llamacpp: str, models: Path) -> Iterator[Engines]:
    started = Engines(client, llamacpp, models)
    yield started
    for container in started.containers:
        container.remove(force=True)


# Longer than any clean stop takes; then Docker kills, which the exit code says.
SOON_S = 300
KILLED = 137


def post(url: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_the_model_answers_hardened_and_without_root(engines: Engines) -> None:
    container, url = engines.ready("--alias", "smollm2", "--metrics", "-lv", "4")
    question = {"role": "user", "content": "What is the capital of France? Answer in one sentence."}
    answer = post(f"{url}/v1/chat/completions", {"messages": [question], "max_tokens": 16, "temperature": 0})
    assert answer["choices"][0]["message"]["content"] == "The capital of France is Paris."
    assert answer["model"] == "smollm2"
    assert answer["usage"]["completion_tokens"] > 0
    assert b"llamacpp:tokens_predicted_total" in urllib.request.urlopen(f"{url}/metrics", timeout=30).read()
    assert container.exec_run(["python3", "-c", "import os; print(os.getuid())"]).output.strip() == b"65534"
    log = container.logs().decode()
    for words in ("CPU_Mapped model buffer size", "CPU KV buffer size", "CPU compute buffer size"):
        assert words in log


def test_a_stop_is_clean_also_while_streaming(engines: Engines) -> None:
    container, url = engines.ready()
    body = json.dumps({"prompt": "Once", "max_tokens": 400, "stream": True, "ignore_eos": True}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/completions", body), timeout=60) as stream:
        assert stream.readline().startswith(b"data:")
        container.stop(timeout=SOON_S)
    assert ended(container)[0] == 0


def test_a_stop_while_loading_ends_it(engines: Engines) -> None:
    container = engines.start("-m", "/models/smollm2.gguf")
    eventually(lambda: b"load_model" in container.logs(), "it is loading")
    container.stop(timeout=SOON_S)
    assert ended(container)[0] != KILLED


def test_an_unknown_flag_is_refused_in_llama_servers_words(engines: Engines) -> None:
    assert ended(engines.start("--nonsense")) == (1, "error: invalid argument: --nonsense\n")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-c"], "expected value for argument"),
        (["-c", "many"], 'error while handling argument "-c"'),
        (["-ctk", "q3"], "unknown value 'q3'"),
        (["-m", "/models/garbage.gguf"], "invalid magic characters: 'garb', expected 'GGUF'"),
        (["-m", "/models/cut.gguf"], "data is not within the file bounds"),
        (["-m", "/models/none.gguf"], "No such file or directory"),
        ([], "no model given"),
    ],
)
def test_bad_input_ends_with_one_and_says_why(engines: Engines, flags: list[str], words: str) -> None:
    code, log = ended(engines.start(*flags))
    assert code == 1
    assert words in log


def test_a_cache_that_does_not_fit_is_an_out_of_memory_kill(engines: Engines) -> None:
    flags = ["-m", "/models/smollm2.gguf", "-c", "8192", "-np", "1", "-ctk", "f32", "-ctv", "f32", "-fit", "off"]
    container = engines.start(*flags, mem_limit="128m", memswap_limit="128m")
    assert container.wait(timeout=600)["StatusCode"] == KILLED
    container.reload()
    assert container.attrs["State"]["OOMKilled"]


def test_flags_reach_the_engine(engines: Engines) -> None:
    flags = [
        "-ctk",
        "q8_0",
        "-ctv",
        "q8_0",
        "-fa",
        "on",
        "-b",
        "256",
        "-ub",
        "128",
        "--api-key",
        "one,two",
        "-ngl",
        "0",
    ]
    container, url = engines.ready("-lv", "4", "-tb", "1", "--no-mmap", "--no-webui", "--timeout", "30", *flags)
    log = container.logs().decode()
    assert "K (q8_0)" in log and "n_ubatch" in log
    with pytest.raises(urllib.error.HTTPError) as refusal:
        post(f"{url}/v1/completions", {"prompt": "a", "max_tokens": 1})
    assert refusal.value.code == 401
    refusal.value.close()
    assert post(f"{url}/v1/completions", {"prompt": "a", "max_tokens": 1}, Authorization="Bearer two")["choices"]


def test_embeddings_are_answered_when_asked_for(engines: Engines) -> None:
    _, url = engines.ready("--embeddings", "--pooling", "mean")
    assert len(post(f"{url}/v1/embeddings", {"input": "a text"})["data"][0]["embedding"]) == 576


def test_a_second_call_finds_the_image_and_does_nothing(client: docker.DockerClient, llamacpp: str) -> None:
    said: list[str] = []
    found = images.ensure_llamacpp_image(client, on_progress=said.append)
    assert (found, said) == (llamacpp, []) and llamacpp == LOCAL


def test_a_new_engine_loads_the_saved_image(client: docker.DockerClient, llamacpp: str) -> None:
    client.images.remove(llamacpp, force=True)
    said: list[str] = []
    images.ensure_local(client, images.LLAMACPP, said.append)
    assert said == [f"loading {llamacpp} from the cache"]


def test_an_upgrade_without_a_network_keeps_the_image_that_worked(
    client: docker.DockerClient, tools: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_network(*_: object) -> str:
        raise LauncherError("apt could not get the packages")

    changed = tmp_path / "fetch.py"
    changed.write_text("# a new version")
    newer = dataclasses.replace(images.TOOLS_IMAGE, files={"compose/tools/fetch.py": changed})
    monkeypatch.setattr(images, "ensure_base_image", no_network)
    said: list[str] = []
    before = client.images.get(tools).id
    assert images.ensure_local(client, newer, said.append) == tools
    assert client.images.get(tools).id == before
    assert "stays as it was: apt could not" in said[-1]
    absent = dataclasses.replace(newer, tag="modelyard/absent:1")
    with pytest.raises(LauncherError):
        images.ensure_local(client, absent)


def test_a_registry_out_of_reach_is_noticed_before_the_engine_is_asked(
    client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "CONNECT_LIMIT_S", 1.0)
    # An address kept for documentation: nothing answers there.
    assert "no connection to 192.0.2.77" in (pulling.pull(client, "192.0.2.77/some/image:tag") or "")


def test_an_image_is_pulled_with_progress(client: docker.DockerClient) -> None:
    said: list[str] = []
    with small_registry.serving() as registry:
        assert pulling.pull(client, registry.image, said.append) is None
        assert images.find(client, registry.image) is not None
        client.images.remove(registry.image)
    assert said


def test_a_pull_of_what_the_registry_lacks_says_so(client: docker.DockerClient) -> None:
    with small_registry.serving() as registry:
        registry.manifest = b"{}"
        assert pulling.pull(client, registry.image)


@pytest.mark.parametrize(
    ("limit_s", "stall_s", "why"), [("1.5", 3600.0, "after 2 s|for 2 s"), ("3600", 1.5, "nothing heard for 2 s")]
)
def test_a_pull_that_does_not_go_on_is_given_up_in_its_time(
    client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch, limit_s: str, stall_s: float, why: str
) -> None:
    monkeypatch.setenv("MODELYARD_PULL_LIMIT_S", limit_s)
    monkeypatch.setattr(pulling, "STALL_LIMIT_S", stall_s)
    with small_registry.serving() as registry:
        registry.stalls = True
        assert re.search(why, pulling.pull(client, registry.image) or "")
        assert images.find(client, registry.image) is None
