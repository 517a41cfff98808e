"""One gateway process: starts with what it finds, serves, and leaves without cutting anyone off."""

import asyncio
import contextlib
import logging
import resource
import signal
from time import monotonic

from webapp.gateway.process import listening, metrics_endpoint
from webapp.gateway.process.routes import Routes
from webapp.gateway.process.state import State
from webapp.gateway.process.watchdog import Watchdog
from webapp.gateway.settings import Settings, metrics_socket

log = logging.getLogger(__name__)

_LAST_POST_S = 2.0


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Raises listening.PortTaken."""
    _raise_file_limit()
    tls = listening.tls_context(settings)
    port = listening.take(settings)
    state = State(settings)
    state.poller.load_last()
    stop = _stop_signal()
    endpoint = await metrics_endpoint.listen(metrics_socket(settings.index), state.render_metrics)
    routes = Routes(state)
    watchdog = Watchdog(routes, state.connections, settings.trusted_proxies)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(watchdog.connect, sock=port.listener, ssl=tls)
    polling = loop.create_task(state.poller.poll_forever(settings.poll_s))
    log.info("gateway %d serves %s port %d", settings.index, settings.bind, settings.port)
    await stop.wait()
    port.release()
    await _drain(state, routes, server, stop)
    polling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await polling
    await state.inference.meter.close()
    state.ledger.refusals.flush()
    await state.ledger.journal.close(_LAST_POST_S)
    state.close()
    endpoint.close()
    metrics_socket(settings.index).unlink(missing_ok=True)
    state.disk.shutdown()
    # One round of the loop for what was closed to be gone.
    await asyncio.sleep(0)
    log.info("gateway %d has stopped", settings.index)


async def _drain(state: State, routes: Routes, server: asyncio.Server, stop: asyncio.Event) -> None:
    """No new connections; idle ones end, answers are finished. A second signal or the deadline cuts it short."""
    # Connections the kernel has already accepted for us are taken in first: closing the socket would reset them.
    await asyncio.sleep(0.05)
    routes.is_draining = True
    server.close()
    for connection in list(state.connections):
        connection.drain()
    stop.clear()
    deadline = monotonic() + state.settings.drain_s
    # Looking is enough once in a process's life; an event would cost every connection something.
    while state.connections and monotonic() < deadline and not stop.is_set():  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    left = len(state.connections)
    if left:
        log.warning("%d connections were cut off at the end of the drain", left)
    for connection in list(state.connections):
        connection.transport.abort()
    await asyncio.sleep(0)


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _raise_file_limit() -> None:
    """Every stream needs two descriptors; the usual soft limit of 1024 is for another time."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
