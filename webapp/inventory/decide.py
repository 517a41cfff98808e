"""One host and what a look at it gave: which step comes next, and when is it looked at again? Pure."""

from dataclasses import dataclass
from datetime import datetime

from webapp.control.steps import Wait
from webapp.inventory.states import HostState

# The facts of a host that answers are this old at most.
FACTS_EVERY_S = 60.0
# A silent host: soon at first, then less and less often.
SILENT_AGAIN_S = (5.0, 60.0)
# While another silent host is asked; so that any number of them takes one task's time.
IN_LINE_S = 2.0


@dataclass(frozen=True, slots=True)
class View:
    state: HostState
    lost_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """What the look gave: an answer, or the silence in words. `waits_its_turn`: it was not asked."""

    fault: str = ""
    waits_its_turn: bool = False


@dataclass(frozen=True, slots=True)
class Lose:
    """It does not answer. Nothing on it is touched: unreachable is not dead."""

    why: str


@dataclass(frozen=True, slots=True)
class Record:
    """It answers: store what is on it and prepare it for engines. `is_back`: who lives there is told."""

    is_back: bool


Step = Lose | Record | Wait


def decide(view: View, observed: Observed) -> Step:
    """The next step."""
    if observed.waits_its_turn:
        return Wait(IN_LINE_S)
    if observed.fault:
        return Lose(observed.fault)
    return Record(is_back=view.state != HostState.ONLINE)


def again_s(view: View, now: datetime) -> float:
    """Seconds until the next look: a quarter of the time that a host has been silent."""
    if view.state == HostState.ONLINE:
        return FACTS_EVERY_S
    least, most = SILENT_AGAIN_S
    silent_s = (now - view.lost_at).total_seconds() if view.lost_at else 0.0
    return min(max(silent_s / 4, least), most)
