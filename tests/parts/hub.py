"""A small model hub on this machine: the addresses, answers and headers of huggingface.co that Modelyard uses.

Shapes are those that the huggingface_hub library parses (hf_api.ModelInfo, utils/_http.hf_raise_for_status) and what
the resolve endpoint sends: X-Repo-Commit, X-Linked-Etag and a redirect to a place of its own for large files.
"""

import contextlib
import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 4096
TOKEN = "hf_canary_token_for_tests"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repo:
    """One model repository. `gated`: its files want a token; `private`: so does everything."""

    name: str
    files: dict[str, bytes]
    commit: str = COMMIT
    gated: str | bool = False
    private: bool = False
    licence: str = "apache-2.0"
    config: dict[str, Any] = field(default_factory=dict)
    branches: tuple[str, ...] = ("main",)

    def __post_init__(self) -> None:
        self.sums = {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()}

    def facts(self, blobs: bool) -> dict[str, Any]:
        siblings = [self._sibling(name, data) if blobs else {"rfilename": name} for name, data in self.files.items()]
        return {
            "_id": "65a",
            "id": self.name,
            "modelId": self.name,
            "author": self.name.split("/")[0],
            "sha": self.commit,
            "private": self.private,
            "gated": self.gated,
            "disabled": False,
            "downloads": 1234,
            "likes": 56,
            "lastModified": "2026-10-01T12:00:00.000Z",
            "createdAt": "2026-09-01T12:00:00.000Z",
            "tags": ["gguf" if any(name.endswith(".gguf") for name in self.files) else "safetensors"],
            "pipeline_tag": "text-generation",
            "cardData": {"license": self.licence},
            "config": self.config,
            "siblings": siblings,
        }

    def _sibling(self, name: str, data: bytes) -> dict[str, Any]:
        blob = {"rfilename": name, "size": len(data), "blobId": git_sha1(data)}
        if len(data) >= LARGE:
            blob["lfs"] = {"sha256": self.sums[name], "size": len(data), "pointerSize": 134}
        return blob


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


@dataclass
class Hub:
    """What the hub has, how it misbehaves, and what it was asked."""

    repos: dict[str, Repo] = field(default_factory=dict)
    # Statuses that the next file requests get instead of an answer.
    statuses: list[int] = field(default_factory=list)
    retry_after: str = ""
    cut_after: int | None = None  # bytes of each body before the line breaks
    bytes_per_s: int | None = None
    hold_at: int | None = None  # nothing is sent beyond so many bytes in all, until this is another number
    has_ranges: bool = True
    has_length: bool = True
    flip_at: int | None = None  # this byte of every body is another one
    redirect_to: str = ""
    sent_bytes: int = 0
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    port: int = 0
    address: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    def add(self, name: str, files: dict[str, bytes], **more: Any) -> Repo:
        self.repos[name] = Repo(name, files, **more)
        return self.repos[name]

    def blob(self, sha256: str) -> bytes | None:
        for repo in self.repos.values():
            for name, data in repo.files.items():
                if repo.sums[name] == sha256:
                    return data
        return None


@contextlib.contextmanager
def running_hub(address: str = "127.0.0.1") -> Iterator[Hub]:
    hub = Hub(address=address)
    server = ThreadingHTTPServer((address, 0), type("Bound", (_Door,), {"hub": hub}))
    server.daemon_threads = True
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Door(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_words: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        self.hub.asked.append((self.path, dict(self.headers.items())))
        if path == "/api/models":
            self._search(query)
        elif path.startswith("/api/models/"):
            self._info(path.removeprefix("/api/models/"), "blobs" in query)
        elif path.startswith("/cdn/"):
            data = self.hub.blob(path.removeprefix("/cdn/"))
            self._file(data, '"cdn-etag"') if data is not None else self._refuse(404, "EntryNotFound")
        elif path.startswith("/plain/"):
            data = self.hub.repos["plain/files"].files.get(path.removeprefix("/plain/"))
            self._file(data, f'"{git_sha1(data)}"') if data is not None else self._refuse(404, "")
        elif "/resolve/" in path:
            self._resolve(path)
        else:
            self._refuse(404, "")

    do_HEAD = do_GET

    def _search(self, query: dict[str, list[str]]) -> None:
        if self.hub.statuses:
            return self._refuse(self.hub.statuses.pop(0), "")
        words = " ".join(query.get("search", [""])).lower().split()
        limit = int(query.get("limit", ["1000"])[0])
        found = [repo for repo in self.hub.repos.values() if all(word in repo.name.lower() for word in words)]
        found = [repo for repo in found if not repo.private or self._may_read()]
        return self._json([repo.facts(False) for repo in found[:limit]])

    def _info(self, rest: str, blobs: bool) -> None:
        if self.hub.statuses:
            return self._refuse(self.hub.statuses.pop(0), "")
        name, _, revision = rest.partition("/revision/")
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not self._may_read()):
            return self._refuse(401, "RepoNotFound")
        if revision and revision not in (*repo.branches, repo.commit):
            return self._refuse(404, "RevisionNotFound")
        return self._json(repo.facts(blobs))

    def _resolve(self, path: str) -> None:
        name, _, rest = path.strip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not self._may_read()):
            return self._refuse(401, "RepoNotFound")
        if repo.gated and not self._may_read():
            return self._refuse(403 if "Authorization" in self.headers else 401, "GatedRepo")
        if revision not in (*repo.branches, repo.commit):
            return self._refuse(404, "RevisionNotFound")
        data = repo.files.get(file)
        if data is None:
            return self._refuse(404, "EntryNotFound")
        sha256 = repo.sums[file]
        if len(data) < LARGE:
            return self._file(data, f'"{git_sha1(data)}"', {"X-Repo-Commit": repo.commit})
        self.send_response(302)
        self.send_header("Location", self.hub.redirect_to or f"/cdn/{sha256}?signature=x")
        self.send_header("X-Repo-Commit", repo.commit)
        self.send_header("X-Linked-Etag", f'"{sha256}"')
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def _may_read(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _file(self, data: bytes, etag: str, more: dict[str, str] | None = None) -> None:
        if self.hub.statuses:
            return self._refuse(self.hub.statuses.pop(0), "")
        start = self._start(data, etag)
        if start is None:
            return self._refuse(416, "", {"Content-Range": f"bytes */{len(data)}"})
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if self.hub.has_length:
            self.send_header("Content-Length", str(len(data) - start))
        for key, value in {"ETag": etag, **(more or {})}.items():
            self.send_header(key, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if self.command == "GET":
            self._send(data, start)
        return None

    def _start(self, data: bytes, etag: str) -> int | None:
        asked = self.headers.get("Range", "")
        if not asked or not self.hub.has_ranges or self.headers.get("If-Range", etag) != etag:
            return 0
        start = int(asked.removeprefix("bytes=").split("-")[0])
        return start if start < len(data) else None

    def _send(self, data: bytes, start: int) -> None:
        # What is counted as sent should have left: a kernel would take megabytes off our hands.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        if self.hub.flip_at is not None:
            at = self.hub.flip_at
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        end = len(data) if self.hub.cut_after is None else min(len(data), start + self.hub.cut_after)
        with contextlib.suppress(OSError):
            for at in range(start, end, 65536):
                piece = data[at : min(at + 65536, end)]
                while self.hub.hold_at is not None and self.hub.sent_bytes >= self.hub.hold_at:
                    time.sleep(0.01)
                self.wfile.write(piece)
                self.hub.sent_bytes += len(piece)
                if self.hub.bytes_per_s:
                    time.sleep(len(piece) / self.hub.bytes_per_s)

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, more: dict[str, str] | None = None) -> None:
        headers = {"X-Error-Code": code} if code else {}
        if self.hub.retry_after:
            headers["Retry-After"] = self.hub.retry_after
        self._answer(status, b'{"error": "refused"}', {**headers, **(more or {})})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
