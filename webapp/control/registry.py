"""The sweep: one message per row that is due, of every kind. Nothing else is needed for the system to converge."""

from collections.abc import Iterable
from typing import Any

from webapp.control.kinds import Kind
from webapp.foundation import work_queue

MAX_PER_SWEEP = 500


def sweep(kinds: Iterable[Kind[Any]]) -> None:
    """Send one message per due row, and one per lane with due rows. What is held already gets one more look."""
    lanes: dict[tuple[str, int], None] = {}
    for kind in kinds:
        fields = ("pk", kind.lane_field) if kind.lane is not None else ("pk", "pk")
        for pk, lane_id in kind.due().order_by("next_due_at").values_list(*fields)[:MAX_PER_SWEEP]:
            if kind.lane is not None and lane_id is not None:
                lanes[kind.lane.task, lane_id] = None
            else:
                work_queue.send(kind.task, pk)
    for task, lane_id in lanes:
        work_queue.send(task, lane_id)
