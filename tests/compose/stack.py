"""The containers of compose/, on an engine and from images of the tests' own."""

import contextlib
import json
import os
import re
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from tests.journey.stack import check_out, free_port
from tests.parts import debian_services
from tests.parts.dockerd import Dockerd
from webapp.foundation import paths
from workers.launcher import cache, images
from workers.launcher.environment import patiently

# Whom Debian's base knows by name, as initdb wants it, and as whom jobs run.
NOBODY = 65534
PATCH_LEVEL = re.compile(r" ; python_full_version < '3\.11\.\d+'")
PIP = ("python3", "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:")
SERVICES = ("database", "broker", "setup", "web", "gateway", "worker", "beat", "watcher", "front", "prometheus")


def wheels(lock: Path) -> Path:
    """Every wheel of the lock for Debian's Python, downloaded once per lock and checked by pip."""
    # The interpreter of `python3` picks them, and Debian's base has the same.
    version = subprocess.run(["python3", "-V"], check=True, capture_output=True, text=True).stdout.strip()
    extra = f"{cache.suits(version)} {PATCH_LEVEL.pattern} {PIP}"
    folder = paths.cache_dir() / f"wheels-{cache.content_key(lock, extra=extra)}"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        # pip would decide by this Python's patch level, which may be newer than Debian's.
        wanted = folder / lock.name
        wanted.write_text(PATCH_LEVEL.sub("", lock.read_text()))
        done = patiently([*PIP, "--dest", str(folder), "-r", str(wanted)])
        assert done.returncode == 0, done.stderr
        (folder / "complete").touch()
    return folder


@dataclass
class ComposeStack:
    """A checkout, a state folder and an engine; `compose` calls Debian's docker-compose on them."""

    folder: Path
    state: Path
    engine: Dockerd
    https_port: int
    port: int
    prometheus_port: int

    @property
    def url(self) -> str:
        return f"https://localhost:{self.https_port}"

    def prepare(self) -> None:
        """Images that no registry gives here, wheels for ours, and what setup.py writes."""
        check_out(self.folder)
        target = self.folder / "compose/modelyard/wheels"
        shutil.copytree(
            wheels(self.folder / "requirements.lock"), target, ignore=shutil.ignore_patterns("complete", "*.lock")
        )
        with contextlib.closing(docker.DockerClient(self.engine.endpoint, timeout=600)) as client:
            images.ensure_local(client, images.LLAMACPP)
            images.ensure_base_image(client)
            debian_services.import_into(client)
        command = ["python3", "compose/setup.py", "--url", self.url, "--state", str(self.state)]
        command += ["--uid", str(NOBODY), "--gid", str(NOBODY), "--docker-socket", str(self.engine.socket)]
        command += ["--port", str(self.port), "--prometheus-port", str(self.prometheus_port), "--gateways", "2"]
        subprocess.run(command, cwd=self.folder, check=True)

    def compose(self, *words: str, limit_s: float = 900) -> str:
        """One docker-compose command; its output."""
        files = ["docker-compose.yml", "images.yml", "../tests/compose/debian.yml"]
        command = ["docker-compose", "--project-name", "modelyard", "--env-file", f"{self.state}/compose/modelyard.env"]
        command += [part for name in files for part in ("-f", str(self.folder / "compose" / name))]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")},
            "DOCKER_HOST": self.engine.endpoint,
            "DOCKER_BUILDKIT": "0",
            "BASE": images.BASE,
            "ENTRY_DIR": str(self.folder / "tests/compose"),
        }
        done = subprocess.run(
            [*command, *words], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=limit_s
        )
        assert done.returncode == 0, f"docker-compose {' '.join(words)}:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    def secret(self, name: str) -> str:
        return (self.state / "compose/secrets" / name).read_text()

    def call(self, path: str, key: str | None = None, body: Any = None) -> Any:
        """One request through the TLS front; its JSON, or its text. Raises HTTPError."""
        context = ssl.create_default_context(cafile=str(self.state / "compose/tls/cert.pem"))
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data=data, headers={**headers, "Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            text = answer.read().decode()
        return json.loads(text) if "json" in answer.headers["Content-Type"] else text

    def prometheus(self, path: str) -> Any:
        """One question to Prometheus' own API."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.prometheus_port}/api/v1/{path}", timeout=60) as answer:
            return json.load(answer)["data"]

    def diagnose(self) -> str:
        """What the containers said last."""
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            return self.compose("ps") + self.compose("logs", "--no-color", "--tail", "25")
        return "(docker-compose logs failed)"


def until(what: str, condition: Any, limit_s: float, diagnose: Any = lambda: "") -> Any:
    """Wait until the condition gives something; errors of a thing that is still starting do not count."""
    deadline = time.monotonic() + limit_s
    last: object = None
    while time.monotonic() < deadline:
        try:
            found = condition()
        except OSError as error:
            found, last = None, error
            if isinstance(error, urllib.error.HTTPError):
                error.close()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what} did not come to pass in {limit_s} s ({last})\n{diagnose()}")


def open_stack(folder: Path, engine: Dockerd) -> Iterator[ComposeStack]:
    """A prepared stack whose containers are taken down again whatever happens."""
    # Sockets in it have room for 107 bytes.
    state = engine.root / "state"
    stack = ComposeStack(folder, state, engine, free_port(), free_port(), free_port())
    try:
        stack.prepare()
        yield stack
    finally:
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            stack.compose("down", "--timeout", "10")
