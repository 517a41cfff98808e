"""Does this Modelyard run? Asked by what must not happen beside it. No Django: a restore asks before it has any."""

import fcntl
import json
import socket

from webapp.foundation import paths


def supervisor_pid() -> int | None:
    """The process that `make run` left running on this state folder; None when nobody holds its lock."""
    try:
        with (paths.run_dir() / "supervisor.lock").open("r", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            except BlockingIOError:
                text = file.read()
    except FileNotFoundError:
        return None
    try:
        return int(json.loads(text)["pid"])
    except (ValueError, KeyError):
        # The lock is held by somebody who has not written yet.
        return 0


def web_listens() -> bool:
    """Whether a web process answers on this state folder, whoever started it."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(paths.web_socket()))
        except OSError:
            return False
    return True


def refusal() -> str | None:
    """Why this cannot be done now, with what to do; None when nothing runs."""
    pid = supervisor_pid()
    if pid is None:
        return None
    return (
        f"Modelyard runs (process {pid}, state folder {paths.state_dir()}). Stop it with Ctrl-C or `make down` first."
    )
