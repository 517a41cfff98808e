"""From a host's row to its Docker engine: the one place that reads a host's endpoint and opens connections to it."""

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import aiodocker
import aiohttp
import docker

from webapp.inventory.models import Host
from workers.hosts.client import HostClient, mapped
from workers.runtime.base import Runtime
from workers.runtime.docker import DockerRuntime

# One call, from connecting to the last byte. Streams (events, logs, pulls) have limits of their own.
CALL_TIMEOUT_S = 10


class _Docker(aiodocker.Docker):
    """aiodocker leaves an answer that was not read to its end, and its connection, to the garbage collector."""

    @contextlib.asynccontextmanager
    async def _query(self, *args: Any, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        async with super()._query(*args, **options) as response:
            try:
                yield response
            finally:
                # One that was read to its end has given its connection back by now.
                response.close()


@dataclass(frozen=True, slots=True)
class HostConnection:
    """The way to one host's Docker engine. Two are equal for as long as they lead to the same place."""

    _endpoint: str

    @property
    def is_local_socket(self) -> bool:
        """Whether it is a unix socket of this machine. What answers there may still be forwarded from elsewhere."""
        return self._endpoint.startswith("unix://")

    def runtime(self, within_s: int = CALL_TIMEOUT_S) -> Runtime:
        """For code that blocks. Kept per process and used again: a connection must not be shared across a fork."""
        return _runtime(self._endpoint, within_s, os.getpid())

    @contextlib.asynccontextmanager
    async def client(self, within_s: float | None = None) -> AsyncIterator[HostClient]:
        """For an event loop; closed whatever happened. `within_s` limits each call that is not a stream."""
        limit = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S if within_s is None else within_s)
        with mapped():
            opened = _Docker(url=self._endpoint, timeout=limit)
        try:
            yield HostClient(opened)
        finally:
            # Its own way out stops at the error that ended the events.
            with contextlib.suppress(aiodocker.DockerError, aiohttp.ClientError, TimeoutError, OSError):
                await opened.close()
            await opened.session.close()


def of(host: Host) -> HostConnection:
    """What the row says of the way to the host; to be carried where the row cannot go."""
    return HostConnection(host.endpoint)


def runtime(host: Host) -> Runtime:
    """The host's Docker engine for code that blocks."""
    return of(host).runtime()


@lru_cache(maxsize=256)
def _runtime(endpoint: str, timeout_s: int, _pid: int) -> DockerRuntime:
    return DockerRuntime(lambda: docker.APIClient(endpoint, version="auto", timeout=timeout_s), timeout_s)
