"""Stopping, starting again, and a port that is taken."""

import socket
import subprocess

import docker
import pytest

pytestmark = [pytest.mark.journey, pytest.mark.docker]


def engines(stack):
    client = docker.DockerClient(base_url=stack.docker_host())
    try:
        return {c.id: c.status for c in client.containers.list(filters={"label": "modelyard.kind=replica"})}
    finally:
        client.close()


def test_ctrl_c_leaves_the_engine_and_a_second_run_adopts_it(stack, key, capsys):
    before = engines(stack)
    crashes = stack.deployment("smollm2", key)["replicas"][0]["crash_count"]
    assert len(before) == 1
    stopped_in = stack.interrupt()
    assert not stack.pids("modelyard") and not stack.pids("webapp")
    assert engines(stack) == before
    _text, seconds = stack.start()
    with capsys.disabled():
        print(f"\nCtrl-C to the end: {stopped_in:.1f} s; second `make run` to ready: {seconds:.1f} s")
    assert engines(stack) == before
    assert stack.deployment("smollm2", key)["replicas"][0]["crash_count"] == crashes
    assert "API key" not in stack.runs[-1][0].replace("with the key", "")


def test_a_second_instance_in_the_same_folder_is_refused(stack):
    done = subprocess.run(["make", "run"], cwd=stack.folder, env=stack.environment(), capture_output=True, text=True)
    assert done.returncode != 0
    assert "already" in (done.stdout + done.stderr)


def test_a_port_that_is_taken_is_named_with_what_to_do(stack, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        environment = {**stack.environment(), "MODELYARD_PORT": str(port), "MODELYARD_STATE_DIR": str(tmp_path)}
        done = subprocess.run(["make", "run"], cwd=stack.folder, env=environment, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert str(port) in said and "MODELYARD_PORT" in said
    assert not list(tmp_path.glob("db*"))
