"""How the API cuts long lists."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Field, Schema
from ninja.pagination import PaginationBase


class Pages(PaginationBase):
    """`limit` items from `offset` on, with the count of all."""

    class Input(Schema):
        limit: int = Field(50, ge=1, le=500, description="how many items at most")
        offset: int = Field(0, ge=0, le=10_000_000, description="how many to skip")

    class Output(Schema):
        items: list[Any]
        count: int

    items_attribute = "items"

    def paginate_queryset(
        self, queryset: QuerySet[Any], pagination: Any, request: HttpRequest, **params: Any
    ) -> dict[str, Any]:
        return {
            "items": list(queryset[pagination.offset : pagination.offset + pagination.limit]),
            "count": queryset.count(),
        }
