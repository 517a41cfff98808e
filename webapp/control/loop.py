"""The control loop: claim a row, then observe, decide and act until there is something to wait for. Knows no Docker."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db import transaction

from webapp import queue
from webapp.control import lease
from webapp.control.kinds import Kind
from webapp.control.lease import Leased
from webapp.control.steps import GO_ON, LOOK_AGAIN_S, Pause, Wait

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
    row = controller.kind.claim(pk)
    if row is None:
        return
    pause: Pause = AFTER_A_FAULT_S
    try:
        row, pause = _walk(controller, row)
    finally:
        asked_again = lease.release(row, pause)
        if asked_again or pause == 0:
            queue.send(controller.kind.task, pk)
        elif pause is not None and pause != LOOK_AGAIN_S and pause <= SOON_S:
            # The routine look is the sweep's, else every wake-up began a new chain.
            queue.send(controller.kind.task, pk, in_s=pause)


def _walk(controller: Controller[R], row: R) -> tuple[R, Pause]:
    """Step after step; the row as the last decision saw it, and when to look again."""
    deadline = time.monotonic() + BUDGET_S
    for _count in range(MAX_STEPS):
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
