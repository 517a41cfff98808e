"""A kind of long-lived row: what its rows are read with, and the task that looks after one."""

from typing import Generic, TypeVar

from django.db.models import QuerySet

from webapp import queue
from webapp.control import lease
from webapp.control.lease import Leased

R = TypeVar("R", bound=Leased)
SLACK_S = 0.2


class Kind(Generic[R]):
    """Rows of one model under the control loop."""

    def __init__(self, model: type[R], task: str, related: tuple[str, ...] = ()) -> None:
        self.rows_of, self.task, self.related = model, task, related

    def rows(self) -> "QuerySet[R]":
        """The rows with everything that a step reads along."""
        return self.rows_of._default_manager.select_related(*self.related)

    def claim(self, pk: int) -> R | None:
        """See lease.claim."""
        return lease.claim(self.rows(), pk)

    def reread(self, row: R) -> R | None:
        """See lease.reread."""
        return lease.reread(self.rows(), row)

    def due(self) -> "QuerySet[R]":
        """Rows that somebody must look at."""
        return self.rows_of._default_manager.filter(lease.is_due())

    def is_due(self, pk: int) -> bool:
        """Whether the row's time has come, or will in a moment: clocks of two machines differ."""
        return self.rows_of._default_manager.filter(lease.is_due(SLACK_S), pk=pk).exists()

    def wake(self, pk: int) -> None:
        """Have a worker look at the row as soon as the transaction has committed."""
        queue.enqueue(self.task, pk)
