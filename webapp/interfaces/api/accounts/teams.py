"""REST endpoints of teams, their members, invitations and keys."""

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Status
from ninja.pagination import paginate

from webapp.accounts import keys, links, teams
from webapp.accounts.models import ApiKey, Membership, OneTimeLink, Role, Team
from webapp.interfaces.api.accounts.schemas import (
    InvitationIn,
    InvitationOut,
    KeyOut,
    MemberIn,
    MemberOut,
    NewInvitationOut,
    NewKeyOut,
    RoleIn,
    ServiceKeyIn,
    TeamIn,
    TeamOut,
    TeamPatch,
)
from webapp.interfaces.api.callers import caller
from webapp.interfaces.api.pagination import Pages

router = Router(tags=["teams"])


def _team(request: HttpRequest, slug: str) -> Team:
    return get_object_or_404(Team.objects.visible_to(caller(request)).distinct(), slug=slug)


def _governed(request: HttpRequest, slug: str) -> Team:
    """Invitations and keys exist for the team's admins only."""
    return get_object_or_404(Team.objects.governed_by(caller(request)).distinct(), slug=slug)


def _member(request: HttpRequest, slug: str, user_id: int) -> Membership:
    return get_object_or_404(Membership.objects.for_list(), team=_team(request, slug), user_id=user_id)


@router.get("/teams", response=list[TeamOut], summary="List my teams; all teams for an administrator")
@paginate(Pages)
def list_teams(request: HttpRequest):  # type: ignore[no-untyped-def]
    return Team.objects.visible_to(caller(request)).distinct().order_by("name")


@router.post("/teams", response={201: TeamOut}, summary="Create a team")
def create_team(request: HttpRequest, data: TeamIn) -> Status[Team]:
    user = caller(request)
    return Status(201, teams.create_team(user, data.name, data.slug, first_admin=user))


@router.get("/teams/{slug}", response=TeamOut, summary="Get a team")
def get_team(request: HttpRequest, slug: str) -> Team:
    return _team(request, slug)


@router.patch("/teams/{slug}", response=TeamOut, summary="Update a team")
def rename_team(request: HttpRequest, slug: str, data: TeamPatch) -> Team:
    team = _team(request, slug)
    return teams.rename_team(caller(request), team, data.name or team.name, data.slug or team.slug)


@router.delete("/teams/{slug}", response={204: None}, summary="Delete a team that owns nothing")
def delete_team(request: HttpRequest, slug: str) -> Status[None]:
    teams.delete_team(caller(request), _team(request, slug))
    return Status(204, None)


@router.get("/teams/{slug}/members", response=list[MemberOut], summary="List team members")
@paginate(Pages)
def list_members(request: HttpRequest, slug: str):  # type: ignore[no-untyped-def]
    return Membership.objects.for_list().filter(team=_team(request, slug))


@router.post("/teams/{slug}/members", response={201: MemberOut}, summary="Add a team member")
def add_member(request: HttpRequest, slug: str, data: MemberIn) -> Status[Membership]:
    team = _team(request, slug)
    made = teams.add_by_name(caller(request), team, data.username, Role(data.role))
    return Status(201, _member(request, slug, made.user_id))


@router.patch("/teams/{slug}/members/{user_id}", response=MemberOut, summary="Change a member's role")
def change_role(request: HttpRequest, slug: str, user_id: int, data: RoleIn) -> Membership:
    teams.change_role(caller(request), _member(request, slug, user_id), Role(data.role))
    return _member(request, slug, user_id)


@router.delete("/teams/{slug}/members/{user_id}", response={204: None}, summary="Remove a member, or leave the team")
def remove_member(request: HttpRequest, slug: str, user_id: int) -> Status[None]:
    teams.remove_member(caller(request), _member(request, slug, user_id))
    return Status(204, None)


@router.get("/teams/{slug}/invitations", response=list[InvitationOut], summary="List invitations, newest first")
@paginate(Pages)
def list_invitations(request: HttpRequest, slug: str):  # type: ignore[no-untyped-def]
    return OneTimeLink.objects.invitations().filter(team=_governed(request, slug)).for_list()


@router.post("/teams/{slug}/invitations", response={201: NewInvitationOut}, summary="Create an invitation")
def create_invitation(request: HttpRequest, slug: str, data: InvitationIn) -> Status[OneTimeLink]:
    made, address = links.invite(caller(request), _governed(request, slug), Role(data.role), data.note)
    made.link = address  # type: ignore[attr-defined]
    return Status(201, made)


@router.delete("/teams/{slug}/invitations/{invitation_id}", response={204: None}, summary="Revoke an invitation")
def revoke_invitation(request: HttpRequest, slug: str, invitation_id: int) -> Status[None]:
    rows = OneTimeLink.objects.invitations().select_related("team").filter(team=_governed(request, slug))
    links.revoke_invitation(caller(request), get_object_or_404(rows, pk=invitation_id))
    return Status(204, None)


@router.get("/teams/{slug}/keys", response=list[KeyOut], summary="List the keys of a team")
@paginate(Pages)
def list_team_keys(request: HttpRequest, slug: str):  # type: ignore[no-untyped-def]
    return ApiKey.objects.filter(team=_governed(request, slug)).for_list()


@router.post("/teams/{slug}/keys", response={201: NewKeyOut}, summary="Create a service key")
def create_service_key(request: HttpRequest, slug: str, data: ServiceKeyIn) -> Status[ApiKey]:
    team = _governed(request, slug)
    key, text = keys.create_service_key(caller(request), team, data.name, data.scopes, data.expires_at)
    key.key = text  # type: ignore[attr-defined]
    return Status(201, key)
