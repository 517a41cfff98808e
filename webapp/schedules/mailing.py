"""Mail over the server that MODELYARD_SMTP_URL names: smtp://user:password@host:587 or smtps://..."""

import os
import smtplib
import ssl
from email.message import EmailMessage
from urllib.parse import unquote

from webapp.catalog import outbound

SILENCE_S = 15.0


class MailError(Exception):
    """The message was not taken."""


def is_possible() -> bool:
    return bool(os.environ.get("MODELYARD_SMTP_URL"))


def send(to: str, subject: str, text: str) -> str:
    """Hand one message to the server; answers what to write down. Raises MailError.

    smtp:// is encrypted by STARTTLS where the server offers it, and always before a password is sent.
    """
    where = outbound.parts_of(os.environ.get("MODELYARD_SMTP_URL", ""))
    if where.scheme not in ("smtp", "smtps") or not where.hostname:
        raise MailError("MODELYARD_SMTP_URL is not set, or no address like smtp://host:587.")
    message = EmailMessage()
    message["From"] = os.environ.get("MODELYARD_MAIL_FROM") or f"modelyard@{where.hostname}"
    message["To"] = to
    message["Subject"] = " ".join(subject.split())[:200]
    message.set_content(text)
    try:
        context = ssl.create_default_context()
        if where.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                where.hostname, where.port or 465, timeout=SILENCE_S, context=context
            )
        else:
            server = smtplib.SMTP(where.hostname, where.port or 587, timeout=SILENCE_S)
        with server:
            server.ehlo()
            if where.scheme == "smtp" and (where.username or server.has_extn("starttls")):
                server.starttls(context=context)
            if where.username:
                server.login(unquote(where.username), unquote(where.password or ""))
            server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        raise MailError(str(error)[:300] or type(error).__name__) from error
    return "taken by the mail server"
