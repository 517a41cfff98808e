"""Small questions to web over its private socket, on one connection that is kept alive."""

import asyncio
import time

from webapp.foundation import secret_store
from webapp.foundation.reach import Address
from webapp.gateway.http.pool import Pool
from webapp.gateway.http.upstream import Upstream
from webapp.gateway.http.whole_answer import NoAnswer, ask

_MAX_ANSWER_BYTES = 256 * 1024 * 1024


class WebUnavailable(Exception):
    """Web is not there, or did not answer properly."""


class WebClient:
    """`is_up` is what the last question showed."""

    def __init__(self, socket_path: str) -> None:
        self._pool = Pool(Address("", 0, socket_path))
        self.is_up = False

    async def call(self, method: str, path: str, body: bytes = b"", timeout_s: float = 5) -> tuple[int, bytes]:
        """(status, body). Raises WebUnavailable. All that is asked here may be asked twice, so staleness is retried."""
        try:
            async with asyncio.timeout(timeout_s):
                pooled = self._pool.take(time.monotonic())
                if pooled is not None:
                    try:
                        return self._seen(await self._ask(pooled, method, path, body))
                    except NoAnswer:
                        pass
                upstream = await self._pool.open(timeout_s)
                return self._seen(await self._ask(upstream, method, path, body))
        except (OSError, NoAnswer) as error:
            self.is_up = False
            raise WebUnavailable(f"web does not answer ({error or type(error).__name__})") from error

    def close(self) -> None:
        self._pool.close()

    def _seen(self, answer: tuple[int, bytes]) -> tuple[int, bytes]:
        self.is_up = answer[0] < 500
        return answer

    async def _ask(self, upstream: Upstream, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        return await ask(upstream, self._head(method, path, len(body)) + body, _MAX_ANSWER_BYTES)

    def _head(self, method: str, path: str, length: int) -> bytes:
        return (
            b"%b %b HTTP/1.1\r\nhost: localhost\r\nx-modelyard-internal: %b\r\nx-forwarded-for: 127.0.0.1\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n"
        ) % (method.encode(), path.encode(), secret_store.derive("internal").hex().encode(), length)
