"""Where the database holds encrypted texts: each kind is declared once, and only its declaration can write it.

So whoever rotates the master key finds every row, those of a field that was added yesterday included.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import models, transaction
from django.db.models import Q

from webapp.foundation import crypto, key_ring
from webapp.foundation.crypto import DecryptionError

PAGE_ROWS = 100

_fields: list["EncryptedField"] = []


@dataclass(frozen=True, eq=False)
class EncryptedField:
    """An encrypted text in each row of `model`: the column itself, or a member of a column that holds JSON.

    `place` says what a row's text is bound to: the row and the field, so that a text moved elsewhere opens nothing.
    `former_place`: what texts from before were bound to.
    """

    model: type[models.Model]
    column: str
    place: Callable[[Any], str]
    member: str = ""
    former_place: Callable[[Any], str] | None = None

    def __post_init__(self) -> None:
        _fields.append(self)

    def __str__(self) -> str:
        return f"{self.model._meta.db_table}.{self.column}{f'.{self.member}' if self.member else ''}"

    def encrypt(self, row: Any, text: str) -> str:
        """The text as this row may hold it; "" stays "". The row must have its id."""
        return crypto.encrypt(text, self.place(row)) if text else ""

    def decrypt(self, row: Any) -> str:
        """The row's text in clear, "" when it has none. Raises DecryptionError."""
        return self.opened(row, self._stored(row))

    def opened(self, row: Any, text: str) -> str:
        """A text of this row in clear. Raises DecryptionError."""
        if not text:
            return ""
        try:
            return crypto.decrypt(text, self.place(row))
        except DecryptionError:
            # Only what an earlier version wrote may still be bound to less.
            if self.former_place is None or not text.startswith(f"{crypto.UNNAMED}:"):
                raise
            return crypto.decrypt(text, self.former_place(row))

    def behind(self, key: key_ring.MasterKey) -> models.QuerySet[Any]:
        """Rows whose text is not encrypted under this master key."""
        lookup = f"{self.column}__{self.member}" if self.member else self.column
        filled = Q(**{f"{self.column}__has_key": self.member}) if self.member else ~Q(**{self.column: ""})
        rows = self.model._default_manager.filter(filled)
        return rows.exclude(**{f"{lookup}__startswith": crypto.mark(key)})

    def under(self, key: key_ring.MasterKey) -> models.QuerySet[Any]:
        """Rows whose text is encrypted under this master key and says so."""
        lookup = f"{self.column}__{self.member}" if self.member else self.column
        return self.model._default_manager.filter(**{f"{lookup}__startswith": crypto.mark(key)})

    def renew(self, most: int) -> tuple[int, int]:
        """Encrypt up to `most` rows anew, a page per transaction; (renewed, rows that nothing here can read)."""
        renewed = unreadable = 0
        for numbers in self._pages():
            if renewed >= most:
                break
            done, left = self._renew_page(numbers)
            renewed, unreadable = renewed + done, unreadable + left
        return renewed, unreadable

    def readable_behind(self) -> bool:
        """Whether a row is left that needs an older master key."""
        writing = key_ring.current()[0]
        return any(self._can_be_read(row) for row in self.behind(writing).iterator(chunk_size=PAGE_ROWS))

    def _pages(self) -> Iterator[list[Any]]:
        last = None
        while True:
            rows = self.behind(key_ring.current()[0]).order_by("pk")
            rows = rows if last is None else rows.filter(pk__gt=last)
            numbers = list(rows.values_list("pk", flat=True)[:PAGE_ROWS])
            if not numbers:
                return
            last = numbers[-1]
            yield numbers

    def _renew_page(self, numbers: list[Any]) -> tuple[int, int]:
        """Under the rows' locks, so that no change of theirs is undone; a row that somebody else holds waits for the
        next round."""
        with transaction.atomic():
            rows = self.behind(key_ring.current()[0]).filter(pk__in=numbers).order_by("pk")
            found = list(rows.select_for_update(skip_locked=True))
            changed = [row for row in found if self._renew_row(row)]
            self.model._default_manager.bulk_update(changed, [self.column])
        return len(changed), len(found) - len(changed)

    def _renew_row(self, row: Any) -> bool:
        try:
            text = self.encrypt(row, self.decrypt(row))
        except DecryptionError:
            return False
        value = {**getattr(row, self.column), self.member: text} if self.member else text
        setattr(row, self.column, value)
        return True

    def _can_be_read(self, row: Any) -> bool:
        try:
            self.decrypt(row)
        except DecryptionError:
            return False
        return True

    def _stored(self, row: Any) -> str:
        value = getattr(row, self.column)
        return str(value.get(self.member) or "") if self.member else str(value)


def fields() -> tuple[EncryptedField, ...]:
    """Every declared one."""
    return tuple(_fields)
