"""Lists as people use them: search, sort and pages of 25, all kept in the address."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import QueryDict

from webapp.foundation.search import filter_rows
from webapp.foundation.text import clean_text

PER_PAGE = 25


@dataclass(frozen=True)
class Listing:
    """One page of a list and the words that led to it."""

    page: Page[Any]
    q: str
    sort: str
    # What else the list was narrowed by; links within it keep that.
    kept: Mapping[str, str] = field(default_factory=dict)

    def sort_to(self, key: str) -> str:
        """What the next click on this column's head asks for: ascending first, then descending."""
        return f"-{key}" if self.sort == key else key

    def to_page(self, number: int) -> str:
        return "?" + self._query(number)

    def to_sort(self, key: str) -> str:
        query = QueryDict(mutable=True)
        for name, value in (("q", self.q), *self.kept.items()):
            if value:
                query[name] = value
        query["sort"] = self.sort_to(key)
        return "?" + query.urlencode()

    @property
    def to_previous(self) -> str:
        return self.to_page(self.page.previous_page_number())

    @property
    def to_next(self) -> str:
        return self.to_page(self.page.next_page_number())

    def _query(self, number: int) -> str:
        query = QueryDict(mutable=True)
        for name, value in (
            ("q", self.q),
            *self.kept.items(),
            ("sort", self.sort),
            ("page", number if number > 1 else ""),
        ):
            if value:
                query[name] = str(value)
        return query.urlencode()


def listing(
    rows: QuerySet[Any],
    asked: Mapping[str, Any],
    sorts: Mapping[str, tuple[str, ...]],
    kept: Mapping[str, str] | None = None,
) -> Listing:
    """The page of `rows` that was asked for: `q` is looked for as in every list, `sort` is a key of `sorts`.

    What nobody may ask for (an unknown column, page 999) falls back to what is there.
    """
    q = clean_text(asked.get("q"))
    rows = filter_rows(rows, q)
    wanted = str(asked.get("sort", ""))
    columns = sorts.get(wanted.removeprefix("-"))
    if columns is None:
        wanted = ""
    else:
        sign = "-" if wanted.startswith("-") else ""
        rows = rows.order_by(*(f"{sign}{column}" for column in columns), "id")
    return Listing(page=Paginator(rows, PER_PAGE).get_page(asked.get("page")), q=q, sort=wanted, kept=kept or {})
