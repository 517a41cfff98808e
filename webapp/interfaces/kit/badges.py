"""How each state looks: one table for every badge. Never colour alone: a word and an icon go with it. Pure."""

from typing import NamedTuple


class Look(NamedTuple):
    colour: str
    icon: str


_BUSY = Look("azure", "loader-2")
_GOOD = Look("green", "circle-check")
_BAD = Look("red", "alert-triangle")
_REST = Look("secondary", "circle")

LOOKS: dict[str, Look] = {
    # deployments and replicas
    "pending": Look("azure", "hourglass"),
    "placing": _BUSY,
    "pulling": Look("azure", "cloud-download"),
    "starting": _BUSY,
    "loading": _BUSY,
    "ready": _GOOD,
    "degraded": Look("yellow", "alert-triangle"),
    "restarting": Look("orange", "refresh"),
    "draining": Look("yellow", "door-exit"),
    "stopping": Look("yellow", "player-stop"),
    "stopped": _REST,
    "deleting": Look("yellow", "trash"),
    "failed": _BAD,
    "paused": Look("yellow", "player-stop"),
    "lost": Look("orange", "plug-connected-x"),
    # rollouts
    "done": _GOOD,
    "superseded": Look("secondary", "circle-minus"),
    # jobs
    "queued": Look("azure", "hourglass"),
    "running": _BUSY,
    "succeeded": _GOOD,
    "cancelled": Look("secondary", "ban"),
    "skipped": Look("secondary", "circle-minus"),
    "cancelling": Look("yellow", "ban"),
    # schedules and their messages
    "waiting": Look("azure", "hourglass"),
    "refused": Look("orange", "ban"),
    "rejected": Look("orange", "ban"),
    "sent": _GOOD,
    # hosts
    "new": Look("azure", "hourglass"),
    "online": _GOOD,
    "unreachable": _BAD,
    "drained": Look("yellow", "circle-minus"),
    "restricted": Look("secondary", "lock"),
    "open": Look("yellow", "alert-triangle"),  # engines there have a network
    # what else wants a person
    "disk nearly full": Look("orange", "database"),
    "on hold": Look("yellow", "player-stop"),
    "requests fail": _BAD,
    "silent": _BAD,
    "unreadable": _BAD,
    "late": Look("orange", "clock"),
    "ends soon": Look("yellow", "clock"),
    "not told": Look("orange", "alert-triangle"),
    "rolling out": _BUSY,
    "to do": Look("azure", "list-check"),
    # copies of artifacts
    "fetching": Look("azure", "cloud-download"),
    "present": _GOOD,
    "missing": _REST,
    # keys
    "active": _GOOD,
    "expired": Look("secondary", "clock"),
    "revoked": Look("secondary", "ban"),
    "used": Look("secondary", "check"),
    "deactivated": Look("red", "ban"),
    # a deployment that would or would not fit
    "fits": _GOOD,
    "not now": Look("yellow", "clock"),
    "does not fit": Look("orange", "ban"),
}


def look(word: str) -> Look:
    return LOOKS.get(word, Look("secondary", "circle"))
