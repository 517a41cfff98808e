"""A kind of long-lived row: what its rows are read with, the task that looks after one, the lane that it works in."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from django.db.models import Case, F, Q, QuerySet, When
from django.db.models.functions import Now

from webapp.control import lease
from webapp.control.lease import Leased
from webapp.foundation import work_queue

R = TypeVar("R", bound=Leased)
SLACK_S = 0.2


@dataclass(frozen=True, slots=True)
class Turn:
    """A due row of a lane. What was called for comes first, then what has been due for longest."""

    pk: int
    is_called: bool
    due_at: datetime | None

    @property
    def place(self) -> tuple[bool, float]:
        """Where it stands in line, among rows of all kinds."""
        return not self.is_called, self.due_at.timestamp() if self.due_at else 0.0


class Kind(Generic[R]):
    """Rows of one model under the control loop.

    `lane`: rows with the same `lane_field` share something of which one task at a time may make use (a host); that
    something is a row of a kind of its own, with the same key. Rows without it work in no lane.
    """

    def __init__(
        self, model: type[R], task: str, related: tuple[str, ...] = (),
        lane: "Kind[Any] | None" = None, lane_field: str = "host_id",
    ) -> None:  # fmt: skip
        self.rows_of, self.task, self.related = model, task, related
        self.lane, self.lane_field = lane, lane_field

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

    def lane_of(self, row: R) -> int | None:
        """The key of the lane that the row works in now."""
        key: int | None = getattr(row, self.lane_field) if self.lane is not None else None
        return key

    def next_in_lane(self, lane_id: int, but: Iterable[int]) -> Turn | None:
        """Which of the lane's due rows of this kind comes next."""
        free = Q(lease_until=None) | Q(lease_until__lt=Now())
        rows = self.due().filter(free, **{self.lane_field: lane_id}).exclude(pk__in=list(but))
        # Whether, not how often: a row that is called for all the time keeps nobody else from being next.
        is_called = Case(When(wakes__gt=F("wakes_seen"), then=True), default=False)
        ordered = rows.annotate(is_called=is_called).order_by("-is_called", F("next_due_at").asc(nulls_first=True))
        found = ordered.values_list("pk", "is_called", "next_due_at").first()
        return None if found is None else Turn(*found)

    def lanes_due(self) -> "QuerySet[R, int]":
        """The keys of all lanes with due rows of this kind, each once."""
        keys = self.due().exclude(**{self.lane_field: None}).order_by(self.lane_field)
        return keys.values_list(self.lane_field, flat=True).distinct()

    def due_alone(self) -> "QuerySet[R, int]":
        """The keys of due rows that work in no lane, the longest due first."""
        rows = self.due() if self.lane is None else self.due().filter(**{self.lane_field: None})
        return rows.order_by(F("next_due_at").asc(nulls_first=True)).values_list("pk", flat=True)

    def wake(self, pk: int) -> None:
        """Have a worker look at the row as soon as the transaction has committed."""
        work_queue.enqueue(self.task, pk)
