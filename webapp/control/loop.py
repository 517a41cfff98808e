"""The control loop: claim a row, then observe, decide and act until there is something to wait for. Knows no Docker."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

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


def work(controller: Controller[R], pk: int) -> None:
    """Bring the row as far as quick steps can. Delivered twice, late or after a crash, it does nothing twice."""
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


def _step(controller: Controller[R], row: R) -> Pause:
    observed = controller.observe(row)
    step = controller.decide(row, observed)
    return step.seconds if isinstance(step, Wait) else controller.act(step, row)
