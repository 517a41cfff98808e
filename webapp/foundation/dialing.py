"""Connecting to a unix socket from an event loop; gateway and probes do it here."""

import asyncio
import os
import socket

# A full queue of connections is a busy engine, not a dead one (llama.cpp's holds five). TCP's SYN would be sent again
# by the kernel; a unix socket says EAGAIN at once and leaves the waiting to us.
FIRST_PAUSE_S = 0.001
LONGEST_PAUSE_S = 0.05


async def dial(path: str) -> socket.socket:
    """A connected socket, however long its queue takes: the caller has the clock. Raises OSError.

    asyncio takes EAGAIN for "under way", as it is for TCP, waits for a writable socket and hands out one that was
    never connected; so this is done by hand. Connecting to a unix socket is done or refused at once, it never waits.
    """
    pause_s = FIRST_PAUSE_S
    while (handle := connect(path)) is None:
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    return handle


def connect(path: str) -> socket.socket | None:
    """A connected socket that does not block; None while the queue is full. Raises OSError.

    An engine can put what it likes into the folder of its socket. A link there, to Docker's socket say, is not
    followed: the name is opened as what it is, and connected to by that. Nor is a long path too long this way.
    """
    found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        handle = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            handle.connect(f"/proc/self/fd/{found}")
        except BlockingIOError:
            handle.close()
            return None
        except BaseException:
            handle.close()
            raise
        return handle
    finally:
        os.close(found)
