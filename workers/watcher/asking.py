"""One HTTP question to an engine, over a connection of its own. Just enough of HTTP/1.1 for a probe."""

import asyncio

import httptools

from webapp.engines.base import ProbeOutcome, ProbeSpec

MOST_BYTES = 1_000_000


class _Answer:
    """Collects one response."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.body = bytearray()
        self.is_complete = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.is_complete = True


async def ask(address: str, port: int, probe: ProbeSpec) -> ProbeOutcome:
    """What came back within `probe.timeout_s`; `error` says why nothing (complete) did."""
    try:
        async with asyncio.timeout(probe.timeout_s):
            return await _ask(address, port, probe)
    except TimeoutError:
        return ProbeOutcome(None, b"", f"no answer within {probe.timeout_s:g} s")
    except OSError as error:
        return ProbeOutcome(None, b"", error.strerror or str(error))
    except httptools.HttpParserError as error:
        return ProbeOutcome(None, b"", f"no HTTP: {error}")


async def _ask(address: str, port: int, probe: ProbeSpec) -> ProbeOutcome:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        body = probe.body or b""
        head = f"{probe.method} {probe.path} HTTP/1.1\r\nHost: {address}:{port}\r\nConnection: close\r\n"
        if probe.body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"\r\n" + body)
        answer = _Answer()
        while not answer.is_complete:
            data = await reader.read(65536)
            if not data:
                break
            answer.parser.feed_data(data)
            if len(answer.body) > MOST_BYTES:
                return ProbeOutcome(None, b"", "the answer is too long")
        status = answer.parser.get_status_code()
        if not answer.is_complete and status == 0:
            return ProbeOutcome(None, b"", "the connection was closed")
        return ProbeOutcome(status, bytes(answer.body), None)
    finally:
        writer.close()
