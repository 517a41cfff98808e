"""Which replicas there should be next: a table of situations, and a world in which anything may happen."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from webapp.deployments import rollout as r
from webapp.deployments.rollout import Add, Finish, Goal, GoBack, Hold, Member, Rest, Retire, decide
from webapp.deployments.states import Desired, ReplicaState

S = ReplicaState
ROLLING = Goal(Desired.RUNNING, wanted=2, generation=2, is_rolling=True, can_go_back=True)
STEADY = Goal(Desired.RUNNING, wanted=2, generation=1)
GAP = replace(ROLLING, allow_downtime=True, has_room=False)
REPLACED = "replaced"
ROOM = "freeing memory for the new replica"


def member(number: int, state: ReplicaState = S.READY, generation: int = 1, **columns: object) -> Member:
    return Member(id=number, number=number, generation=generation, state=state, **columns)  # type: ignore[arg-type]


def new(number: int, state: ReplicaState = S.READY, **columns: object) -> Member:
    return member(number, state, 2, **columns)


ONE, TWO = member(1), member(2)
LEAVING = member(1, S.DRAINING, is_retired=True)

TABLE: list[tuple[str, Goal, list[Member], r.Step]] = [
    ("a new deployment gets all its replicas", STEADY, [], Add(2)),
    ("what is as it is wanted rests", STEADY, [ONE, TWO], Rest()),
    ("a first rollout ends when all are ready", replace(STEADY, is_rolling=True), [ONE, TWO], Finish()),
    ("a first rollout waits", replace(STEADY, is_rolling=True), [ONE, member(2, S.LOADING)],
     Hold("waiting for #2 (loading)")),
    ("a failed replica of a steady deployment is its own affair", STEADY,
     [ONE, member(2, S.FAILED, is_final=True, crash_count=9)], Rest()),
    ("scale up", replace(STEADY, wanted=4), [ONE, TWO], Add(2)),
    ("scale down takes the newest", replace(STEADY, wanted=1), [ONE, TWO], Retire((2,), "scaled down")),
    ("scale down takes one that serves nobody first", replace(STEADY, wanted=1), [member(1, S.FAILED), TWO],
     Retire((1,), "scaled down")),
    ("scale to nothing", replace(STEADY, wanted=0), [ONE, TWO], Retire((2, 1), "scaled down")),
    ("a rollout to no replicas proves nothing", replace(ROLLING, wanted=0), [], Rest()),
    ("nothing is wanted, nothing is there", replace(STEADY, wanted=0), [], Rest()),
    # New before old.
    ("one more than wanted comes first", ROLLING, [ONE, TWO], Add(1)),
    ("and nobody goes before it is ready", ROLLING, [ONE, TWO, new(3, S.LOADING)], Hold("waiting for #3 (loading)")),
    ("it is ready: one old one goes", ROLLING, [ONE, TWO, new(3)], Retire((1,), REPLACED)),
    ("the next comes", ROLLING, [LEAVING, TWO, new(3)], Add(1)),
    ("and so on", ROLLING, [TWO, new(3), new(4)], Retire((2,), REPLACED)),
    ("until all are new", ROLLING, [new(3), new(4)], Finish()),
    ("one that is stopping holds nobody up", ROLLING, [member(2, S.STOPPING, is_retired=True), new(3), new(4)],
     Finish()),
    ("the old ones that serve nobody go at once", ROLLING, [member(1, S.FAILED), TWO], Retire((1,), REPLACED)),
    ("a lost old one may still serve", ROLLING, [member(1, S.LOST), TWO, new(3, S.LOADING)],
     Hold("waiting for #3 (loading)")),
    ("but it goes before one that does", ROLLING, [ONE, member(2, S.LOST), new(3)], Retire((2,), REPLACED)),
    ("with fewer wanted the old ones go first", replace(ROLLING, wanted=1), [ONE, TWO, new(3, S.LOADING)],
     Retire((1,), REPLACED)),
    ("no second one while the first has no place", ROLLING, [ONE, new(3, S.PENDING)], Hold("waiting for #3 (pending)")),
    # No room for both.
    ("without room an old one goes first", GAP, [ONE, TWO], Retire((1,), ROOM)),
    ("its memory is waited for", GAP, [LEAVING, TWO], Hold("waiting for the memory of a replica that is stopping")),
    ("then the new one comes", replace(GAP, has_room=True), [TWO], Add(1)),
    ("the only one goes as well", replace(GAP, wanted=1), [ONE], Retire((1,), ROOM)),
    ("without leave to interrupt the new one waits for room", replace(GAP, allow_downtime=False), [ONE, TWO], Add(1)),
    ("its memory is waited for too", replace(GAP, wanted=1), [LEAVING],
     Hold("waiting for the memory of a replica that is stopping")),
    ("when it is gone the new one comes, room or not", replace(GAP, wanted=1), [], Add(1)),
    ("the room went to somebody else", GAP, [ONE, TWO, new(3, S.PENDING, no_room_s=9.0)], Retire((1,), ROOM)),
    ("somebody leaves already", GAP, [LEAVING, TWO, new(3, S.PENDING, no_room_s=9.0)],
     Hold("waiting for #3 (pending)")),
    # It does not become ready.
    ("it will not be tried again", ROLLING, [ONE, TWO, new(3, S.FAILED, is_final=True, reason="No such image.")],
     GoBack("Replica #3: No such image.")),
    ("it ended too often", ROLLING,
     [ONE, TWO, new(3, S.PENDING, crash_count=3, reason="The engine exited with code 1.")],
     GoBack("Replica #3 crashed 3 times. The engine exited with code 1.")),
    ("it could not be started", ROLLING, [ONE, TWO, new(3, S.FAILED, failed_starts=3, reason="No image.")],
     GoBack("Replica #3 could not be started 3 times. No image.")),
    ("it could be started in the end", ROLLING, [ONE, TWO, new(3, failed_starts=3)], Retire((1,), REPLACED)),
    ("it may be tried again", ROLLING, [ONE, TWO, new(3, S.FAILED, crash_count=2)], Hold("waiting for #3 (failed)")),
    ("it came up in the end", ROLLING, [ONE, TWO, new(3, crash_count=2)], Retire((1,), REPLACED)),
    ("one that has just become ready must last", ROLLING, [ONE, TWO, new(3, ready_s=1.0)],
     Hold("waiting for new replicas to stay healthy", 2.0)),
    ("one that crashed before must last longer", ROLLING, [ONE, TWO, new(3, ready_s=4.0, crash_count=1)],
     Hold("waiting for new replicas to stay healthy", 26.0)),
    ("one that comes up again and again is not relied on", ROLLING, [ONE, TWO, new(3, ready_s=1.0, crash_count=3)],
     GoBack("Replica #3 crashed 3 times. ")),
    ("a rollout ends when the last one has lasted", ROLLING, [new(3), new(4, ready_s=2.5)],
     Hold("waiting for new replicas to stay healthy", 0.5)),
    ("it finds no room", ROLLING, [ONE, TWO, new(3, S.PENDING, no_room_s=300.0, reason="No suitable host.")],
     GoBack("Replica #3 could not be scheduled for 5 minutes. No suitable host.")),
    ("it is stuck", replace(ROLLING, quiet_s=1800.0), [ONE, TWO, new(3, S.LOADING)],
     GoBack("The rollout made no progress for 30 minutes.")),
    ("an old rollout that begins only now", replace(ROLLING, quiet_s=9999.0), [new(3, S.STOPPED), new(4, S.STOPPED)],
     Hold("waiting for #3 (stopped), #4 (stopped)")),
    ("there is nothing to go back to", replace(ROLLING, can_go_back=False), [new(3, S.FAILED, is_final=True), new(4)],
     Hold("waiting for #3 (failed)")),
    # Gone back: the wanted generation is 1 again, what failed is the other.
    ("what was given up goes", STEADY, [ONE, TWO, new(3, S.LOADING)], Retire((3,), REPLACED)),
    ("one that serves stays until it is replaced", STEADY, [TWO, new(3)], Add(1)),
    ("and goes then", STEADY, [TWO, new(3), member(4)], Retire((3,), REPLACED)),
    # Not running.
    ("a stopped one is left alone", replace(ROLLING, desired=Desired.STOPPED), [ONE, new(3, S.LOADING)], Rest()),
    ("started again, the stopped old ones go", ROLLING, [member(1, S.STOPPED), member(2, S.STOPPED)],
     Retire((1, 2), REPLACED)),
]  # fmt: skip


@pytest.mark.parametrize(("goal", "members", "step"), [case[1:] for case in TABLE], ids=[case[0] for case in TABLE])
def test_the_next_step_is_the_one_of_the_table(goal: Goal, members: list[Member], step: r.Step) -> None:
    assert decide(goal, members) == step


class World(RuleBasedStateMachine):
    """A deployment with room for `room` replicas, in which people, engines and hosts do what they like.

    A generation is good or bad: replicas of a bad one never become ready.
    """

    @initialize(wanted=st.integers(1, 4), spare=st.integers(0, 3))
    def begin(self, wanted: int, spare: int) -> None:
        self.room = wanted + spare
        self.goal = Goal(Desired.RUNNING, wanted, generation=1, is_rolling=True)
        self.good: int | None = None
        self.bad: set[int] = set()
        self.last_generation = 1
        self.members: dict[int, Member] = {}
        self.numbers = 0

    def held(self) -> int:
        """Replicas that hold memory."""
        free = (S.PENDING, S.STOPPED)
        return sum(m.state not in free and not (m.state == S.FAILED and m.is_final) for m in self.members.values())

    def ready(self) -> int:
        return sum(m.is_ready and not m.is_retired for m in self.members.values())

    # What people do.

    @rule(is_bad=st.booleans(), allow_downtime=st.booleans())
    def edit(self, is_bad: bool, allow_downtime: bool) -> None:
        self.last_generation += 1
        if is_bad:
            self.bad.add(self.last_generation)
        self.goal = replace(
            self.goal, generation=self.last_generation, is_rolling=True, allow_downtime=allow_downtime,
            can_go_back=self.good is not None,
        )  # fmt: skip

    @rule(wanted=st.integers(0, 4))
    def scale(self, wanted: int) -> None:
        self.goal = replace(self.goal, wanted=min(wanted, self.room))

    @rule()
    def stop(self) -> None:
        self.goal = replace(self.goal, desired=Desired.STOPPED)

    @rule()
    def start(self) -> None:
        self.goal = replace(self.goal, desired=Desired.RUNNING)

    # What workers do.

    @rule()
    def advance(self) -> None:
        self.advanced()

    @rule()
    def reconcile(self) -> None:
        self.reconciled()

    def advanced(self) -> bool:
        """One step; whether anything was done."""
        goal = replace(self.goal, has_room=self.held() < self.room)
        before = self.ready()
        step = decide(goal, list(self.members.values()))
        match step:
            case Add(count=count):
                for _index in range(count):
                    self.numbers += 1
                    self.members[self.numbers] = member(self.numbers, S.PENDING, goal.generation)
            case Retire(ids=ids):
                for number in ids:
                    assert not self.members[number].is_retired
                    self.members[number] = replace(self.members[number], is_retired=True)
            case GoBack():
                assert self.good is not None and goal.generation in self.bad | self.unplaced()
                self.goal = replace(self.goal, generation=self.good, is_rolling=False)
            case Finish():
                assert goal.generation not in self.bad
                self.good = goal.generation
                self.goal = replace(self.goal, is_rolling=False)
            case Hold() | Rest():
                assert decide(goal, list(self.members.values())) == step
                return False
        if isinstance(step, Retire) and step.why != ROOM:
            assert self.ready() >= min(before, goal.wanted), "service was interrupted without need or leave"
        return True

    def unplaced(self) -> set[int]:
        return {m.generation for m in self.members.values() if m.no_room_s}

    def reconciled(self) -> bool:
        """Every replica goes one step of its own way; whether any moved."""
        before = dict(self.members)
        for number, m in before.items():
            self.members[number] = self.after(m)
            if self.members[number].is_retired and self.members[number].state == S.STOPPED:
                del self.members[number]
        return self.members != before

    def after(self, m: Member) -> Member:
        if m.is_retired or self.goal.desired == Desired.STOPPED:
            onward = {S.READY: S.DRAINING, S.DRAINING: S.STOPPING, S.LOADING: S.STOPPING}
            return replace(m, state=onward.get(m.state, S.STOPPED), no_room_s=None, crash_count=0, is_final=False)
        match m.state:
            case S.STOPPED:
                return replace(m, state=S.PENDING)
            case S.DRAINING:  # a stop that has begun is carried out, whatever is desired by then
                return replace(m, state=S.STOPPING)
            case S.STOPPING:
                return replace(m, state=S.STOPPED)
            case S.PENDING if self.held() < self.room:
                return replace(m, state=S.LOADING, no_room_s=None)
            case S.PENDING:
                return replace(m, no_room_s=(m.no_room_s or 0) + 100)
            case S.LOADING if m.generation in self.bad:
                return replace(m, state=S.FAILED, crash_count=m.crash_count + 1)
            case S.LOADING:
                return replace(m, state=S.READY)
            case S.FAILED if not m.is_final:
                return replace(m, state=S.PENDING)
        return m

    # What happens.

    @precondition(lambda self: self.ready())
    @rule(is_final=st.booleans(), data=st.data())
    def crash(self, is_final: bool, data: st.DataObject) -> None:
        ready = [m for m in self.members.values() if m.is_ready]
        m = data.draw(st.sampled_from(ready))
        if m.generation != self.goal.generation or not self.goal.is_rolling:
            self.members[m.id] = replace(m, state=S.FAILED, is_final=is_final and m.generation in self.bad)

    @invariant()
    def there_are_never_more_than_one_too_many(self) -> None:
        active = [m for m in self.members.values() if not m.is_retired]
        current = [m for m in active if m.generation == self.goal.generation]
        assert len(current) <= 5
        assert len({m.number for m in active}) == len(active)

    def teardown(self) -> None:
        """Left in peace, the deployment comes to rest with what is wanted, or says what it waits for."""
        self.goal = replace(self.goal, desired=Desired.RUNNING, allow_downtime=True)
        for _round in range(200):
            if not self.advanced() | self.reconciled():
                break
        active = [m for m in self.members.values() if not m.is_retired]
        if self.goal.generation in self.bad and self.good is None:
            return  # it never had anything good: its replicas go on trying
        assert len(active) == self.goal.wanted, (self.goal, active)
        assert all(m.is_ready and m.generation == self.goal.generation for m in active)
        assert self.goal.generation not in self.bad or self.goal.wanted == 0
        assert not self.goal.is_rolling or self.goal.wanted == 0


World.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestWorld = World.TestCase
