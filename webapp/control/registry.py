"""The sweep: one message per row that is due, of every kind. Nothing else is needed for the system to converge."""

from collections.abc import Iterable
from typing import Any

from webapp import queue
from webapp.control.kinds import Kind

MAX_PER_SWEEP = 500


def sweep(kinds: Iterable[Kind[Any]]) -> None:
    """Send one message per due row. A row that is held already costs its holder one more look."""
    for kind in kinds:
        for pk in kind.due().order_by("next_due_at").values_list("pk", flat=True)[:MAX_PER_SWEEP]:
            queue.send(kind.task, pk)
