"""How the API cuts and searches long lists: `limit`, `offset` and `q`, the same for every list."""

from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from ninja import Field, Schema
from ninja.pagination import PaginationBase

from webapp.foundation.errors import Invalid

# What `q` looks into, by model. A list of something else is not searched.
SEARCHED: dict[str, tuple[str, ...]] = {
    "accounts.apikey": ("name", "prefix"),
    "accounts.auditentry": ("verb", "subject", "username"),
    "accounts.team": ("name", "slug"),
    "accounts.user": ("username", "email"),
    "catalog.artifact": ("catalog_model__name", "quantisation", "main_file"),
    "catalog.catalogmodel": ("name", "slug", "architecture"),
    "deployments.deployment": ("name", "team__slug", "artifact__catalog_model__name"),
    "deployments.replicaevent": ("text", "actor", "new_state"),
    "inventory.host": ("name", "endpoint"),
    "jobs.job": ("kind", "artifact__catalog_model__name", "host__name", "requested_by__username"),
    "quantisation.promptset": ("name", "team__slug"),
    "schedules.schedule": ("name", "repo", "artifact__catalog_model__name", "host__name"),
}


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
            queryset = _found(queryset, pagination.q)
        return {
            "items": list(queryset[pagination.offset : pagination.offset + pagination.limit]),
            "count": queryset.count(),
        }


def _found(queryset: QuerySet[Any], q: str) -> QuerySet[Any]:
    fields = SEARCHED.get(queryset.model._meta.label_lower) if hasattr(queryset, "model") else None
    if fields is None:
        message = "This list cannot be searched."
        raise Invalid(message, "Leave `q` out.", {"q": message})
    for word in q.split():
        found = Q()
        for field in fields:
            found |= Q(**{f"{field}__icontains": word})
        queryset = queryset.filter(found)
    return queryset
