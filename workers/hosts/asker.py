"""One HTTP question to an engine: probes, metrics and samples. Just enough of HTTP/1.1 for that.

No redirect is followed, no proxy used. Every question has a connection of its own: engines give each connection one of
a few threads (llama.cpp) and close idle ones after seconds, so a kept one would cost a user's request more than ours
saves.
"""

import asyncio

import httptools

from webapp.engines.base import ProbeOutcome, ProbeSpec
from webapp.foundation.dialing import dial
from webapp.foundation.reach import Address, Reach, way

# Of an answer, head and framing included; vLLM's metrics have some hundred kilobytes.
MOST_BYTES = 2_000_000
PIECE_BYTES = 65536
# How the error of an answer that came too late begins.
LATE = "no answer within"


async def ask(reach: Reach, probe: ProbeSpec) -> ProbeOutcome:
    """What came back within `probe.timeout_s`; `error` says why nothing (complete) did."""
    try:
        async with asyncio.timeout(probe.timeout_s):
            return await _ask(way(reach), probe)
    except TimeoutError:
        return ProbeOutcome(None, b"", f"{LATE} {probe.timeout_s:g} s")
    except OSError as error:
        return ProbeOutcome(None, b"", error.strerror or str(error))
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        return ProbeOutcome(None, b"", f"no HTTP: {error}")


class _Answer:
    """Collects one response; what follows it is not looked at."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.body = bytearray()
        self.has_length = self.is_complete = False

    @property
    def is_whole(self) -> bool:
        """Whether the connection may end here: an answer that does not say how long it is ends with it."""
        return self.is_complete or (self.status != 0 and not self.has_length)

    def on_header(self, name: bytes, _value: bytes) -> None:
        self.has_length = self.has_length or name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        # Those below 200 only announce the answer.
        if not self.is_complete and status >= 200:
            self.status = status

    def on_body(self, data: bytes) -> None:
        if not self.is_complete:
            self.body += data

    def on_message_complete(self) -> None:
        self.is_complete = self.status != 0

    def feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.is_complete:
                raise


async def _ask(address: Address, probe: ProbeSpec) -> ProbeOutcome:
    if address.path:
        reader, writer = await asyncio.open_unix_connection(sock=await dial(address.path))
    else:
        reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(_question(address, probe))
        answer, received = _Answer(), 0
        while not answer.is_complete and (data := await reader.read(PIECE_BYTES)):
            received += len(data)
            if received > MOST_BYTES:
                return ProbeOutcome(None, b"", "the answer is too long")
            answer.feed(data)
        if not answer.is_whole:
            return ProbeOutcome(None, b"", "the connection was closed")
        return ProbeOutcome(answer.status, bytes(answer.body), None)
    finally:
        # Whatever is still on its way, in either direction, is of no interest any more.
        writer.transport.abort()


def _question(address: Address, probe: ProbeSpec) -> bytes:
    host = address.authority.decode()
    head = f"{probe.method} {probe.path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    if probe.body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(probe.body)}\r\n"
    return head.encode() + b"\r\n" + (probe.body or b"")
