"""REST doors of accounts."""

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Status
from ninja.pagination import paginate

from webapp.accounts import services
from webapp.accounts.callers import caller
from webapp.accounts.models import ApiKey, Team, User
from webapp.accounts.schemas import KeyIn, KeyOut, MeOut, NewKeyOut
from webapp.errors import Invalid
from webapp.pagination import Pages

router = Router(tags=["accounts"])


@router.get("/me", response=MeOut, summary="Who am I")
def me(request: HttpRequest) -> User:
    return User.objects.prefetch_related("teams").get(pk=caller(request).pk)


@router.get("/keys", response=list[KeyOut], summary="My API keys")
@paginate(Pages)
def list_keys(request: HttpRequest):  # type: ignore[no-untyped-def]
    return ApiKey.objects.visible_to(caller(request)).for_list()


@router.post("/keys", response={201: NewKeyOut}, summary="Create an API key")
def create_key(request: HttpRequest, data: KeyIn):  # type: ignore[no-untyped-def]
    team = team_of(caller(request), data.team)
    key, text = services.create_key(caller(request), team, data.name, data.scopes, data.expires_at)
    key.key = text  # type: ignore[attr-defined]
    return Status(201, key)


@router.delete("/keys/{key_id}", response={204: None}, summary="Revoke an API key")
def revoke_key(request: HttpRequest, key_id: int) -> Status[None]:
    services.revoke_key(caller(request), get_object_or_404(ApiKey.objects.visible_to(caller(request)), pk=key_id))
    return Status(204, None)


def team_of(user: User, slug: str | None) -> Team:
    """The named team of the user's, or the first one. Raises Invalid."""
    teams = Team.objects.all() if user.is_superuser else Team.objects.filter(members=user)
    team = teams.filter(slug=slug).first() if slug else teams.order_by("id").first()
    if team is None:
        message = f"You are in no team {slug!r}." if slug else "You are in no team."
        raise Invalid(message, "Ask an admin to add you.", fields={"team": message})
    return team
