"""One deployment, its replicas of old and new contents: which replicas should there be next? Pure.

Every change of what runs is a rollout with a number, the generation; a replica belongs to one generation for life. The
caller applies one step, reads the rows again and asks again, so a step may be repeated after a crash anywhere. Rules:

- New before old: one replica more than wanted may exist, an old one goes only when a new one has proved itself.
- Where memory cannot hold both and the person allowed downtime, one old replica goes first.
- A generation that does not become ready is given up for the last good one. What serves meanwhile goes on serving.
- Old replicas that serve nobody protect nobody: they go at once and leave their memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from webapp.deployments.states import Desired, ReplicaState

S = ReplicaState

CRASHES = 3  # of one new replica, then the rollout is given up
NO_ROOM_S = 300  # a new replica waits so long for memory
DEADLINE_S = 30 * 60  # without any replica getting further
# An engine may answer once and die of the first real load: so long it must last before an old one goes for it.
SETTLED_S = 3.0
SETTLED_AFTER_CRASH_S = 30.0

# An old replica in one of these may be answering requests, or may soon do so again.
SERVING = frozenset({S.STARTING, S.LOADING, S.READY, S.PAUSED, S.DRAINING, S.LOST})


@dataclass(frozen=True, slots=True)
class Member:
    """A replica, as far as it decides anything here."""

    id: int
    number: int
    generation: int
    state: ReplicaState
    is_retired: bool = False
    # Of a failed one: nobody tries it again without a person.
    is_final: bool = False
    crash_count: int = 0
    # In a row: images that cannot be had, containers that cannot be started.
    failed_starts: int = 0
    # Seconds since it proved itself, of a ready one.
    ready_s: float = SETTLED_AFTER_CRASH_S
    reason: str = ""
    # How long it has been waiting for memory; None when it is not.
    no_room_s: float | None = None

    @property
    def is_ready(self) -> bool:
        return self.state == S.READY

    @property
    def settles_in_s(self) -> float:
        """How long a ready one must still last; 0 for one that can be relied on."""
        return max(0.0, (SETTLED_AFTER_CRASH_S if self.crash_count else SETTLED_S) - self.ready_s)

    @property
    def is_settled(self) -> bool:
        return self.is_ready and self.settles_in_s == 0


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted of the deployment."""

    desired: Desired
    wanted: int
    generation: int
    is_rolling: bool = False
    # There is an earlier generation that has been good.
    can_go_back: bool = False
    allow_downtime: bool = False
    # A new replica would find a place beside all that is there. Only asked for while downtime is allowed.
    has_room: bool = True
    # Seconds since anything of the new generation got further.
    quiet_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Add:
    """Make so many replicas of the wanted generation."""

    count: int


@dataclass(frozen=True, slots=True)
class Retire:
    """These replicas drain, stop and do not come back."""

    ids: tuple[int, ...]
    why: str


@dataclass(frozen=True, slots=True)
class GoBack:
    """Give the generation up and want the last good one again."""

    why: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Every wanted replica is of the wanted generation and has proved itself."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Something has to happen first; `what` says it to people. `again_s`: it will have happened by then."""

    what: str
    again_s: float | None = None


@dataclass(frozen=True, slots=True)
class Rest:
    """All is as it is wanted; look again when somebody changes something."""


Step = Add | Retire | GoBack | Finish | Hold | Rest


def decide(goal: Goal, members: Sequence[Member]) -> Step:
    """The next step towards the goal."""
    if goal.desired != Desired.RUNNING:
        return Rest()
    active = [member for member in members if not member.is_retired]
    current = [member for member in active if member.generation == goal.generation]
    old = [member for member in active if member.generation != goal.generation]
    if goal.is_rolling and goal.can_go_back and (why := _hopeless(goal, current)):
        return GoBack(why)
    if step := _surplus(goal, current, old):
        return step
    is_leaving = any(member.is_retired and member.state != S.STOPPED for member in members)
    if len(current) < goal.wanted and (step := _more(goal, current, old, is_leaving)):
        return step
    if step := _make_room(goal, current, old, is_leaving):
        return step
    if not old and all(member.is_settled for member in current):
        # Without a single replica nothing has been proved yet.
        return Finish() if goal.is_rolling and current else Rest()
    if goal.is_rolling or old:
        return _hold(current, old, is_leaving)
    return Rest()


def _hopeless(goal: Goal, current: Sequence[Member]) -> str:
    """Why the new generation will not become ready; empty while there is hope."""
    for member in current:
        if member.state == S.FAILED and member.is_final:
            return f"Replica #{member.number}: {member.reason}"
        if member.crash_count >= CRASHES and not member.is_settled:
            return f"Replica #{member.number} crashed {member.crash_count} times. {member.reason}"
        if member.failed_starts >= CRASHES and not member.is_ready:
            return f"Replica #{member.number} could not be started {member.failed_starts} times. {member.reason}"
        if member.no_room_s is not None and member.no_room_s >= NO_ROOM_S:
            return f"Replica #{member.number} could not be scheduled for {NO_ROOM_S // 60} minutes. {member.reason}"
    if goal.quiet_s >= DEADLINE_S and any(member.state not in (S.READY, S.STOPPED) for member in current):
        return f"The rollout made no progress for {DEADLINE_S // 60} minutes."
    return ""


def _surplus(goal: Goal, current: Sequence[Member], old: Sequence[Member]) -> Step | None:
    """Who goes because nobody needs them (any more)."""
    idle = [member.id for member in old if member.state not in SERVING]
    if idle:
        return Retire(tuple(idle), "replaced")
    still_needed = max(0, goal.wanted - sum(member.is_settled for member in current))
    spare = len(old) - still_needed
    if spare > 0:
        return Retire(tuple(member.id for member in _first_to_go(old)[:spare]), "replaced")
    over = len(current) - goal.wanted
    if over > 0:
        newest_first = sorted(current, key=lambda member: (member.is_ready, -member.number))
        return Retire(tuple(member.id for member in newest_first[:over]), "scaled down")
    return None


def _more(goal: Goal, current: Sequence[Member], old: Sequence[Member], is_leaving: bool) -> Step | None:
    missing = goal.wanted - len(current)
    if not old and (goal.has_room or not is_leaving):
        return Add(missing)
    if any(member.state == S.PENDING for member in current):
        return None  # until that one has its place nobody knows whether there is room
    if len(current) + len(old) > goal.wanted:
        return None  # one more than wanted is enough
    if goal.has_room or not goal.allow_downtime:
        return Add(1)
    if is_leaving or not old:
        return Hold("waiting for the memory of a replica that is stopping")
    return Retire((_first_to_go(old)[0].id,), "freeing memory for the new replica")


def _make_room(goal: Goal, current: Sequence[Member], old: Sequence[Member], is_leaving: bool) -> Step | None:
    """The room that was seen has gone to somebody else: an old one goes for the new one that waits."""
    waits = any(member.no_room_s is not None for member in current)
    if goal.allow_downtime and waits and old and not is_leaving and not goal.has_room:
        return Retire((_first_to_go(old)[0].id,), "freeing memory for the new replica")
    return None


def _first_to_go(old: Sequence[Member]) -> list[Member]:
    """Who answers nobody first, then the oldest."""
    return sorted(old, key=lambda member: (member.is_ready, member.number))


def _hold(current: Sequence[Member], old: Sequence[Member], is_leaving: bool) -> Hold:
    on_the_way = [f"#{member.number} ({member.state})" for member in current if not member.is_ready]
    if on_the_way:
        return Hold(f"waiting for {', '.join(on_the_way)}")
    settling = [member.settles_in_s for member in current if not member.is_settled]
    if settling:
        return Hold("waiting for new replicas to stay healthy", max(settling))
    return Hold("waiting for old replicas to stop" if is_leaving or old else "waiting")
