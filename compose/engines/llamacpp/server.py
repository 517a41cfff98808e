"""A llama-server made of the prebuilt library: same flags, same log, same exit codes."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any

import flags

DEFAULT_PORT = 8080


def main(argv: list[str]) -> int:
    """Serve until SIGTERM or SIGINT; 1 for a bad command line or a model that does not load."""
    if "--help" in argv or "-h" in argv or "--usage" in argv:
        print(flags.usage())
        return 0
    import xllamacpp

    if "--version" in argv:
        build = xllamacpp.BUILD_INFO
        print(f"version: {build['build_number']} ({build['commit']}), xllamacpp {xllamacpp.__version__}")
        print(f"built with {build['compiler']} for {build['build_target']}")
        return 0
    params = xllamacpp.CommonParams()
    _llama_server_defaults(params)
    try:
        flags.parse(argv, os.environ, params)
    except flags.FlagError as error:
        print(error, file=sys.stderr)
        return 1
    if not params.model.path:
        print("error: no model given: use -m FILE.gguf", file=sys.stderr)
        return 1
    if params.cpuparams_batch.n_threads < 0:
        params.cpuparams_batch.n_threads = params.cpuparams.n_threads
    return _serve(xllamacpp, params)


def _llama_server_defaults(params: Any) -> None:
    flags.parallel(params, "-1")
    params.port = DEFAULT_PORT


def _serve(xllamacpp: Any, params: Any) -> int:
    # The library holds the interpreter while it loads, so no Python handler could run: until the model is up,
    # SIGTERM keeps its default action, as in llama-server. (As process 1 that needs an init in front.)
    try:
        server = xllamacpp.Server(params)
    except RuntimeError:
        # llama.cpp has already said why, in its own words.
        return 1
    name = _wait_for_stop()
    print(f"server: stopping on {name}, listening address was {server.listening_address}", file=sys.stderr, flush=True)
    # The library's own end waits for every open stream, holding the interpreter. As in llama-server, requests that
    # still run are dropped (they were drained in front); nothing else is left to be put away.
    os._exit(0)


def _wait_for_stop() -> str:
    """Block until SIGTERM or SIGINT arrives on any thread; its name.

    The library's threads may be given the signal, and then only the wake-up descriptor reaches this one.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    while True:
        received = reader.recv(1)
        if not received or received[0] in (signal.SIGTERM, signal.SIGINT):
            return signal.Signals(received[0]).name if received else "a closed descriptor"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
