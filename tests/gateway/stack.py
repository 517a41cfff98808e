"""A gateway process with its state folder, a fake web and fake engines around it."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.gateway.fake_engine import FakeEngine
from tests.gateway.fake_web import FakeWeb

REPOSITORY = Path(__file__).resolve().parents[2]
MASTER = bytes(range(32))
ADA = "my_adaadaad_" + "a" * 43
EVE = "my_eveeveev_" + "e" * 43
READER = "my_readread_" + "r" * 43
EXPIRED = "my_expiredx_" + "x" * 43
ENDPOINTS = ["chat/completions", "completions", "embeddings", "messages", "tokenize", "audio/transcriptions"]


def derive(purpose: str, master: bytes = MASTER) -> bytes:
    """HKDF-SHA256 for one block, from RFC 5869, so that the fakes do not lean on the code under test."""
    key = hmac.digest(bytes(32), master, "sha256")
    return hmac.digest(key, b"modelyard:" + purpose.encode() + b"\x01", "sha256")


TOKEN_SECRET = derive("playground")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(what: Callable[[], Any], within_s: float = 60.0) -> Any:
    """The first true answer of `what`; other processes are watched, so there is nothing to await."""
    deadline = time.monotonic() + within_s
    while not (answer := what()):
        assert time.monotonic() < deadline, f"{what} did not become true within {within_s} s"
        time.sleep(0.005)
    return answer


class Answer:
    """A response read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def request_id(self) -> str:
        return self.headers["x-request-id"]

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json()["error"]

    def events(self) -> list[Any]:
        """The data of a stream's events."""
        lines = [line[6:] for line in self.body.decode().splitlines() if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


class Stack:
    """Everything a test needs; `stop` leaves nothing behind."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        (folder / "run").mkdir(mode=0o700)
        (folder / "secrets").mkdir(mode=0o700)
        self.keep_keys(MASTER)
        self.port = free_port()
        self.environment = {
            **os.environ,
            "MODELYARD_STATE_DIR": str(folder),
            "MODELYARD_PORT": str(self.port),
            "MODELYARD_GATEWAY_PROCESSES": "1",
            "MODELYARD_POLL_S": "0.1",
            "PYTHONWARNINGS": "error",
            **environment,
        }
        self.engines = [FakeEngine().start(), FakeEngine().start()]
        self.web = FakeWeb(str(folder / "run" / "web.sock"), (derive("internal").hex(),))
        self.web.snapshot = self.usual_snapshot()
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def engine(self) -> FakeEngine:
        return self.engines[0]

    def keep_keys(self, *keys: bytes) -> None:
        """The file of master keys from now on, the one that writes first."""
        draft = self.folder / "secrets" / "draft"
        draft.write_bytes(b"".join(base64.urlsafe_b64encode(key) + b"\n" for key in keys))
        draft.replace(self.folder / "secrets" / "master.key")

    def start(self, *, with_web: bool = True) -> "Stack":
        if with_web:
            self.web.start()
        self.launch()
        if with_web:
            self.learned()
        return self

    def launch(self, index: int = 0, *, wait: bool = True, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "webapp.gateway", "--index", str(index)]
        log = (self.folder / f"gateway-{index}.log").open("ab")
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env={**self.environment, **environment}, stderr=log, stdout=log
        )
        log.close()
        self.processes.append(process)
        if wait:
            eventually(lambda: self._listens() or process.poll() is not None)
            assert process.poll() is None, self.log(index)
        return process

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        if hasattr(self.web, "server"):
            self.web.stop()
        for engine in self.engines:
            engine.stop()

    def log(self, index: int = 0) -> str:
        return (self.folder / f"gateway-{index}.log").read_text()

    def end(self) -> int:
        """SIGTERM to the last process and its exit status."""
        self.processes[-1].send_signal(signal.SIGTERM)
        return self.processes[-1].wait(60)

    def usual_snapshot(self) -> dict[str, Any]:
        return {
            "version": "1",
            "keys": [
                key(1, ADA, user=3, team=2),
                key(2, EVE, user=4, team=5),
                key(3, READER, user=3, team=2, scopes=["read"]),
                key(4, EXPIRED, user=3, team=2, expires_at=1_600_000_000),
            ],
            "teams": [{"id": 2, "slug": "research"}, {"id": 5, "slug": "others"}],
            "deployments": [
                self.deployment(7, "smol", replicas=[self.replica(11, 0)]),
                self.deployment(8, "asleep", desired="stopped", replicas=[]),
                self.deployment(9, "waking", status="loading", replicas=[self.replica(13, 0, "loading")]),
                self.deployment(10, "pair", replicas=[self.replica(14, 0), self.replica(15, 1)]),
                self.deployment(
                    12, "renamed", aliases=["gpt-4o"], upstream_model="inner", replicas=[self.replica(16, 0)]
                ),
                self.deployment(20, "theirs", team=5, granted_teams=[2], replicas=[self.replica(17, 1)]),
                self.deployment(21, "hidden", team=5, replicas=[self.replica(18, 1)]),
            ],
        }

    def deployment(self, number: int, name: str, **changes: Any) -> dict[str, Any]:
        usual = {"id": number, "team": 2, "name": name, "aliases": [], "granted_teams": [], "engine": "llamacpp"}
        usual |= {"endpoints": ENDPOINTS, "desired": "running", "status": "ready", "upstream_model": name}
        usual |= {"created_at": 1_600_000_000.5, "context_length": None}
        usual |= {"connect_timeout_s": 60, "first_byte_timeout_s": 60, "gap_timeout_s": 60}
        return {**usual, **changes}

    def replica(self, number: int, engine: int, state: str = "ready") -> dict[str, Any]:
        return {"id": number, "url": self.engines[engine].url, "state": state}

    def publish(self, **changes: Any) -> None:
        """Tell the gateway something new and wait until it has taken it."""
        self.web.publish(**changes)
        self.learned()

    def learned(self) -> None:
        """Wait until the gateway has asked with the present versions, which means that it answers from them."""
        target = f"/internal/gateway/snapshot?{self.web.up_to_date}"
        eventually(lambda: any(asked.target == target for asked in self.web.server.asked))

    # --- asking

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, method: str, path: str, body: Any = None, key: str | None = ADA, **headers: str) -> Answer:
        connection = self.connect()
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            if key is not None:
                sent["Authorization"] = f"Bearer {key}"
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            if data is not None:
                sent.setdefault("Content-Type", "application/json")
            connection.request(method, path, data, sent)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def chat(self, model: str | None = "smol", key: str | None = ADA, fake: Any = None, **members: Any) -> Answer:
        return self.ask("POST", "/v1/chat/completions", chat_body(model, fake, **members), key)

    def raw(self, data: bytes, timeout: float = 60.0) -> bytes:
        """Send bytes as they are and read until the gateway closes; a TimeoutError when it never does."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as line:
            line.sendall(data)
            return read_all(line)

    def record(self, request_id: str) -> dict[str, Any]:
        """Wait until the usage record of a request has arrived at web."""
        return eventually(lambda: next((r for r in self.web.records if r["request_id"] == request_id), None))

    def metrics(self, index: int = 0) -> str:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(60)
            line.connect(str(self.folder / "run" / f"gateway-{index}.metrics.sock"))
            line.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            return read_all(line).decode().partition("\r\n\r\n")[2]

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        return self.metric_of(0, name)

    def metric_of(self, index: int, name: str) -> float:
        rows = [row.split() for row in self.metrics(index).splitlines()]
        return float(next(row[1] for row in rows if row[0] == f"modelyard_gateway_{name}"))

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def key(number: int, text: str, **members: Any) -> dict[str, Any]:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"id": number, "digest": digest, "scopes": ["inference"], "expires_at": None, **members}


def chat_body(model: str | None, fake: Any = None, **members: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], **members}
    if model is not None:
        body["model"] = model
    if fake is not None:
        body["fake"] = fake
    return body


def post(body: bytes, path: str = "/v1/chat/completions", extra: str = "") -> bytes:
    """A request as bytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {ADA}\r\n{extra}"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def announced(framing: str, path: str = "/v1/chat/completions") -> bytes:
    """The head of a request whose body is still to come, with `framing` as its last header."""
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ADA}\r\n{framing}\r\n\r\n".encode()


def read_all(line: socket.socket) -> bytes:
    pieces = []
    try:
        while data := line.recv(65536):
            pieces.append(data)
    except ConnectionError:
        pass
    return b"".join(pieces)
