"""REST endpoints for admins: people, how they sign in, and the audit log."""

from datetime import UTC, datetime
from typing import Any

from django.http import Http404, HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Status
from ninja.pagination import paginate

from webapp.accounts import links, people, sign_in
from webapp.accounts.models import AuditEntry, OneTimeLink, Role, User
from webapp.interfaces.api.accounts.router import team_of
from webapp.interfaces.api.accounts.schemas import AuditOut, LinkOut, PersonOut, PersonPatch, SignInIn, SignInOut
from webapp.interfaces.api.callers import caller
from webapp.interfaces.api.pagination import Pages

router = Router(tags=["administration"])


def _admin(request: HttpRequest) -> User:
    """To anybody but an administrator these addresses do not exist."""
    user = caller(request)
    if not user.is_superuser:
        raise Http404
    return user


def _person(request: HttpRequest, person_id: int) -> User:
    _admin(request)
    found: User = get_object_or_404(User.objects.for_list(), pk=person_id)
    return found


@router.get("/people", response=list[PersonOut], summary="List users")
@paginate(Pages)
def list_people(request: HttpRequest):  # type: ignore[no-untyped-def]
    _admin(request)
    return User.objects.for_list()


@router.get("/people/{person_id}", response=PersonOut, summary="Get a user")
def get_person(request: HttpRequest, person_id: int) -> User:
    return _person(request, person_id)


@router.patch(
    "/people/{person_id}", response=PersonOut, summary="Activate or deactivate a user, or change administrator rights"
)
def change_person(request: HttpRequest, person_id: int, data: PersonPatch) -> User:
    people.change(caller(request), _person(request, person_id), data.is_active, data.is_admin)
    return _person(request, person_id)


@router.post("/people/{person_id}/end-sessions", response={204: None}, summary="Sign a user out of all sessions")
def end_sessions(request: HttpRequest, person_id: int) -> Status[None]:
    people.end_sessions(caller(request), _person(request, person_id))
    return Status(204, None)


@router.post(
    "/people/{person_id}/remove-second-factor",
    response={204: None},
    summary="Reset a user's two-factor authentication",
)
def remove_second_factor(request: HttpRequest, person_id: int) -> Status[None]:
    people.remove_second_factor(caller(request), _person(request, person_id))
    return Status(204, None)


@router.post("/people/{person_id}/password-link", response={201: LinkOut}, summary="Create a password reset link")
def password_link(request: HttpRequest, person_id: int) -> Status[OneTimeLink]:
    link, address = links.password_link(caller(request), _person(request, person_id))
    link.link = address  # type: ignore[attr-defined]
    return Status(201, link)


@router.get("/settings/sign-in", response=SignInOut, summary="Get the sign-in settings")
def get_sign_in(request: HttpRequest) -> dict[str, Any]:
    _admin(request)
    return sign_in.facts(sign_in.current())


@router.put("/settings/sign-in", response=SignInOut, summary="Change the sign-in settings")
def set_sign_in(request: HttpRequest, data: SignInIn) -> dict[str, Any]:
    user = _admin(request)
    typed = data.model_dump(exclude={"rules", "email_domains"})
    rules = tuple((rule.group, team_of(user, rule.team), Role(rule.role)) for rule in data.rules)
    spec = sign_in.SignInSpec(**typed, email_domains=tuple(data.email_domains), rules=rules)
    return sign_in.facts(sign_in.configure(user, spec))


@router.get("/audit", response=list[AuditOut], summary="List audit entries, newest first")
@paginate(Pages)
def list_audit(  # type: ignore[no-untyped-def]
    request: HttpRequest,
    team: str | None = None,
    person: str | None = None,
    verb: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
):
    """All of it for an administrator, else what happened in teams that the caller administers."""
    rows = AuditEntry.objects.visible_to(caller(request)).for_list()
    asked = {"team__slug": team, "username": person, "verb": verb, "at__gte": _utc(since), "at__lt": _utc(until)}
    return rows.filter(**{name: value for name, value in asked.items() if value is not None})


def _utc(moment: datetime | None) -> datetime | None:
    """Times without a zone are UTC."""
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
