"""Files of the web: from byte N on when the place can do that and the file is still the same one."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from compose.tools.failures import FetchError, Hiccup
from webapp.catalog import outbound
from webapp.catalog.outbound import OutboundError, Policy

# What may be over when it is asked again.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524})
LONGEST_WAIT_S = 120.0
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass
class WebSource:
    """One file behind an address. `size` is None until somebody says; `etag` is the version that a part is of."""

    url: str
    policy: Policy
    secret_headers: Mapping[str, str]
    size: int | None
    # With a checksum every part can be continued: a wrong one would show.
    is_pinned: bool
    etag: str = ""
    # The file has become shorter than the part we have.
    is_stale: bool = False

    @property
    def identity(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"

    @contextmanager
    def open(self, start: int) -> "Iterator[Stream]":
        """The rest from `start` on, or all of it (then the stream's start is 0). Raises Hiccup, FetchError."""
        headers = {}
        # A weak tag says that two versions mean the same, not that they are byte for byte the same.
        etag = "" if self.etag.startswith("W/") else self.etag
        if start and (self.is_pinned or etag) and not self.is_stale:
            headers["Range"] = f"bytes={start}-"
            if etag:
                headers["If-Range"] = etag
        try:
            response = outbound.get(self.url, self.policy, headers, self.secret_headers)
        except OutboundError as error:
            if error.code == "not_allowed":
                raise FetchError("not_allowed", str(error), error.advice) from error
            raise Hiccup(str(error), error.advice) from error
        with response:
            yield Stream(response, self._begin(response, start))

    def _begin(self, response: outbound.Response, start: int) -> int:
        """The first byte of what comes; refusals raise."""
        status, host = response.status, urlsplit(response.url).hostname
        if status == 416 and start:
            whole = _number(response.headers.get("Content-Range", "").removeprefix("bytes */"))
            self.size, self.is_stale = whole, whole != start
            raise Hiccup(f"{host} has no byte {start}.", "Try again.", wait_s=0.0)
        if status not in (200, 206):
            _refuse(response, host or "")
        etag = response.headers.get("ETag", "")
        first, whole = 0, _number(response.headers.get("Content-Length"))
        if status == 206:
            found = RANGE.match(response.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != start:
                raise Hiccup(f"{host} sent another part than was asked for.", "Try again later.")
            first, whole = start, _number(found[2])
        if whole is not None and self.size is not None and whole != self.size:
            raise FetchError(
                "checksum",
                f"{host} has a file of {whole:,} bytes; {self.size:,} were expected.",
                "The file was changed there: choose it again.",
            )
        self.size = whole if whole is not None else self.size
        self.etag, self.is_stale = etag, False
        return first


@dataclass
class Stream:
    """The body from byte `start` on."""

    response: outbound.Response
    start: int

    def read(self, size: int) -> bytes:
        try:
            return self.response.read(size)
        except OutboundError as error:
            raise Hiccup(str(error), error.advice) from error


def _refuse(response: outbound.Response, host: str) -> None:
    status = response.status
    if status in PASSING:
        wait_s = _number(response.headers.get("Retry-After"))
        why = "asks for fewer requests" if status == 429 else f"answered {status}"
        wait = None if wait_s is None else min(float(wait_s), LONGEST_WAIT_S)
        raise Hiccup(f"{host} {why}.", "Try again later.", wait)
    if response.headers.get("X-Error-Code") == "GatedRepo":
        advice = "Accept the terms on the model's page there, and add a token of that account in Settings > Hubs."
        raise FetchError("not_allowed", f"{host} gives this file only to people who accepted its terms.", advice)
    if status in (401, 403):
        advice = "Add a token that may read it in Settings > Hubs, or check that it has not expired."
        raise FetchError("not_allowed", f"{host} does not give this file to us ({status}).", advice)
    if status in (404, 410):
        advice = "It was moved or removed: look at its page there and choose again."
        raise FetchError("source_missing", f"{host} has no such file ({status}).", advice)
    raise FetchError("source_missing", f"{host} answered {status}.", "Check the address.", keeps=True)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 19 else None
