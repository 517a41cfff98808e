"""Fetches with the real tools image from a small hub: secrets, kills, full disks, and deletion."""

import contextlib
import hashlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.catalog.gguf_file import gguf_bytes, write_gguf
from tests.parts.dockerd import Dockerd, running_dockerd
from tests.parts.hub import TOKEN, Hub, running_hub
from tests.parts.importing import follow
from tests.workers.acting import containers, has_ended, inspect, reload, wait_for
from tests.workers.conftest import register
from webapp.foundation.errors import Conflict
from workers.launcher import images

pytestmark = pytest.mark.docker

NUMBER = 86
MIB = 1024**2


def model_bytes(size: int) -> bytes:
    """A sound GGUF of about `size` bytes whose data differ from place to place."""
    head = gguf_bytes(tensors={"token_embd.weight": (32, size // 128)})
    return head[:4096] + (bytes(range(251)) * (len(head) // 251 + 1))[: len(head) - 4096]


@pytest.fixture(scope="module")
def tools() -> Iterator[Dockerd]:
    """An engine with the real tools image."""
    with running_dockerd(NUMBER) as engine:
        client = docker.DockerClient(engine.endpoint, timeout=120)
        images.ensure_tools_image(client)
        client.close()
        yield engine


@pytest.fixture
def small(tools: Dockerd) -> Iterator[Hub]:
    with running_hub(tools.address) as running:
        yield running


@pytest.fixture
def tools_host(tools: Dockerd, small: Hub, transactional_db: None) -> Iterator[Any]:
    """A machine and a hub that may be asked, with a token; the models volume is gone afterwards."""
    from webapp.catalog import services
    from webapp.catalog.models import Hub as HubRow

    machine = register(tools, "real")
    HubRow.objects.all().delete()
    hub = HubRow.objects.create(name="Small", endpoint=small.url, allows_private=True)
    from webapp.accounts.models import User

    root = User.objects.create_superuser("someone", "", "has-a-password")
    services.save_hub(root, hub, name="Small", endpoint=small.url, token=TOKEN, allows_private=True)
    yield machine
    tools.remove_containers()
    with contextlib.closing(tools.client()) as client, contextlib.suppress(docker.errors.NotFound):
        client.remove_volume("modelyard-models", force=True)


@pytest.fixture
def get(tools_host: Any, ada: Any, team: Any, work: Any) -> Callable[..., Any]:
    def ask(repo: str = "org/Tiny-GGUF", variant: str = "Tiny-Q8_0") -> Any:
        from webapp.catalog.models import Hub as HubRow
        from webapp.jobs import fetching

        job = fetching.from_hub(ada, team, tools_host, HubRow.objects.get(), repo, variant)
        work.send("jobs.reconcile", job.pk)
        work()
        return reload(job)

    return ask


def look(job: Any, work: Any) -> Any:
    work.send("jobs.reconcile", job.pk)
    work()
    return reload(job)


def files_of(tools: Dockerd) -> list[str]:
    code = "import pathlib; print(*sorted(str(p) for p in pathlib.Path('/models').rglob('*') if p.is_file()))"
    with contextlib.closing(docker.DockerClient(tools.endpoint)) as client:
        volumes = {"modelyard-models": {"bind": "/models", "mode": "ro"}}
        said = client.containers.run("modelyard/tools:1", ["python3", "-c", code], volumes=volumes, remove=True)
    return said.decode().split()


def test_a_gated_file_arrives_and_its_token_is_nowhere_to_be_seen(
    get: Callable[..., Any], small: Hub, tools: Dockerd, work: Any
) -> None:
    content = model_bytes(5 * MIB)
    small.add("org/Tiny-GGUF", {"Tiny-Q8_0.gguf": content}, gated="manual")
    # It runs for as long as it is looked at.
    small.hold_at = 2 * MIB
    job = get()
    assert job.state == "running", job.reason
    seen = str(inspect(tools, job.container_name))
    wait_for(lambda: small.sent_bytes > MIB)
    with contextlib.closing(tools.client()) as client:
        seen += str(client.top(job.container_name)) + client.logs(job.container_name).decode()
    assert TOKEN not in seen
    small.hold_at = None
    wait_for(lambda: has_ended(tools, job.container_name))
    assert look(job, work).state == "succeeded", job.reason
    assert job.result["files"][0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert job.artifact.copies.get().state == "present"
    assert files_of(tools) == [f"/models/{job.artifact_id}/Tiny-Q8_0.gguf"]
    assert containers(tools, "job") == []


def _killed(get: Callable[..., Any], small: Hub, tools: Dockerd, work: Any, kills: int, size: int) -> None:
    content = model_bytes(size)
    small.add("org/Tiny-GGUF", {"Tiny-Q8_0.gguf": content})
    # Slow enough that each attempt says how far it came before it is killed, and none ends before.
    small.bytes_per_s = 8 * MIB
    job = get()
    for kill in range(1, kills + 1):
        small.hold_at = kill * size // (kills + 1)
        wait_for(lambda: small.sent_bytes >= small.hold_at)
        with contextlib.closing(tools.client()) as client:
            client.kill(job.container_name)
        look(job, work)
        assert (job.state, job.attempt) == ("running", kill + 1), job.reason
    small.hold_at = None
    wait_for(lambda: has_ended(tools, job.container_name))
    assert look(job, work).state == "succeeded", job.reason
    assert job.result["files"][0]["sha256"] == hashlib.sha256(content).hexdigest()
    header = size // 100  # the look into the header before it was queued
    assert small.sent_bytes <= 1.1 * len(content) + header, small.sent_bytes / len(content)


def test_a_fetch_that_is_killed_five_times_is_right_and_fetches_little_twice(
    get: Callable[..., Any], small: Hub, tools: Dockerd, work: Any
) -> None:
    _killed(get, small, tools, work, 5, 48 * MIB)


@pytest.mark.slow
def test_a_fetch_that_is_killed_twenty_times_is_right_and_fetches_little_twice(
    get: Callable[..., Any], small: Hub, tools: Dockerd, work: Any
) -> None:
    _killed(get, small, tools, work, 20, 200 * MIB)


@pytest.fixture
def small_disk(tools: Dockerd) -> Iterator[Path]:
    """The models volume on a file system of 64 MB."""
    folder = tools.root / "small-disk"
    folder.mkdir()
    options = "size=64m,uid=65534,gid=65534,mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    bind = {"type": "none", "o": "bind", "device": str(folder)}
    with contextlib.closing(tools.client()) as client:
        client.create_volume("modelyard-models", driver="local", driver_opts=bind)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


def test_a_model_too_large_for_the_disk_fails_at_once_and_nothing_is_visible(
    small_disk: Path, get: Callable[..., Any], small: Hub, tools: Dockerd, work: Any
) -> None:
    small.add("org/Tiny-GGUF", {"Tiny-Q8_0.gguf": model_bytes(200 * MIB)})
    job = get()
    asked = small.sent_bytes
    wait_for(lambda: has_ended(tools, job.container_name))
    look(job, work)
    assert (job.state, small.sent_bytes - asked) == ("failed", 0)
    assert "200 MiB are needed" in job.reason and "Remove models that nobody uses" in job.advice
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []


def partly(folder: Path) -> int:
    """Bytes of what has not arrived wholly."""
    return sum(path.stat().st_size for path in folder.rglob(".partial-*"))


def test_a_disk_that_fills_up_meanwhile_keeps_the_part_and_the_next_try_goes_on(
    small_disk: Path, tools_host: Any, ada: Any, team: Any, small: Hub, tools: Dockerd, work: Any, monkeypatch: Any
) -> None:
    from webapp.jobs import fetching
    from webapp.jobs import services as jobs

    monkeypatch.setenv("MODELYARD_FETCH_PRIVATE", tools.subnet)
    monkeypatch.setenv("MODELYARD_FETCH_HTTP", "1")
    content = model_bytes(40 * MIB)
    small.add("plain/files", {"m.gguf": content})
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 2 * MIB)
    job = fetching.from_url(ada, team, tools_host, f"{small.url}/plain/m.gguf")
    before = small.sent_bytes
    small.hold_at = before + 11 * MIB
    work.send("jobs.reconcile", job.pk)
    work()
    wait_for(lambda: small.sent_bytes >= small.hold_at and partly(small_disk) > 10 * MIB)
    (small_disk / "more").write_bytes(b"x" * 35 * MIB)
    small.hold_at = None
    wait_for(lambda: has_ended(tools, reload(job).container_name))
    assert look(job, work).state == "failed" and "disk" in job.reason
    folder = small_disk / str(job.artifact_id)
    assert not (folder / "m.gguf").exists() and (folder / ".partial-m.gguf").stat().st_size > 10 * MIB
    filler.unlink()
    (small_disk / "more").unlink()
    jobs.retry(ada, job)
    look(job, work)
    wait_for(lambda: has_ended(tools, job.container_name))
    assert look(job, work).state == "succeeded", job.reason
    assert (folder / "m.gguf").read_bytes() == content
    assert small.sent_bytes - before < len(content) + 2 * MIB


def test_a_deleted_copy_is_gone_from_the_disk_and_its_job_stays_to_be_read(
    get: Callable[..., Any], small: Hub, tools: Dockerd, work: Any, ada: Any, team: Any
) -> None:
    from webapp.catalog.models import Artifact, CatalogModel
    from webapp.jobs import deleting

    small.add("org/Tiny-GGUF", {"Tiny-Q8_0.gguf": model_bytes(2 * MIB)})
    job = get()
    wait_for(lambda: has_ended(tools, job.container_name))
    look(job, work)
    (deletion,) = deleting.delete_artifact(ada, team, job.artifact)
    look(deletion, work)
    wait_for(lambda: has_ended(tools, deletion.container_name))
    assert look(deletion, work).state == "succeeded", deletion.reason
    assert deletion.result["freed_bytes"] >= 2 * MIB
    assert files_of(tools) == []
    assert not Artifact.objects.exists() and not CatalogModel.objects.exists()
    assert deletion.about == "Tiny F32" and reload(job).artifact is None


def test_a_worker_that_dies_before_it_said_the_secrets_is_replaced(
    get: Callable[..., Any], small: Hub, tools: Dockerd, work: Any, monkeypatch: Any
) -> None:
    from workers.runtime.docker import DockerRuntime, _input

    small.add("org/Tiny-GGUF", {"Tiny-Q8_0.gguf": model_bytes(2 * MIB)}, private=True)

    start, started = DockerRuntime.start, []

    def start_silently_once(self: DockerRuntime, container_id: str, line: str | None = None) -> None:
        started.append(container_id)
        if len(started) > 1:
            start(self, container_id, line)
            return
        with contextlib.closing(tools.client()) as client, _input(client, container_id):
            client.start(container_id)

    monkeypatch.setattr(DockerRuntime, "start", start_silently_once)
    job = get()
    wait_for(lambda: len(started) > 1 or has_ended(tools, job.container_name))
    assert look(job, work).attempt == 2
    wait_for(lambda: has_ended(tools, job.container_name))
    assert look(job, work).state == "succeeded", job.reason


def test_an_import_that_was_closed_meanwhile_fails_with_the_command_and_then_is_for_every_user_to_read(
    tools_host: Any, tools: Dockerd, work: Any, ada: Any, team: Any, import_dir: Path
) -> None:
    from webapp.jobs import fetching
    from webapp.jobs import services as jobs

    folder = import_dir / "ada's own"
    folder.mkdir()
    path = write_gguf(folder / "Tiny-Q8_0.gguf")
    job = fetching.import_file(ada, team, tools_host, str(path))
    path.chmod(0o600)
    look(job, work)
    wait_for(lambda: has_ended(tools, job.container_name))
    assert look(job, work).state == "failed"
    assert job.reason == f"{path} cannot be read by jobs, which run as user 65534."
    follow(Conflict(job.reason, job.advice))
    jobs.retry(ada, job)
    look(job, work)
    wait_for(lambda: has_ended(tools, job.container_name))
    assert look(job, work).state == "succeeded", job.reason
    code = f"print(open('/models/{job.artifact_id}/{path.name}', 'rb').read(4))"
    with contextlib.closing(docker.DockerClient(tools.endpoint)) as client:
        said = client.containers.run(
            "modelyard/tools:1", ["python3", "-c", code], user="0:0", cap_drop=["ALL"], remove=True,
            volumes={"modelyard-models": {"bind": "/models", "mode": "ro"}},
        )  # fmt: skip
    assert said == b"b'GGUF'\n"
