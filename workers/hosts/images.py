"""Pull an image onto a host, and say how far it is."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from workers.hosts.client import HostClient
from workers.runtime.base import HostUnreachable

# Registries that cannot be reached answer nothing at all; a pull that moves goes on for as long as it moves.
SILENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Pulled:
    """How much of an image has arrived. `total_bytes` grows while Docker finds layers; 0 before the first."""

    done_bytes: int
    total_bytes: int


async def pull(client: HostClient, image: str) -> AsyncGenerator[Pulled, None]:
    """Pull it to the end. Raises RuntimeFault with the reason when the image cannot be had."""
    layers: dict[str, tuple[int, int]] = {}
    async with contextlib.aclosing(client.pull(image)) as lines:
        while True:
            try:
                line = await asyncio.wait_for(anext(lines, None), SILENCE_S)
            except TimeoutError:
                raise HostUnreachable("the registry did not answer") from None
            if line is None:
                return
            _count(layers, line)
            yield Pulled(sum(done for done, _ in layers.values()), sum(total for _, total in layers.values()))


def _count(layers: dict[str, tuple[int, int]], line: Mapping[str, object]) -> None:
    detail, layer = line.get("progressDetail"), line.get("id")
    if line.get("status") == "Downloading" and isinstance(detail, dict) and isinstance(layer, str):
        layers[layer] = (int(detail.get("current") or 0), int(detail.get("total") or 0))
