"""Search rows by words. A model says in `search_columns` where words are looked for, once for all its lists.

"pk" among them is the row's id: a word like 12 or #12 is compared with it.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from django.db.models import Q, QuerySet

from webapp.foundation.text import parse_id, words

Rows = TypeVar("Rows", bound=QuerySet[Any])


def is_searchable(model: Any) -> bool:
    return bool(getattr(model, "search_columns", ()))


def matching(columns: Sequence[str], q: str) -> Q:
    """Rows that hold every word of `q` in any of the columns, in whatever case; all rows when it has no words."""
    every = Q()
    for word in words(q):
        any_of = Q(pk__in=())  # nothing yet
        for column in columns:
            if column != "pk":
                any_of |= Q(**{f"{column}__icontains": word})
            elif (pk := parse_id(word.removeprefix("#"))) is not None:
                any_of |= Q(pk=pk)
        every &= any_of
    return every


def filter_rows(rows: Rows, q: str) -> Rows:
    """Those that hold every word of `q` in the `search_columns` of their model."""
    return rows.filter(matching(rows.model.search_columns, q))
