"""One job, what is wanted of it and what was seen of its containers: which single step comes next? Pure.

The caller reads row and host again after every step and asks anew. A job's container is made once per attempt and step;
one that is gone is started again after two sightings of its absence, since what it had done stays on disk.
"""

from dataclasses import dataclass
from datetime import datetime

from webapp.control.sightings import ALIVE, Container, absent_left_s
from webapp.control.steps import Wait
from webapp.jobs.states import ENDED, JobState

# Finished steps of a failed job wait so long for another try; then their space is given back.
KEPT_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class View:
    """The row, as far as it decides anything."""

    state: JobState
    is_cancel_wanted: bool = False
    # The container that the row believes in; "" when none was made or we removed it ourselves.
    container_id: str = ""
    missing_since: datetime | None = None
    # The row says that its container is paused.
    says_paused: bool = False
    ended_at: datetime | None = None
    # Of an ended one: finished steps that another try could go on with; files that could not be taken away.
    keeps_work: bool = False
    has_leftovers: bool = False
    # Its record is to go, and what it left with it.
    is_leaving: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """One container of this job on its host."""

    id: str
    status: Container


@dataclass(frozen=True, slots=True)
class Observed:
    """What a look at the host gave: this attempt's container, and those of others."""

    mine: Seen | None = None
    others: tuple[Seen, ...] = ()
    is_silent: bool = False


@dataclass(frozen=True, slots=True)
class LetGo:
    """Take away what an ended job left. `is_last_try`: it has been tried for long enough."""

    is_last_try: bool


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing of it is left on its host, and its record is to go."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Containers of earlier attempts go first."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    container_id: str


@dataclass(frozen=True, slots=True)
class Create:
    """Make the container of the next unfinished step."""


@dataclass(frozen=True, slots=True)
class Start:
    container_id: str


@dataclass(frozen=True, slots=True)
class Run:
    """The container runs: write that down."""

    container_id: str


@dataclass(frozen=True, slots=True)
class SayPaused:
    """Somebody paused the container: nothing goes on until it is unpaused, and the job says so."""

    container_id: str


@dataclass(frozen=True, slots=True)
class MarkMissing:
    """Our container was not in the list: the first sighting of its absence."""


@dataclass(frozen=True, slots=True)
class Again:
    """The next attempt goes on where this one was cut off."""


@dataclass(frozen=True, slots=True)
class ReadEnd:
    """The container has ended: read what it said."""

    container_id: str


Step = LetGo | Forget | Remove | Cancel | Create | Start | Run | SayPaused | MarkMissing | Again | ReadEnd | Wait


def needs_look(view: View) -> bool:
    """Whether the next step depends on what is on the host."""
    return view.state not in ENDED


def decide(view: View, observed: Observed, now: datetime) -> Step:
    """The next step towards the job's end."""
    if view.state in ENDED:
        return _after_the_end(view, now)
    if observed.is_silent:
        return Wait()
    if observed.others:
        # Two containers of one job would write the same files: those that Docker removes already are waited for.
        left = tuple(other.id for other in observed.others if other.status != Container.REMOVING)
        return Remove(left) if left else Wait()
    mine = observed.mine
    if view.is_cancel_wanted:
        return Cancel(mine.id if mine else "")
    if mine is None:
        return _absent(view, now) if view.container_id else Create()
    if mine.status == Container.CREATED:
        return Start(mine.id)
    if mine.status in ALIVE:
        is_known = view.container_id == mine.id and view.missing_since is None and view.state == JobState.RUNNING
        if is_known and mine.status == Container.PAUSED:
            return Wait() if view.says_paused else SayPaused(mine.id)
        return Wait() if is_known and not view.says_paused else Run(mine.id)
    return Wait() if mine.status == Container.REMOVING else ReadEnd(mine.id)


def _absent(view: View, now: datetime) -> Step:
    if view.missing_since is None:
        return MarkMissing()
    left_s = absent_left_s(view.missing_since, now)
    return Wait(left_s) if left_s > 0 else Again()


def _after_the_end(view: View, now: datetime) -> Step:
    # What an earlier attempt kept, the one that succeeded has used up.
    if view.state == JobState.SUCCEEDED or not (view.keeps_work or view.has_leftovers):
        return Forget() if view.is_leaving else Wait(None)
    left_s = KEPT_S - (now - (view.ended_at or now)).total_seconds()
    if view.keeps_work and left_s > 0 and not view.is_leaving:
        return Wait(left_s)
    return LetGo(is_last_try=left_s <= 0)
