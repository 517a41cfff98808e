"""The sweep: one message per row that is due, of every kind. Nothing else is needed for the system to converge."""

from collections.abc import Iterable
from typing import Any

from webapp.control.kinds import Kind
from webapp.foundation import work_queue

MAX_PER_SWEEP = 500


def sweep(kinds: Iterable[Kind[Any]]) -> None:
    """Send one message per due row, and one per lane with due rows. What is held already gets one more look.

    However many rows are due in one lane, they hide no other: lanes are counted, not their rows.
    """
    lanes: dict[tuple[str, int], None] = {}
    for kind in kinds:
        if kind.lane is not None:
            lanes |= {(kind.lane.task, lane_id): None for lane_id in kind.lanes_due()}
        for pk in kind.due_alone()[:MAX_PER_SWEEP]:
            work_queue.send(kind.task, pk)
    for task, lane_id in lanes:
        work_queue.send(task, lane_id)
