"""States and the moves between them: the one writer of every `state` column."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from webapp.control import lease
from webapp.control.lease import Leased
from webapp.foundation.errors import Conflict
from webapp.foundation.text import one_line

R = TypeVar("R", bound=models.Model)
MOST_REASON = 500


class IllegalMove(Conflict):
    """The table of this kind does not know the move."""


class States(Generic[R]):
    """The states of one kind of row: subclasses name the model and its table, and say what goes with a move."""

    model: ClassVar[type[models.Model]]
    moves: ClassVar[Mapping[Any, frozenset[Any]]]

    def columns(self, row: R, old: Any, new: Any) -> dict[str, Any]:
        """Columns that are always written with this move; the caller's own go before."""
        return {}

    def moved(self, row: R, old: Any, new: Any, reason: str) -> None:
        """Write history and publish: in the transaction of the move, the row as it is afterwards."""

    def move(self, row: R, old: Any, new: Any, reason: str = "", **columns: Any) -> bool:
        """Change the state if it is still `old`, and tell of it in the same transaction; publish after it.

        `columns` are written with it. False means somebody was first, which is normal: look again and decide anew. A
        row that came from a claim moves only while its claim holds (same epoch). Raises IllegalMove for a move that
        the table does not allow.
        """
        names = {field.name for field in self.model._meta.concrete_fields}
        if new not in self.moves[old]:
            raise IllegalMove(f"A {self.model._meta.verbose_name} that is {old} cannot become {new}.")
        # Reasons and advice quote what engines, tools and files say.
        reason = one_line(reason)[:MOST_REASON]
        if "advice" in columns:
            columns["advice"] = one_line(columns["advice"])
        written = {"state": new, **self.columns(row, old, new)}
        if "state_at" in names:
            written["state_at"] = timezone.now()
        if "reason" in names:
            written["reason"] = reason
        written |= columns
        held = {"epoch": row.epoch} if isinstance(row, Leased) else {}
        with transaction.atomic():
            if not self.model._default_manager.filter(pk=row.pk, state=old, **held).update(**written):
                return False
            for name, value in written.items():
                setattr(row, name, value)
            self.moved(row, old, new, reason)
        lease.refresh(row)
        return True


def known_words(words: Iterable[str], name: str, column: str = "state") -> models.CheckConstraint:
    """The database takes no other word in the column."""
    return models.CheckConstraint(condition=Q(**{f"{column}__in": [str(word) for word in words]}), name=name)
