"""`python -m webapp.gateway --index I`: one of the processes behind the public port."""

import argparse
import asyncio
import gc
import ssl
import sys

from webapp.foundation import logs, paths
from webapp.foundation.key_ring import MasterKeyError
from webapp.gateway import settings
from webapp.gateway.process import listening
from webapp.gateway.process.main import run


def main() -> int:
    """The exit status: 0 after a drain, 1 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m webapp.gateway", description=__doc__)
    parser.add_argument("--index", type=int, default=0, help="which of MODELYARD_GATEWAY_PROCESSES this is, from 0")
    arguments = parser.parse_args()
    logs.set_up()
    for folder in (paths.state_dir(), paths.run_dir(), paths.gateway_dir()):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What is here now stays, and requests leave no cycles behind: looking for some after every few hundred objects
    # would mostly mean walking through the open streams.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    try:
        chosen = settings.from_environment(arguments.index)
        with asyncio.Runner(loop_factory=_loop) as runner:
            runner.run(run(chosen))
    except (settings.SettingError, listening.PortTaken, MasterKeyError) as error:
        sys.stderr.write(f"gateway: {error}\n")
        return 1
    except ssl.SSLError as error:
        sys.stderr.write(f"gateway: MODELYARD_TLS_CERT and MODELYARD_TLS_KEY cannot be used: {error}\n")
        return 1
    return 0


def _loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


if __name__ == "__main__":
    raise SystemExit(main())
