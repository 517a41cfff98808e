"""A real nginx with the file that compose/ ships, in front of a gateway on this machine."""

import contextlib
import functools
import http.client
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SHIPPED = Path(__file__).resolve().parents[2] / "compose/front/nginx.conf"
START_LIMIT_S = 120


@dataclass
class Front:
    """`port` speaks TLS with a certificate that nobody vouches for."""

    port: int

    def line(self) -> ssl.SSLSocket:
        """A connection to send bytes over."""
        return _context().wrap_socket(socket.create_connection(("127.0.0.1", self.port), timeout=60))

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=_context())


@contextlib.contextmanager
def running_front(folder: Path, gateway_port: int) -> Iterator[Front]:
    """nginx from this machine's packages; only ports, user and the places of files differ from what is shipped."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    assert program is not None, "nginx is not installed"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    text = SHIPPED.read_text()
    values = {"@PORT@": str(gateway_port), "@HTTPS_PORT@": str(port), "@USER@": "nobody nogroup"}
    for name, value in {**values, "/tmp/": f"{folder}/", "/etc/modelyard/tls": str(folder)}.items():
        assert name in text, name
        text = text.replace(name, value)
    (folder / "nginx.conf").write_text(text)
    log = folder / "nginx.log"
    with log.open("wb") as out:
        process = subprocess.Popen([program, "-c", str(folder / "nginx.conf"), "-g", "daemon off;"], stderr=out)
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while not _listens(port):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield Front(port)
    finally:
        process.terminate()
        process.wait(60)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@functools.cache
def _context() -> ssl.SSLContext:
    """One for all connections; the machine's certificates, which take their time to read, are not asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
