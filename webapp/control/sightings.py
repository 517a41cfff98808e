"""What may be said of a container that was looked for. Pure; in Docker's words."""

from datetime import datetime
from enum import StrEnum

# Between the two sightings of "it is not there": with the sweep every 15 s a loss is certain within 20 s.
ABSENT_S = 4


class Container(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


ALIVE = frozenset({Container.RUNNING, Container.PAUSED, Container.RESTARTING})


def absent_left_s(missing_since: datetime, now: datetime) -> float:
    """How long until an absence first seen then is certain; 0 or less: it is."""
    return ABSENT_S - (now - missing_since).total_seconds()
