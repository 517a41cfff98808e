"""REST endpoints that say whose something is: the same for everything that a team owns."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Field, Router, Schema, Status
from ninja.pagination import paginate

from webapp.accounts import ownership
from webapp.accounts.models import Team
from webapp.accounts.owned import Grant
from webapp.interfaces.api.callers import caller
from webapp.interfaces.api.deployments.schemas import GrantIn, GrantOut
from webapp.interfaces.api.fields import RowId
from webapp.interfaces.api.pagination import Pages


class OwnerOut(Schema):
    team: str | None = Field(description="the slug of the team that owns it; null: no team")
    is_shared: bool = Field(description="every team may use it")

    @staticmethod
    def resolve_team(item):  # type: ignore[no-untyped-def]
        return item.team.slug if item.team else None


def add_ownership(router: Router, path: str, rows: Callable[[HttpRequest], Any], a_thing: str) -> None:
    """Grants, share, unshare and move below `path`; `rows` are those that the caller owns, `a_thing` is its noun."""

    def own(request: HttpRequest, item_id: int) -> Any:
        return get_object_or_404(rows(request).belonging_to(caller(request)).select_related("team"), pk=item_id)

    @router.get(f"{path}/{{item_id}}/grants", response=list[GrantOut], summary=f"List teams with access to {a_thing}")
    @paginate(Pages)
    def list_grants(request: HttpRequest, item_id: RowId):  # type: ignore[no-untyped-def]
        return own(request, item_id).grants.select_related("team")

    @router.post(
        f"{path}/{{item_id}}/grants", response={201: GrantOut}, summary=f"Grant another team access to {a_thing}"
    )
    def create_grant(request: HttpRequest, item_id: RowId, data: GrantIn) -> Status[Grant]:
        return Status(201, ownership.grant(caller(request), own(request, item_id), data.team))

    @router.delete(
        f"{path}/{{item_id}}/grants/{{slug}}",
        response={204: None},
        summary=f"Revoke another team's access to {a_thing}",
    )
    def delete_grant(request: HttpRequest, item_id: RowId, slug: str) -> Status[None]:
        item = own(request, item_id)
        team = get_object_or_404(Team.objects.filter(pk__in=item.grants.values("team")), slug=slug)
        ownership.withdraw(caller(request), item, team)
        return Status(204, None)

    @router.post(f"{path}/{{item_id}}/share", response=OwnerOut, summary=f"Let every team use {a_thing}")
    def share(request: HttpRequest, item_id: RowId) -> Any:
        item = own(request, item_id)
        ownership.share(caller(request), item)
        return item

    @router.post(
        f"{path}/{{item_id}}/unshare", response=OwnerOut, summary=f"Keep {a_thing} to its team and those it was granted"
    )
    def unshare(request: HttpRequest, item_id: RowId) -> Any:
        item = own(request, item_id)
        ownership.unshare(caller(request), item)
        return item

    @router.post(f"{path}/{{item_id}}/move", response=OwnerOut, summary=f"Give {a_thing} to another team")
    def move(request: HttpRequest, item_id: RowId, data: GrantIn) -> Any:
        item = own(request, item_id)
        ownership.move(caller(request), item, data.team)
        return item
