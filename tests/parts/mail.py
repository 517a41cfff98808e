"""A real mail server on this machine, which keeps what it is handed; it encrypts with a certificate of its own."""

import contextlib
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

USER, PASSWORD = "modelyard", "p@ss word"


@dataclass
class MailServer:
    """`answers`: what it says to the next recipients, instead of taking them. `encrypted`: of each message, whether."""

    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, _options: Any) -> str:
        if self.answers:
            return self.answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 taken"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        return "250 taken"

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        said = data.login.decode(), data.password.decode()
        self.logins.append(said)
        return AuthResult(success=said == (USER, PASSWORD), handled=False)  # the server answers


class _Controller(Controller):
    def _trigger_server(self) -> None:
        """It proves that it listens by asking itself, at the port that the kernel has picked."""
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextlib.contextmanager
def mail_server(certificate: Path | None = None, *, is_tls_only: bool = False) -> Iterator[MailServer]:
    """One server: without a certificate in plain text, with one by STARTTLS, or encrypted from the first byte."""
    kept = MailServer()
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    more: dict[str, Any] = {"ssl_context": context} if is_tls_only else {"tls_context": context}
    controller = _Controller(
        kept, hostname="127.0.0.1", port=0, authenticator=kept.authenticate, auth_require_tls=not is_tls_only, **more
    )
    controller.start()
    try:
        kept.port = controller.port
        yield kept
    finally:
        controller.stop()


def make_certificate(folder: Path) -> Path:
    """Key and certificate for localhost in one file, signed by nobody but itself."""
    path, key = folder / "mail.pem", folder / "mail.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(path)],
        check=True, capture_output=True,
    )  # fmt: skip
    with path.open("a") as file:
        file.write(key.read_text())
    return path
