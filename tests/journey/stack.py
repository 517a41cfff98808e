"""A checkout of its own that `make run` is called in, and what its output says."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Stack:
    """One installation. `start` and `interrupt` may alternate; `down` ends it for good."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    runs: list[tuple[str, float]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def state(self) -> Path:
        return self.folder / "var"

    def environment(self) -> dict[str, str]:
        """The caller's environment without what would make this another installation, or another Python."""
        others = ("MODELYARD_", "DJANGO_", "PYTHON")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        cache = os.environ.get("MODELYARD_CACHE_DIR") or str(Path.home() / ".cache" / "modelyard")
        return {**kept, "MODELYARD_PORT": str(self.port), "MODELYARD_CACHE_DIR": cache}

    def start(self, limit_s: float = 1800) -> tuple[str, float]:
        """`make run` until it says that it is ready; its output so far and the seconds it took."""
        log = self.folder / f"run-{len(self.runs) + 1}.log"
        began = time.monotonic()
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                ["make", "run"], cwd=self.folder, env=self.environment(), stdout=out, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        while "Ctrl-C stops Modelyard" not in (text := log.read_text(errors="replace")):
            assert self.process.poll() is None, f"make run ended with {self.process.returncode}:\n{text[-4000:]}"
            assert time.monotonic() - began < limit_s, f"make run was not ready after {limit_s} s:\n{text[-4000:]}"
            time.sleep(0.05)
        self.runs.append((text, time.monotonic() - began))
        return self.runs[-1]

    def interrupt(self, limit_s: float = 300) -> float:
        """Ctrl-C, as a terminal sends it: to the whole foreground group. Seconds until everything had ended."""
        assert self.process is not None
        began = time.monotonic()
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(limit_s)
        return time.monotonic() - began

    def down(self) -> None:
        subprocess.run(["make", "down"], cwd=self.folder, env=self.environment(), check=True, capture_output=True)

    def docker_host(self) -> str:
        """The engine that this installation found or brought."""
        return str(json.loads((self.state / "run" / "prepared.json").read_text())["docker_host"])

    def pids(self, name: str) -> list[int]:
        """Processes of this installation whose command line has `name` in it."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                here = (entry / "cwd").readlink()
            except OSError:
                continue
            if name in command and (here == self.folder or str(self.folder) in command):
                found.append(int(entry.name))
        return found

    def api(self, path: str, key: str, method: str = "GET", body: Any = None) -> Any:
        """One call of the REST API; its JSON. Raises HTTPError."""
        request = urllib.request.Request(
            f"{self.url}/api/v1{path}", method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def deployment(self, name: str, key: str) -> Any:
        """The deployment of that name as the API shows it, or None."""
        items = self.api(f"/deployments?name={name}", key)["items"]
        return items[0] if items else None

    def wait_for(self, name: str, state: str, key: str, limit_s: float = 300) -> Any:
        """Wait until the deployment is in that state."""
        deadline = time.monotonic() + limit_s
        while True:
            try:
                found = self.deployment(name, key)
            except (OSError, http.client.HTTPException):
                found = None
            if found and found["state"] == state:
                return found
            assert time.monotonic() < deadline, f"{name} is not {state} after {limit_s} s: {found}"
            time.sleep(0.1)


def check_out(target: Path) -> None:
    """Copy what a fresh clone would hold, uncommitted work included, and nothing that is ignored."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    for name in filter(None, names.split("\0")):
        source = ROOT / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def printed(text: str, label: str) -> str:
    """A value of the welcome text: printed(text, "API key")."""
    match = re.search(rf"^\s+{re.escape(label)}\s+(\S+)", text, re.MULTILINE)
    assert match, f"{label} is not in:\n{text[-3000:]}"
    return match.group(1)


def open_stack(folder: Path) -> Iterator[Stack]:
    """A checkout that is taken down again whatever happens."""
    check_out(folder)
    stack = Stack(folder, free_port())
    try:
        yield stack
    finally:
        if stack.process is not None and stack.process.poll() is None:
            stack.interrupt()
        stack.down()
