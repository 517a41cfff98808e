"""How the API cuts and searches long lists: `limit`, `offset` and `q`, the same for every list."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Field, Schema
from ninja.pagination import PaginationBase

from webapp.foundation.errors import Invalid
from webapp.foundation.search import filter_rows, is_searchable


class Pages(PaginationBase):
    """`limit` items from `offset` on, of those that hold every word of `q`, with the count of all those."""

    class Input(Schema):
        limit: int = Field(50, ge=1, le=500, description="how many items at most")
        offset: int = Field(0, ge=0, le=10_000_000, description="how many to skip")
        q: str | None = Field(None, max_length=100, description="only what holds all of these words")

    class Output(Schema):
        items: list[Any]
        count: int

    items_attribute = "items"

    def paginate_queryset(
        self, queryset: QuerySet[Any], pagination: Any, request: HttpRequest, **params: Any
    ) -> dict[str, Any]:
        if pagination.q:
            if not is_searchable(getattr(queryset, "model", None)):
                message = "This list cannot be searched."
                raise Invalid(message, "Leave `q` out.", {"q": message})
            queryset = filter_rows(queryset, pagination.q)
        return {
            "items": list(queryset[pagination.offset : pagination.offset + pagination.limit]),
            "count": queryset.count(),
        }
