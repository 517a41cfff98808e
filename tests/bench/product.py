"""Figures of the whole product: first and second start, create to ready, idle cost, memory estimate."""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from tests.journey.stack import Stack, open_stack, printed
from tests.parts import figures
from tests.parts.figures import Figure
from tests.parts.memory import pss_bytes

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
IDLE_S = 60


def measure(cold: bool) -> Iterator[Figure]:
    """Start an installation and measure it. `cold`: with an empty cache, as on a new machine."""
    with _stack(cold) as stack:
        text, seconds = stack.start()
        key = printed(text, "API key")
        name = "first `make run` to the first answer" + (", empty caches" if cold else ", images cached")
        yield Figure(name, seconds, 360, "s")
        yield from estimate_errors(stack, key)
        yield create_to_ready(stack, key)
        yield killed_to_page(stack, printed(text, "Sign in"), printed(text, "Password"))
        stack.wait_for("smollm2", "ready", key)
        yield from idle_cost(stack)
        stack.interrupt()
        _text, seconds = stack.start()
        yield Figure("second `make run` to ready", seconds, 20, "s")


def create_to_ready(stack: Stack, key: str, rounds: int = 5) -> Figure:
    """Median of `rounds`: from the request to `ready`, less the engine's own time from its start to loaded."""
    beyond = []
    artifact = stack.deployment("smollm2", key)["artifact_id"]
    for number in range(rounds):
        name = f"bench-{number}"
        began = time.time()
        made = stack.api("/deployments", key, "POST", {"name": name, "artifact": artifact})
        ready = stack.wait_for(name, "ready", key)["replicas"][0]["ready_at"]
        total = datetime.fromisoformat(ready).timestamp() - began
        beyond.append(total - engine_load_s(stack, made["replicas"][0]["id"]))
        stack.api(f"/deployments/{made['id']}", key, "DELETE")
        while stack.deployment(name, key):
            time.sleep(0.1)
    return Figure("create to ready, beyond the engine's own load", sorted(beyond)[rounds // 2], 2, "s")


def killed_to_page(stack: Stack, username: str, password: str) -> Figure:
    """From `docker kill` of the engine to the word "restarting" on a deployment's open page."""
    import docker

    from tests.parts.browser import chromium, sign_in

    client = docker.DockerClient(base_url=stack.docker_host())
    [container] = client.containers.list(filters={"label": "modelyard.kind=replica"})
    with chromium() as browser:
        page = sign_in(browser, stack.url, username, password)
        page.get_by_role("link", name="smollm2").first.click()
        page.get_by_role("heading", name="Replicas").wait_for()
        time.sleep(2)  # the socket is open and quiet
        began = time.monotonic()
        container.kill()
        page.locator("#deployment-panel .status-line", has_text="restarting").wait_for(timeout=20_000)
        seconds = time.monotonic() - began
    client.close()
    return Figure("engine killed to `restarting` on an open page", seconds, 1, "s")


def engine_load_s(stack: Stack, replica_id: int) -> float:
    """Seconds from the container's start to the engine's own line that it listens with the model loaded."""
    import docker

    client = docker.DockerClient(base_url=stack.docker_host())
    try:
        labels = ["modelyard.kind=replica", f"modelyard.id={replica_id}"]
        [container] = client.containers.list(filters={"label": labels})
        started = _docker_time(container.attrs["State"]["StartedAt"])
        for line in container.logs(timestamps=True).decode(errors="replace").splitlines():
            stamp, _, words = line.partition(" ")
            if "model loaded" in words or "server is listening" in words:
                return _docker_time(stamp) - started
        return 0.0
    finally:
        client.close()


def estimate_errors(stack: Stack, key: str) -> Iterator[Figure]:
    """Estimated against reported bytes of mapped weights and KV cache, in MiB."""
    deadline = time.monotonic() + 10
    while not (replica := stack.deployment("smollm2", key)["replicas"][0])["observed"]:
        # The engine's lines are stored a moment after it is ready.
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    estimated = {term["name"]: term["bytes"] for term in replica["estimate"]}
    for term in ("weights", "kv_cache"):
        reported = sum(size for place, size in replica["observed"].items() if term in place.split())
        error = abs(estimated[term] - reported) / (1 << 20)
        yield Figure(f"memory estimate against llama.cpp's own lines: {term}", error, 1, "MiB")


def idle_cost(stack: Stack) -> Iterator[Figure]:
    """CPU and memory of every process of the control plane over a quiet minute; engines and dockerd apart."""
    time.sleep(20)  # what starting left behind may end first
    pids = control_plane(stack)
    assert len(pids) > 5, pids  # web, gateways, worker, watcher, clock and the one that starts them
    before, began = sum(map(cpu_ticks, pids)), time.monotonic()
    time.sleep(IDLE_S)
    used = (sum(map(cpu_ticks, pids)) - before) / CLOCK_TICKS / (time.monotonic() - began)
    yield Figure("control plane idle: CPU", used * 100, 3, "% core")
    yield Figure("control plane idle: memory (PSS)", sum(map(memory_bytes, pids)) / 1e6, 450, "MB")


def control_plane(stack: Stack) -> list[int]:
    """Every process below `make run`."""
    assert stack.process is not None
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [stack.process.pid]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue.extend(children.get(pid, []))
    return found


def cpu_ticks(pid: int) -> int:
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return int(words[11]) + int(words[12])


def memory_bytes(pid: int) -> int:
    """0 for a process that is gone."""
    try:
        return pss_bytes(pid)
    except OSError:
        return 0


def _docker_time(text: str) -> float:
    """Seconds of Docker's RFC 3339 stamps, which have nine digits behind the point."""
    head, _, rest = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(head + "+00:00").timestamp() + float(f"0.{rest or 0}")


@contextmanager
def _stack(cold: bool) -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="yard-") as folder, tempfile.TemporaryDirectory(prefix="cache-") as empty:
        if cold:
            os.environ["MODELYARD_CACHE_DIR"] = empty
        yield from open_stack(Path(folder))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warm", action="store_true", help="use the cached images instead of an empty cache")
    for figure in measure(cold=not parser.parse_args().warm):
        figures.note(figure)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
