"""What was written during one round of the event loop, sent together at its end.

A system call between any two pieces of Python throws the interpreter's code out of the processor's nearest caches, and
the other way round: reads and decisions first, then all writes, costs a tenth less than taking turns. One per process,
as there is one event loop.
"""

import asyncio

_waiting: list[tuple[asyncio.Transport, bytes]] = []
_add = _waiting.append


def write(transport: asyncio.Transport, data: bytes) -> None:
    """Like `transport.write`, a moment later and in order. Whoever closes a transport in good order flushes first."""
    if not _waiting:
        asyncio.get_running_loop().call_soon(flush)
    _add((transport, data))


def waiting_bytes(transport: asyncio.Transport) -> int:
    """What was written to this transport and has not been sent yet."""
    return sum(len(data) for target, data in _waiting if target is transport)


def flush() -> None:
    """Send everything that waits, now."""
    batch = _waiting[:]
    _waiting.clear()
    for transport, data in batch:
        # It may have broken since: its protocol is told of that by itself.
        if not transport.is_closing():
            transport.write(data)
