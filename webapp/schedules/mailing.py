"""Mail over the server that MODELYARD_SMTP_URL names: smtp://user:password@host:587 or smtps://..."""

import os
import smtplib
import socket
import ssl
from email.message import EmailMessage
from urllib.parse import unquote

from webapp.catalog import outbound
from webapp.foundation import deadline as limits
from webapp.foundation.deadline import Deadline


class MailError(Exception):
    """The message was not taken."""


def is_possible() -> bool:
    return bool(os.environ.get("MODELYARD_SMTP_URL"))


class _Server(smtplib.SMTP):
    """A conversation that is over at a moment, however slowly the other side speaks."""

    def __init__(self, deadline: Deadline, context: ssl.SSLContext | None = None) -> None:
        self._deadline, self._context = deadline, context
        super().__init__()

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        """What smtplib's own class for TLS from the first byte changes, too."""
        self._host = host  # the name that STARTTLS holds against the certificate
        found = limits.resolve(host, port, self._deadline)
        plain = limits.connect_any([str(info[4][0]) for info in found], port, self._deadline)
        return limits.encrypt(plain, self._context, host, self._deadline) if self._context else plain


def send(to: str, subject: str, text: str, deadline: Deadline) -> str:
    """Hand one message to the server before the deadline; answers what to write down. Raises MailError.

    smtp:// is encrypted by STARTTLS where the server offers it, and always before a password is sent.
    """
    where = outbound.parts_of(os.environ.get("MODELYARD_SMTP_URL", ""))
    if where.scheme not in ("smtp", "smtps") or not where.hostname:
        raise MailError("MODELYARD_SMTP_URL is not set, or no address like smtp://host:587.")
    try:
        message = _message(to, subject, text, where.hostname)
        context = ssl.create_default_context()
        server = _Server(deadline, context if where.scheme == "smtps" else None)
        with server:
            code, said = server.connect(where.hostname, where.port or (465 if where.scheme == "smtps" else 587))
            if code != 220:
                raise smtplib.SMTPConnectError(code, said)
            server.ehlo()
            if where.scheme == "smtp" and (where.username or server.has_extn("starttls")):
                server.starttls(context=limits.bounded(context, deadline))
            if where.username:
                server.login(unquote(where.username), unquote(where.password or ""))
            server.send_message(message)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise MailError(str(error)[:300] or type(error).__name__) from error
    return "taken by the mail server"


def _message(to: str, subject: str, text: str, host: str) -> EmailMessage:
    """Raises ValueError for a sender that is none."""
    message = EmailMessage()
    message["From"] = os.environ.get("MODELYARD_MAIL_FROM") or f"modelyard@{host}"
    message["To"] = to
    message["Subject"] = " ".join(subject.split())[:200]
    message.set_content(text)
    return message
