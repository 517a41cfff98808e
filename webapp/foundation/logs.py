"""One way to write log lines for every process: plain for people, JSON for programs, never a secret.

The standard library alone: gateways and the clock import neither Django nor more memory for it (measured: structlog
would cost every process 5 MB).
"""

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

# What is known about the work in hand: a value, or a function asked only when a line is written.
Fact = str | int | None | Callable[[], str | int | None]

_context: ContextVar[dict[str, Fact] | None] = ContextVar("modelyard_log_context", default=None)
# API keys keep their public prefix, tokens and passwords nothing.
_SECRETS = (
    (re.compile(r"\b(my[a-z]?_[0-9a-f]{8})_[A-Za-z0-9_-]{16,}"), r"\1_…"),
    (re.compile(r"\bmyp_[A-Za-z0-9_.-]{16,}"), "myp_…"),
    (re.compile(r"\bhf_[A-Za-z0-9]{16,}"), "hf_…"),
    (re.compile(r"(?i)\b(bearer|basic) [A-Za-z0-9_.~+/=-]{8,}"), r"\1 …"),
    (re.compile(r"(://[^\s/:@]*):[^\s/@]+@"), r"\1:…@"),
    (re.compile(r"(?i)\b(password|passphrase|secret|token)=[^\s&,;]+"), r"\1=…"),
)
_QUIET = {"httpx": logging.WARNING, "django.request": logging.ERROR}


@contextlib.contextmanager
def bound(**facts: Fact) -> Iterator[None]:
    """Name these facts in every line that is written in here, in this thread or task and what it starts."""
    token = _context.set({**(_context.get() or {}), **facts})
    try:
        yield
    finally:
        _context.reset(token)


def bind(**facts: Fact) -> None:
    """Name exactly these facts from now on, where there is no block to leave."""
    _context.set(dict(facts))


def known() -> dict[str, str | int]:
    """What is bound here and has a value."""
    found = {}
    for name, fact in (_context.get() or {}).items():
        value = fact() if callable(fact) else fact
        if value is not None and value != "":
            found[name] = value
    return found


def scrub(text: str) -> str:
    """The text without what looks like a secret. A net below the rule that none is logged, not instead of it."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


class PlainFormatter(logging.Formatter):
    """`INFO webapp.jobs.services: text [replica=3]`; whoever keeps the lines puts time and process in front."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        facts = " ".join(f"{name}={value}" for name, value in known().items())
        first, newline, rest = line.partition("\n")
        return scrub(f"{first} [{facts}]{newline}{rest}" if facts else line)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, logger, process, message, what is bound, and the traceback."""

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        about: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": scrub(record.getMessage()),
            **known(),
        }
        if self._process:
            about["process"] = self._process
        if record.exc_info:
            about["traceback"] = scrub(self.formatException(record.exc_info))
        return json.dumps(about, ensure_ascii=False, default=str)


def formatter() -> logging.Formatter:
    """What MODELYARD_LOG_FORMAT asks for: `json`, or (by default) `plain`."""
    if os.environ.get("MODELYARD_LOG_FORMAT", "").lower() == "json":
        return JsonFormatter(os.environ.get("MODELYARD_PROCESS", ""))
    return PlainFormatter()


def level() -> str:
    """MODELYARD_LOG_LEVEL, INFO by default."""
    return (os.environ.get("MODELYARD_LOG_LEVEL") or "INFO").upper()


def set_up() -> None:
    """For processes without Django: everything to standard error, in the chosen form."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level())


def django_config() -> dict[str, Any]:
    """The same for Django's LOGGING. uvicorn's own handlers are taken away: its lines come through ours."""
    ours: dict[str, Any] = {"handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"chosen": {"()": "webapp.foundation.logs.formatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "chosen"}},
        "root": {"handlers": ["stderr"], "level": level()},
        "loggers": {
            "uvicorn": ours,
            "uvicorn.error": ours,
            # The gateways write the access log.
            "uvicorn.access": {"handlers": [], "propagate": False},
            **{name: {"level": limit} for name, limit in _QUIET.items()},
        },
    }
