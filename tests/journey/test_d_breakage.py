"""Kill one process after the other while people stream: no request may fail, and the truth comes back."""

import contextlib
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request

import docker
import pytest
from openai import OpenAI

from tests.journey.stack import Stack
from tests.launcher.waiting import eventually
from tests.parts import figures

pytestmark = [pytest.mark.journey, pytest.mark.docker]

VICTIMS = {
    "worker": "-m workers ",
    "beat": "-m workers.beat",
    "watcher": "workers.watcher",
    "web": "webapp.asgi:application",
    "broker": "valkey.sock",
}


class Streams:
    """People who keep asking for streams, two at a time, until told to stop."""

    def __init__(self, stack: Stack, key: str) -> None:
        self.client = OpenAI(base_url=f"{stack.url}/v1", api_key=key, max_retries=0, timeout=600)
        self.done, self.failures = 0, []
        self.enough = threading.Event()
        self.threads = [threading.Thread(target=self._ask) for _ in range(2)]

    def _ask(self) -> None:
        while not self.enough.is_set():
            try:
                stream = self.client.chat.completions.create(
                    model="smollm2", messages=[{"role": "user", "content": "Count to ten."}], stream=True, max_tokens=32
                )
                finished = [c.choices[0].finish_reason for c in stream if c.choices][-1]
                assert finished in ("stop", "length"), finished
                self.done += 1
            except Exception as error:
                self.failures.append(repr(error))

    def __enter__(self) -> "Streams":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.enough.set()
        for thread in self.threads:
            thread.join()
        self.client.close()


def ask(stack, key):
    """Status and headers of one plain request."""
    body = json.dumps({"model": "smollm2", "messages": [{"role": "user", "content": "there?"}]}).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{stack.url}/v1/chat/completions", body, headers)
        ) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code, refused.headers


@contextlib.contextmanager
def standing_still(stack, name):
    """These processes do nothing meanwhile."""
    stopped = stack.pids(name)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("victim", VICTIMS)
def test_killing_one_process_fails_no_request_and_heals(stack, key, victim):
    before = stack.deployment("smollm2", key)
    with Streams(stack, key) as streams:
        time.sleep(1)
        killed = stack.pids(VICTIMS[victim])
        assert killed, victim
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        while not (new := set(stack.pids(VICTIMS[victim])) - set(killed)):
            assert time.monotonic() - began < 300, f"{victim} did not come back"
            time.sleep(0.05)
        after = stack.wait_for("smollm2", "ready", key)
        figures.tell(f"kill -9 of {victim} while streaming: right again", time.monotonic() - began, 30, "s")
        time.sleep(2)
    assert new
    assert streams.failures == []
    assert streams.done > 0
    assert after["replicas"][0]["id"] == before["replicas"][0]["id"]
    assert after["replicas"][0]["crash_count"] == before["replicas"][0]["crash_count"]


def test_an_engine_that_is_killed_is_shown_restarting_and_comes_back(stack, key):
    engine = docker.DockerClient(base_url=stack.docker_host())
    [container] = engine.containers.list(filters={"label": "modelyard.kind=replica"})
    # The sweep would find it, too, without the watcher; and while the workers stand still nothing starts it again.
    with standing_still(stack, VICTIMS["beat"]):
        container.kill()
        found = stack.wait_for("smollm2", "restarting", key)
        with standing_still(stack, VICTIMS["worker"]):
            status, headers = ask(stack, key)
    assert found["replicas"][0]["reason_code"] == "killed"
    assert status == 503
    assert int(headers["Retry-After"]) > 0
    stack.wait_for("smollm2", "ready", key)
    assert [c.status for c in engine.containers.list(all=True, filters={"label": "modelyard.kind=replica"})] == [
        "running"
    ]
    engine.close()


def test_a_container_removed_behind_our_back_is_made_again_without_the_watcher(stack, key):
    """With the watcher stopped nothing reports the loss; the sweep finds it."""
    engine = docker.DockerClient(base_url=stack.docker_host())
    with standing_still(stack, VICTIMS["watcher"]):
        [container] = engine.containers.list(filters={"label": "modelyard.kind=replica"})
        container.remove(force=True)
        eventually(lambda: stack.deployment("smollm2", key)["state"] != "ready", "the sweep has found it", 300)
    stack.wait_for("smollm2", "ready", key)
    engine.close()
