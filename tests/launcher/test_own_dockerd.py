"""The daemon that we bring, and what belongs to an installation on an engine."""

import os
import subprocess
from pathlib import Path

import docker
import pytest

from tests.launcher.waiting import eventually
from workers import shut_down
from workers.launcher import docker_engine, down, own_dockerd

pytestmark = pytest.mark.docker


def test_the_installations_id_is_kept_on_the_engine(client: docker.DockerClient) -> None:
    first = docker_engine.ensure_installation_id(client, None)
    assert docker_engine.ensure_installation_id(client, None) == first
    assert docker_engine.installation_id(client) == first
    assert docker_engine.ensure_installation_id(client, "the-databases") == "the-databases"


def test_stopping_touches_only_our_containers(client: docker.DockerClient, tools: str) -> None:
    sleep = ["python3", "-c", "import time; time.sleep(1000)"]
    ours = client.containers.run(tools, sleep, detach=True, init=True, labels={"modelyard.installation": "here"})
    other = client.containers.run(tools, sleep, detach=True, init=True, labels={"modelyard.installation": "there"})
    assert docker_engine.stop_containers(client, "here") == [ours.id]
    for container in (ours, other):
        container.reload()
    assert (ours.status, other.status) == ("exited", "running")


def test_down_says_which_engines_it_stopped_while_docker_knows_them(
    state: Path, client: docker.DockerClient, tools: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_STATE_DIR", str(state))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    (state / "installation").write_text("downed")
    sleep = ["python3", "-c", "import time; time.sleep(1000)"]
    ours = client.containers.run(tools, sleep, detach=True, init=True, labels={"modelyard.installation": "downed"})
    other = client.containers.run(tools, sleep, detach=True, init=True)
    assert down.down() == 0
    assert shut_down.containers() == {ours.id}
    # Nothing to stop: what was stopped before still was.
    assert down.down() == 0
    assert shut_down.containers() == {ours.id}
    ours.remove()
    assert down.down() == 0
    assert shut_down.containers() == set()
    other.reload()
    assert other.status == "running"
    for name in ("installation", "shut-down.json"):
        (state / name).unlink()


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
