"""Command line of the launcher: run, down, and the single processes of compose/."""

from __future__ import annotations

import argparse
import sys

from workers.launcher.progress import LauncherError


def main() -> int:
    """Parse the command and do it; a LauncherError is printed and gives 1."""
    parser = argparse.ArgumentParser(prog="make", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="start everything on this machine and keep it running")
    commands.add_parser("down", help="stop everything, model engines too")
    commands.add_parser("quantizers", help="build the images of quantisers and of vLLM for processors")
    commands.add_parser("prepare", help=argparse.SUPPRESS)
    commands.add_parser("first-run", help=argparse.SUPPRESS)
    one = commands.add_parser("process", help=argparse.SUPPRESS)
    one.add_argument("name", choices=("web", "worker", "beat", "watcher"))
    for name in ("valkey", "gateways", "set-up"):
        commands.add_parser(name, help=argparse.SUPPRESS)
    words = parser.parse_args()
    try:
        if words.command == "run":
            from workers.launcher import main as run

            return run.run()
        if words.command == "down":
            from workers.launcher import down

            return down.down()
        if words.command == "quantizers":
            from workers.launcher import quantizers

            return quantizers.build()
        if words.command in ("process", "valkey", "gateways", "set-up"):
            return _in_a_container(words)
        from workers.launcher import first_run

        return first_run.prepare() if words.command == "prepare" else first_run.first_run()
    except LauncherError as error:
        print(f"\n{error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130


def _in_a_container(words: argparse.Namespace) -> int:
    from workers.launcher import containers

    if words.command == "gateways":
        return containers.gateways()
    if words.command == "set-up":
        return containers.set_up()
    return containers.become("valkey" if words.command == "valkey" else words.name)


if __name__ == "__main__":
    sys.exit(main())
