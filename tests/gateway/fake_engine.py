"""An engine that streams numbered tokens and a checksum, and fails exactly as the request's "fake" member says.

A stream with `holds` waits before each token until the test says `go_on`, so that it lasts as long as the test needs.
"""

import asyncio
import hashlib
import json
import threading
from dataclasses import dataclass, field
from typing import Any

from tests.gateway.mini_http import Asked, Line, MiniServer


def token(number: int) -> str:
    return f" t{number}"


def checksum(count: int) -> str:
    return hashlib.sha256("".join(token(n) for n in range(count)).encode()).hexdigest()[:16]


@dataclass
class FakeEngine:
    """`running` counts generations in progress, `cancelled` those that the other side gave up."""

    path: str | None = None
    running: int = 0
    finished: int = 0
    cancelled: int = 0
    turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def start(self) -> "FakeEngine":
        self.server = MiniServer(self._answer, self.path).start()
        return self

    def stop(self) -> None:
        self.server.stop()

    @property
    def url(self) -> str:
        return f"unix://{self.path}" if self.path else f"http://127.0.0.1:{self.server.port}"

    @property
    def asked(self) -> list[Asked]:
        return self.server.asked

    def go_on(self, tokens: int = 1) -> None:
        """Let streams that hold say so many tokens more."""
        self.turns.release(tokens)

    def last(self) -> dict[str, Any]:
        """The last body that arrived."""
        return json.loads(self.asked[-1].body)

    async def _answer(self, asked: Asked, line: Line) -> None:
        if "multipart" in (asked.header("content-type") or ""):
            await line.answer(200, json.dumps({"text": "heard"}).encode())
            return
        body = json.loads(asked.body)
        if (counted := self._counted(asked.target, body)) is not None:
            await line.answer(200, json.dumps(counted).encode())
            return
        fake = body.get("fake", {})
        self.running += 1
        try:
            await self._act(body, fake, line)
            self.finished += 1
        except (ConnectionError, asyncio.CancelledError):
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    def _counted(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """As llama.cpp counts: a conversation is 20 tokens long, a text has a token for every word."""
        if path.endswith(("/input_tokens", "/count_tokens")):
            return {"input_tokens": 20}
        return (
            {"tokens": list(range(len(body["content"].split())))} if path == "/tokenize" and "content" in body else None
        )

    async def _act(self, body: dict[str, Any], fake: dict[str, Any], line: Line) -> None:
        if fake.get("die") == "at once":
            line.cut()
            return
        if fake.get("die") == "politely":
            line.keeps = False
            line.writer.close()
            return
        if fake.get("hang"):
            await _until_gone(line, float(fake["hang"]))
        if "raw" in fake:
            await line.send(fake["raw"].encode("latin-1"))
            if fake.get("then_hangs"):
                await _until_gone(line, 600)
            line.keeps = fake.get("keeps", True)
            if not line.keeps:
                line.writer.close()
            return
        if "status" in fake:
            await line.answer(fake["status"], fake.get("text", "").encode(), fake.get("type", "application/json"))
            return
        count = int(fake.get("tokens", 5))
        if body.get("stream"):
            await self._stream(body, fake, count, line)
        else:
            text = "".join(token(n) for n in range(count))
            await line.answer(200, json.dumps(document(body, text, count)).encode())

    async def _stream(self, body: dict[str, Any], fake: dict[str, Any], count: int, line: Line) -> None:
        end = "\r\n\r\n" if fake.get("crlf") else "\n\n"
        await line.begin_chunks("text/event-stream")
        for number in range(count):
            if number == fake.get("die_after"):
                line.cut()
                return
            while fake.get("holds") and number and not self.turns.acquire(blocking=False):
                await _until_gone(line, 0.005)
            await line.chunk(event(body, {"delta": {"content": token(number) + "." * fake.get("padding", 0)}}, end))
            if fake.get("delay"):
                await _until_gone(line, float(fake["delay"]))
        await line.chunk(event(body, {"delta": {}, "finish_reason": "stop", "sum": checksum(count)}, end))
        if (body.get("stream_options") or {}).get("include_usage"):
            last = f"data: {json.dumps({**_base(body), 'choices': [], 'usage': usage(count)})}{end}".encode()
            middle = len(last) // 2
            if fake.get("split"):
                await line.chunk(last[:middle])
                await asyncio.sleep(0.01)
                last = last[middle:]
            await line.chunk(last)
        await line.chunk(b"data: [DONE]" + end.encode())
        await line.end_chunks()
        if fake.get("hangs_up"):
            await asyncio.sleep(0.02)  # long enough for another request to be on its way
            line.keeps = False
            line.writer.close()


def usage(count: int) -> dict[str, int]:
    return {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}


def document(body: dict[str, Any], text: str, count: int) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {**_base(body), "object": "chat.completion", "choices": [choice], "usage": usage(count)}


def event(body: dict[str, Any], choice: dict[str, Any], end: str) -> bytes:
    return f"data: {json.dumps({**_base(body), 'choices': [{'index': 0, **choice}]})}{end}".encode()


def _base(body: dict[str, Any]) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body.get("model")}


async def _until_gone(line: Line, seconds: float) -> None:
    """Wait, but notice when the other side leaves."""
    try:
        data = await asyncio.wait_for(line.reader.read(1), seconds)
    except TimeoutError:
        return
    if not data:
        raise ConnectionResetError
