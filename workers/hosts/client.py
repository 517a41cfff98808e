"""One Docker engine asked from an event loop; see workers.runtime.base for the records and the errors."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any, cast

import aiodocker
import aiohttp

from workers.runtime.base import ContainerFacts, ContainerMissing, HostUnreachable, ImageMissing, RuntimeFault


@contextlib.contextmanager
def mapped(missing: type[RuntimeFault] = ContainerMissing) -> Iterator[None]:
    """What Docker's libraries raise, in our words: `missing` where Docker says 404, else HostUnreachable."""
    try:
        yield
    except aiodocker.DockerError as error:
        kind = missing if error.status == 404 else HostUnreachable
        raise kind(plainly(error)) from error
    # The last two: aiodocker reads an answer that is not Docker's as if it were.
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, TypeError, KeyError) as error:
        raise HostUnreachable(plainly(error)) from error


def plainly(error: BaseException) -> str:
    """Why a host did not answer, for people: what the system said of the connection, where that is known.

    aiodocker wraps it twice, as "[900] Cannot connect to Docker Engine via ... [... ssl:default [Connection refused]]".
    """
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, aiohttp.ClientConnectorError) and inner.os_error.errno:
            return os.strerror(inner.os_error.errno).lower()
        inner = inner.__cause__ or inner.__context__
    return str(getattr(error, "message", "")) or str(error) or type(error).__name__


class Events:
    """A stream of Docker's events, from the moment that it was asked for."""

    def __init__(self, docker: aiodocker.Docker, labels: Mapping[str, str], since: int) -> None:
        filters = json.dumps({"type": ["container"], "label": _pairs(labels)})
        self._queue = docker.events.subscribe(filters=filters, since=str(since))  # type: ignore[no-untyped-call]
        self._stream: asyncio.Task[None] | None = docker.events.task

    async def get(self) -> dict[str, Any] | None:
        """The next one; None when the stream has ended."""
        return cast("dict[str, Any] | None", await self._queue.get())

    def end(self) -> None:
        if self._stream is not None:
            self._stream.cancel()


class HostClient:
    """Every call raises HostUnreachable when there was no complete answer, ContainerMissing where one is named."""

    def __init__(self, docker: aiodocker.Docker) -> None:
        self._docker = docker

    async def ping(self) -> None:
        with mapped():
            await self._docker.version()

    def events(self, labels: Mapping[str, str], since: int) -> Events:
        """Those of containers with these labels, from `since` (unix seconds) on."""
        return Events(self._docker, labels, since)

    async def list(self, labels: Mapping[str, str]) -> list[ContainerFacts]:
        """All containers with these labels, running or not: id, status and labels."""
        with mapped():
            found = await self._docker.containers.list(all=True, filters=json.dumps({"label": _pairs(labels)}))
        return [ContainerFacts(item["Id"], "", item["State"], item["Labels"]) for item in found]

    async def log(self, container: str, since: str = "") -> AsyncGenerator[str, None]:
        """What it prints from `since` (unix seconds) on, in pieces, until it ends; each line behind Docker's date."""
        options: dict[str, Any] = {"timestamps": "true", **({"since": since} if since else {})}
        with mapped():
            found = self._docker.containers.container(container).log(stdout=True, stderr=True, follow=True, **options)
            async with contextlib.aclosing(cast(AsyncGenerator[str, None], found)) as pieces:
                async for piece in pieces:
                    yield piece

    async def last_line(self, container: str) -> str:
        """The newest line on its standard output."""
        with mapped():
            return "".join(await self._docker.containers.container(container).log(stdout=True, tail=1))

    async def stats(self, container: str) -> dict[str, Any]:
        """One reading, in Docker's words. The engine does not wait a second to compare two."""
        with mapped():
            path, how = f"containers/{container}/stats", {"stream": "false", "one-shot": "true"}
            return cast("dict[str, Any]", await self._docker._query_json(path, params=how))

    async def pull(self, image: str) -> AsyncGenerator[dict[str, Any], None]:
        """Docker's own lines about a pull, until it has ended. Raises ImageMissing where the registry has none."""
        with mapped(missing=ImageMissing):
            stream = cast(AsyncGenerator[dict[str, Any], None], self._docker.images.pull(image, stream=True))
            async with contextlib.aclosing(stream):
                async for line in stream:
                    yield line


def _pairs(labels: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in labels.items()]
