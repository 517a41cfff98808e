"""Speaks to one Modelyard over HTTP.

With the standard library: importing httpx takes half a second on a small machine, which every command would pay.
"""

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from webapp.interfaces.cli.errors import Problem, Unreachable

TIMEOUT_S = 60
TRIES = 3
PAGE = 500


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would carry the API key along to wherever it is sent."""

    def redirect_request(self, *_words: Any, **_more: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect)


@dataclass(frozen=True)
class Answer:
    status: int
    content_type: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    @property
    def is_json(self) -> bool:
        return "json" in self.content_type


@dataclass(frozen=True)
class Api:
    """One Modelyard, as one person."""

    url: str
    key: str = field(default="", repr=False)

    def call(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Any = None, prefix: str = "/api/v1"
    ) -> Answer:
        """The answer. A lost connection is tried again; a change carries a key, so that it is made once.

        Raises Problem for a refusal, Unreachable when the server does not answer.
        """
        headers = {"Idempotency-Key": uuid.uuid4().hex} if method != "GET" else {}
        for attempt in range(1, TRIES + 1):
            try:
                with self.open(method, path, query, body, prefix, headers) as reply:
                    return Answer(reply.status, reply.headers.get("Content-Type", ""), reply.read())
            except Unreachable:
                if attempt == TRIES:
                    raise
                time.sleep(0.3 * attempt)
        raise AssertionError  # the loop returns or raises

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        prefix: str = "/api/v1",
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """The reply while it is still being sent."""
        address = self.url + prefix + path
        if query:
            address += "?" + urllib.parse.urlencode(query, doseq=True)
        data = None if body is None else json.dumps(body).encode()
        sent = {"Accept": "application/json, text/*", "User-Agent": "modelyard-cli", **(headers or {})}
        if data is not None:
            sent["Content-Type"] = "application/json"
        if self.key:
            sent["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(address, data, sent, method=method)  # noqa: S310  http(s) is checked at login
        try:
            reply: IO[bytes] = _opener.open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                raise _problem(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(_nobody(self.url, error)) from None
        try:
            with reply:
                yield reply  # type: ignore[misc]
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(_nobody(self.url, error)) from None

    def get(self, path: str, **query: Any) -> Any:
        return self.call("GET", path, query).json

    def pages(self, path: str, query: Mapping[str, Any] | None = None) -> list[Any]:
        """Everything a list holds, page by page; plain lists come whole."""
        found: list[Any] = []
        while True:
            asked = {**(query or {}), "limit": PAGE, "offset": len(found)}
            answer = self.call("GET", path, asked).json
            if isinstance(answer, list):
                return answer
            found += answer["items"]
            if not answer["items"] or len(found) >= answer["count"]:
                return found


def _problem(error: urllib.error.HTTPError) -> Problem:
    if 300 <= error.code < 400:
        where = error.headers.get("Location", "elsewhere")
        return Problem(error.code, f"This URL redirects to {where}.", "Use that one: modelyard login --url …")
    try:
        said = json.loads(error.read())
        said = said.get("error", said) if isinstance(said.get("error", said), dict) else said
        title = said.get("title") or said.get("message") or error.reason
    except (ValueError, AttributeError, OSError):
        return Problem(error.code, f"{error.code} {error.reason}")
    identity = said.get("request_id") or error.headers.get("X-Request-ID", "")
    return Problem(error.code, str(title), str(said.get("detail") or ""), identity)


def _nobody(url: str, error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return (
        f"Cannot reach Modelyard at {url}: {reason}.\nIs it running? `modelyard login --url …` sets another server URL."
    )
