"""A registry that holds one small image, for real pulls without a network; it can be told to stop answering."""

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


def _layer() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("hello")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"hello"))
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Registry(ThreadingHTTPServer):
    """The image is called `some/image:tag`. While `stalls` is set, layers are promised and never sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        layer = _layer()
        packed = gzip.compress(layer)
        rootfs = {"type": "layers", "diff_ids": [_digest(layer)]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": {"mediaType": CONFIG_TYPE, "size": len(config), "digest": _digest(config)},
                "layers": [{"mediaType": LAYER_TYPE, "size": len(packed), "digest": _digest(packed)}],
            }
        ).encode()
        self.blobs = {_digest(config): config, _digest(packed): packed}
        self.layer = _digest(packed)
        self.stalls = False
        self.released = threading.Event()

    @property
    def image(self) -> str:
        """The image's full reference."""
        return f"127.0.0.1:{self.server_address[1]}/some/image:tag"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Registry

    def do_GET(self) -> None:
        if "/manifests/" in self.path:
            self._send(self.server.manifest, MANIFEST_TYPE)
        elif "/blobs/" in self.path:
            digest = self.path.rsplit("/", 1)[1]
            if self.server.stalls and digest == self.server.layer:
                self.server.released.wait(60)
                return
            self._send(self.server.blobs[digest], "application/octet-stream")
        else:
            self._send(b"{}", "application/json")

    do_HEAD = do_GET

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Docker-Content-Digest", _digest(content))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def serving() -> Iterator[Registry]:
    """A registry that answers while the block runs."""
    registry = Registry()
    threading.Thread(target=registry.serve_forever, daemon=True).start()
    try:
        yield registry
    finally:
        registry.released.set()
        registry.shutdown()
        registry.server_close()
