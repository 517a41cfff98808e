"""How long starts took, read from the events: what each replica did from its place to its first answer."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from webapp.deployments.models import Deployment, ReplicaEvent
from webapp.deployments.states import ReplicaState

S = ReplicaState

# The states of a start after its place; a move to anything else ends it.
ON_THE_WAY = frozenset({S.PULLING, S.STARTING, S.LOADING})
# Moves that are read back for the starts of a page.
MOST_MOVES = 400


@dataclass
class Start:
    """One way of a replica from its place to ready, or to where it ended."""

    replica: int
    revision: int | None
    began_at: datetime
    phases: list[tuple[str, float]] = field(default_factory=list)
    # "" while it goes on.
    ended: str = ""
    text: str = ""

    @property
    def total_s(self) -> float:
        return sum(seconds for _name, seconds in self.phases)


def starts(moves: Iterable[ReplicaEvent]) -> list[Start]:
    """Starts out of the moves among the events, newest first. `moves` may come in any order."""
    under_way: dict[int, tuple[Start, ReplicaEvent]] = {}
    found: list[Start] = []
    for move in sorted((move for move in moves if move.new_state), key=lambda move: move.pk):
        number = move.replica_ordinal or 0
        start, last = under_way.pop(number, (None, move))
        if start is not None:
            start.phases.append((last.new_state, (move.at - last.at).total_seconds()))
        if move.new_state == S.PLACING:
            start = Start(number, move.revision_number, move.at)
            found.append(start)
        elif start is not None and move.new_state not in ON_THE_WAY:
            start.ended, start.text = move.new_state, move.text
            continue
        if start is not None:
            under_way[number] = (start, move)
    return list(reversed(found))


def recent_starts(deployment: Deployment) -> list[Start]:
    """The newest starts of a deployment."""
    return starts(deployment.events.exclude(new_state="").order_by("-id")[:MOST_MOVES])


def last_start_s(deployment: Deployment) -> float | None:
    """Seconds that the last successful start took; None when none is in the events."""
    done = (start.total_s for start in recent_starts(deployment) if start.ended == S.READY)
    return next(done, None)
