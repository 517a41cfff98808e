"""REST endpoints of one's own account and keys."""

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Status
from ninja.pagination import paginate

from webapp.accounts import keys as services
from webapp.accounts.models import ApiKey, Team, User
from webapp.foundation.errors import Invalid
from webapp.interfaces.api.accounts.schemas import KeyIn, KeyOut, KeyPatch, MeOut, NewKeyOut, RotateIn
from webapp.interfaces.api.callers import caller
from webapp.interfaces.api.pagination import Pages

router = Router(tags=["accounts"])


@router.get("/me", response=MeOut, summary="Show the current user")
def me(request: HttpRequest) -> User:
    found: User = User.objects.prefetch_related("memberships__team").get(pk=caller(request).pk)
    return found


@router.get("/keys", response=list[KeyOut], summary="List API keys")
@paginate(Pages)
def list_keys(request: HttpRequest):  # type: ignore[no-untyped-def]
    return ApiKey.objects.visible_to(caller(request)).for_list()


@router.post("/keys", response={201: NewKeyOut}, summary="Create an API key")
def create_key(request: HttpRequest, data: KeyIn) -> Status[ApiKey]:
    team = team_of(caller(request), data.team)
    return _shown(*services.create_key(caller(request), team, data.name, data.scopes, data.expires_at))


@router.get("/keys/{key_id}", response=KeyOut, summary="Get an API key")
def get_key(request: HttpRequest, key_id: int) -> ApiKey:
    return get_object_or_404(ApiKey.objects.revocable_by(caller(request)).for_list(), pk=key_id)


@router.patch("/keys/{key_id}", response=KeyOut, summary="Rename a key or change its expiry")
def change_key(request: HttpRequest, key_id: int, data: KeyPatch) -> ApiKey:
    asked = data.model_dump(exclude_unset=True)
    services.change_key(caller(request), get_key(request, key_id), **asked)
    return get_key(request, key_id)


@router.post("/keys/{key_id}/rotate", response={201: NewKeyOut}, summary="Rotate a key")
def rotate_key(request: HttpRequest, key_id: int, data: RotateIn) -> Status[ApiKey]:
    return _shown(*services.rotate_key(caller(request), get_key(request, key_id), data.overlap_h))


@router.delete("/keys/{key_id}", response={204: None}, summary="Revoke an API key")
def revoke_key(request: HttpRequest, key_id: int) -> Status[None]:
    services.revoke_key(caller(request), get_key(request, key_id))
    return Status(204, None)


def _shown(key: ApiKey, text: str) -> Status[ApiKey]:
    key.key = text  # type: ignore[attr-defined]
    return Status(201, key)


def team_of(user: User, slug: str | None) -> Team:
    """The named team of the user's, or the first one. Raises Invalid."""
    teams = Team.objects.visible_to(user).distinct()
    team = teams.filter(slug=slug).first() if slug else teams.order_by("id").first()
    if team is None:
        message = f"You are in no team {slug!r}." if slug else "You are in no team."
        raise Invalid(message, "Ask an admin to add you.", fields={"team": message})
    return team
