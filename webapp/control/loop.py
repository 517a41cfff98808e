"""The control loop: claim a row, then observe, decide and act until there is something to wait for. Knows no Docker."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db import transaction

from webapp.control import lease
from webapp.control.kinds import Kind
from webapp.control.lease import Leased
from webapp.control.steps import GO_ON, LOOK_AGAIN_S, Pause, Wait
from webapp.foundation import work_queue

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=Leased)

# A task is killed after 25 s and the claim ends after 28 s; Docker's own calls may take 10 s each.
BUDGET_S = 12.0
MAX_STEPS = 30
# Whatever breaks in a step, the sweep comes back.
AFTER_A_FAULT_S = 15.0
# Sooner than a sweep would notice.
SOON_S = 20.0


@dataclass(frozen=True)
class Controller(Generic[R]):
    """How the rows of one kind are looked after."""

    kind: Kind[R]
    # What there is: a look at the outside, or at other rows.
    observe: Callable[[R], Any]
    # Pure: (the row, what was observed) -> the next step.
    decide: Callable[[R, Any], Any]
    # Carry out the step; safe to repeat after a crash in its middle.
    act: Callable[[Any, R], Pause]
    # For kinds whose rows people's verbs change too, step by step: hold the row for one transaction and read it anew.
    hold: Callable[[R], R | None] | None = None


def work(controller: Controller[R], pk: int, only_when_due: bool = False) -> None:
    """Bring the row as far as quick steps can. Delivered twice, late or after a crash, it does nothing twice.

    `only_when_due`: the message was sent for a time that has come. Who has looked meanwhile has set another time and
    sent a message for that, so of many such chains one goes on.
    """
    if only_when_due and not controller.kind.is_due(pk):
        return
    with Turns() as turns:
        _work(controller, pk, turns, time.monotonic() + BUDGET_S)


def work_lane(controllers: Iterable[Controller[Any]], lane: Kind[Any], lane_id: int) -> None:
    """Look after the due rows of one lane, one after the other, for as long as a task may take."""
    deadline, done = time.monotonic() + BUDGET_S, defaultdict[str, set[int]](set)
    mine = [controller for controller in controllers if controller.kind.lane is lane]
    with Turns() as turns:
        if not turns.take(lane, lane_id):
            return
        while time.monotonic() < deadline:
            line = [(turn, one) for one in mine if (turn := one.kind.next_in_lane(lane_id, done[one.kind.task]))]
            if not line:
                return
            turn, controller = min(line, key=lambda pair: pair[0].place)
            done[controller.kind.task].add(turn.pk)
            _work_of_many(controller, turn.pk, turns, deadline)
    work_queue.send(lane.task, lane_id)


def _work_of_many(controller: Controller[Any], pk: int, turns: "Turns", deadline: float) -> None:
    """One row that nobody can look after keeps nobody from its neighbours."""
    try:
        _work(controller, pk, turns, deadline)
    except Exception:  # a bug, whatever it is: the row is tried again later
        logger.exception("%s(%s) failed", controller.kind.task, pk)


class Turns:
    """The lanes that this task has; given back at its end, with word to whoever came meanwhile."""

    def __init__(self) -> None:
        self._mine: dict[tuple[str, int], tuple[Kind[Any], Leased]] = {}

    def __enter__(self) -> "Turns":
        return self

    def __exit__(self, *_fault: object) -> None:
        for (task, lane_id), (_kind, row) in self._mine.items():
            if lease.release(row, None):
                work_queue.send(task, lane_id)

    def take(self, lane: Kind[Any], lane_id: int) -> bool:
        """Have the lane from now on; False: another task has it, and has been told to let its rows be looked at."""
        if (lane.task, lane_id) in self._mine:
            return True
        row = lane.claim(lane_id)
        if row is None and self._is_new(lane, lane_id):
            row = lane.claim(lane_id)
        if row is None:
            return False
        self._mine[lane.task, lane_id] = (lane, row)
        return True

    def _is_new(self, lane: Kind[Any], lane_id: int) -> bool:
        """Make the lane's row if there is none. Who made it first may hold it, and has not heard of us."""
        row, is_made = lane.rows_of._default_manager.get_or_create(pk=lane_id)
        return bool(is_made or not row.wakes)


def _work(controller: Controller[R], pk: int, turns: Turns, deadline: float) -> None:
    row = controller.kind.claim(pk)
    if row is None:
        return
    wakes, due_at = row.wakes, row.next_due_at
    try:
        row, pause = _walk(controller, row, turns, deadline)
    except LaneTaken as taken:
        _stand_in_line(controller, taken.row, turns)
        return
    except BaseException:
        # Which calls the last decision saw is not known; that none was seen since the claim is safe to say.
        row.wakes, row.next_due_at = wakes, due_at
        _give_back(controller, row, AFTER_A_FAULT_S)
        raise
    _give_back(controller, row, pause)


def _give_back(controller: Controller[R], row: R, pause: Pause) -> None:
    """Let go of the row, and be there in time for the next look."""
    pk, asked_again = row.pk, lease.release(row, pause)
    if asked_again or pause == 0:
        work_queue.send(controller.kind.task, pk)
    elif pause is not None and pause != LOOK_AGAIN_S and pause <= SOON_S:
        # The routine look is the sweep's, else every wake-up began a new chain.
        work_queue.send(controller.kind.task, pk, in_s=pause)


class LaneTaken(Exception):
    """Another task has the row's lane."""

    def __init__(self, row: Any) -> None:
        self.row = row


def _stand_in_line(controller: Controller[Any], row: Any, turns: Turns) -> None:
    """The row stays due. Who has the lane may have looked for due rows before this one was given back: it is told once
    more, or has let go, and then the row is looked after by a task of its own."""
    lease.put_back(row)
    lane, lane_id = controller.kind.lane, controller.kind.lane_of(row)
    if lane is not None and lane_id is not None and turns.take(lane, lane_id):
        work_queue.send(controller.kind.task, row.pk)


def _walk(controller: Controller[R], row: R, turns: Turns, deadline: float) -> tuple[R, Pause]:
    """Step after step; the row as the last decision saw it, and when to look again."""
    for _count in range(MAX_STEPS):
        lane_id = controller.kind.lane_of(row)
        if controller.kind.lane is not None and lane_id is not None and not turns.take(controller.kind.lane, lane_id):
            raise LaneTaken(row)
        # Who calls, or sets a date, after this look knows something that this decision does not.
        wakes, due_at = row.wakes, row.next_due_at
        pause = _step(controller, row)
        if pause != GO_ON:
            row.wakes, row.next_due_at = wakes, due_at
            return row, pause
        fresh = controller.kind.reread(row)
        if fresh is None:
            return row, None  # somebody else has the row, or it is gone
        row = fresh
        if time.monotonic() > deadline:
            break
    return row, 0


def settle(controller: Controller[R], row: R) -> Pause:
    """Step after step in the caller's transaction, which holds the row; when to look again."""
    for _count in range(MAX_STEPS):
        pause = _once(controller, row)
        if pause != GO_ON:
            return pause
    return 0


def _step(controller: Controller[R], row: R) -> Pause:
    if controller.hold is None:
        return _once(controller, row)
    with transaction.atomic():
        held = controller.hold(row)
        return None if held is None else _once(controller, held)


def _once(controller: Controller[R], row: R) -> Pause:
    observed = controller.observe(row)
    step = controller.decide(row, observed)
    return step.seconds if isinstance(step, Wait) else controller.act(step, row)
