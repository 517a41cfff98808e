"""What was written during one round of the event loop, sent together at its end.

A system call between any two pieces of Python throws the interpreter's code out of the processor's nearest caches, and
the other way round: reads and decisions first, then all writes, costs a tenth less than taking turns. One per process,
as there is one event loop.
"""

import asyncio
import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

# More than this is not held back: many large pieces in one round would be a lot of memory.
_LARGE_BYTES = 64 * 1024

# Two lists, not one of pairs: a pair per write would keep the cycle collector busy.
_transports: list[asyncio.Transport] = []
_data: list[bytes] = []
_add_transport = _transports.append
_add_data = _data.append


def writer(transport: asyncio.Transport) -> Callable[[bytes], None]:
    """Like `transport.write`, a moment later and in order. Whoever closes a transport in good order flushes first.

    A closure, because it is called once per token: the interpreter goes into one without leaving its own loop, which a
    `partial` makes it do.
    """
    schedule = asyncio.get_running_loop().call_soon

    def write(data: bytes) -> None:
        if not _data:
            schedule(flush)
        _add_transport(transport)
        _add_data(data)
        if len(data) > _LARGE_BYTES:
            flush()

    return write


def waiting_bytes(transport: asyncio.Transport) -> int:
    """What was written to this transport and has not been sent yet."""
    return sum(len(data) for target, data in zip(_transports, _data, strict=True) if target is transport)


def flush() -> None:
    """Send everything that waits, now."""
    transports, batch = _transports[:], _data[:]
    _transports.clear()
    _data.clear()
    for transport, data in zip(transports, batch, strict=True):
        # Asking each transport first whether it is closed would cost every token something.
        try:
            transport.write(data)
        except RuntimeError:
            # It has broken since: its protocol is told of that by itself.
            if not transport.is_closing():
                log.exception("%d bytes could not be written", len(data))
