"""All six kinds, walked by one machine: delivered twice, late, after a crash in the middle, with a stale look."""

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.control.worlds import WORLDS, World
from webapp.control import lease, loop
from webapp.control.steps import Wait
from workers.controllers import looks

NUMBERS = st.integers(min_value=0, max_value=3)
ROUNDS = 80


class Killed(BaseException):
    """The worker's process ends here."""


class Machine(RuleBasedStateMachine):
    """Everything that may happen to the row of one kind's world."""

    def __init__(self, make: type[World], cast: Any) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        looks._answered_at.clear()
        self.moves: list[tuple[str, str]] = []
        self.states: dict[int, str] = {}
        self.watch = connection.execute_wrapper(self._write)
        try:
            self.world = make(cast)
        except BaseException:
            self.atomic.__exit__(*sys.exc_info())  # nothing of it is left to the next test
            raise
        self.states = self._states()
        self.watch.__enter__()

    def _states(self) -> dict[int, str]:
        return dict(self.world.state_of.objects.values_list("pk", "state"))

    def _write(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        """Every change of a state, whoever makes it."""
        result = execute(sql, params, many, context)
        if sql.startswith("UPDATE") and self.world.state_of._meta.db_table in sql:
            now = self._states()
            self.moves += [(old, now[pk]) for pk, old in self.states.items() if now.get(pk, old) != old]
            self.states = now
        return result

    @rule()
    def delivered(self) -> None:
        loop.work(self.world.controller, self.world.pk)

    @rule()
    def delivered_twice_and_late(self) -> None:
        for _copy in range(2):
            loop.work(self.world.controller, self.world.pk, only_when_due=True)

    @rule(after=st.booleans(), nth=st.integers(min_value=1, max_value=3))
    def dies_in_the_middle(self, after: bool, nth: int) -> None:
        """A dead worker gives nothing back."""
        acts, dead = [0], [False]
        real, release = loop._once, lease.release

        def once(controller: Any, row: Any) -> Any:
            acts[0] += 1
            if acts[0] == nth and not after:
                dead[0] = True
                raise Killed
            pause = real(controller, row)
            if acts[0] == nth:
                dead[0] = True
                raise Killed
            return pause

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "_once", once)
            patch.setattr(lease, "release", lambda row, due: False if dead[0] else release(row, due))
            with contextlib.suppress(Killed):
                loop.work(self.world.controller, self.world.pk)

    @rule()
    def a_stale_look(self) -> None:
        """A worker decides, is held up until its lease is over, and acts when another one has been at work."""
        kind = self.world.controller.kind
        slow = kind.claim(self.world.pk)
        if slow is None:
            return
        observed = self.world.controller.observe(slow)
        step = self.world.controller.decide(slow, observed)
        assert kind.claim(self.world.pk) is None, "one holder"
        self.world.age(lease.LEASE_S + 1)
        loop.work(self.world.controller, self.world.pk)
        if self.world.controller.hold is None and not isinstance(step, Wait):
            self.world.controller.act(step, slow)
        if self.world.row() is not None:
            assert kind.reread(slow) is None and not lease.note(slow, next_due_at=None), "the lease is another's"
        lease.release(slow, None)

    @rule(seconds=st.sampled_from([1, 5, 29, 130, 700]))
    def time_passes(self, seconds: int) -> None:
        self.world.age(seconds)

    @rule(number=NUMBERS)
    def something_happens(self, number: int) -> None:
        self.world.shake(number)

    @rule(number=NUMBERS)
    def somebody_asks(self, number: int) -> None:
        self.world.ask(number)

    @invariant()
    def no_move_is_outside_the_table(self) -> None:
        for old, new in self.moves:
            assert new in self.world.moves[old], (old, new)

    @invariant()
    def what_is_not_at_rest_is_looked_at_again(self) -> None:
        row = self.world.row()
        assert row is None or self.world.is_at_rest(row) or self.world.is_waiting(row), row.state

    def teardown(self) -> None:
        try:
            self._ends_in_rest()
        finally:
            self.watch.__exit__(None, None, None)
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)

    def _ends_in_rest(self) -> None:
        """Without a single message: the sweep alone brings it there."""
        for _round in range(ROUNDS):
            row = self.world.row()
            if row is None or self.world.is_at_rest(row):
                break
            self.world.calm()
            self.world.age(130)
            if self.world.controller.kind.is_due(self.world.pk):
                loop.work(self.world.controller, self.world.pk)
            self.no_move_is_outside_the_table()
        row = self.world.row()
        assert row is None or self.world.is_at_rest(row), f"{row.state} after {ROUNDS} rounds: {self.moves[-9:]}"


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.__name__)
# The long form is more than ten thousand steps over all kinds.
@pytest.mark.parametrize(("walks", "steps"), [(10, 10), pytest.param(60, 40, marks=pytest.mark.slow, id="for-long")])
def test_every_kind_keeps_its_promises(world: type[World], cast: Any, walks: int, steps: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Machine(world, cast), settings=settings(max_examples=walks, stateful_step_count=steps, deadline=None)
    )
