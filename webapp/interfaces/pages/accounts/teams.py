"""Pages of teams: members, invitations, keys."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables

from webapp.accounts import keys, links, teams
from webapp.accounts.models import ApiKey, Membership, OneTimeLink, Role, Team, User
from webapp.foundation.errors import ServiceError
from webapp.interfaces.kit.listings import listing
from webapp.interfaces.kit.views import carry_out, may, page_or_panel, person, view
from webapp.interfaces.pages.accounts.forms import InvitationForm, KeyForm, MemberForm, RoleForm, TeamForm
from webapp.interfaces.pages.accounts.keys import shown_once

# More stand behind the search of their own pages.
SHOWN_KEYS = 100
SHOWN_INVITATIONS = 50


@view("GET")
def index(request: HttpRequest) -> HttpResponse:
    """The teams one is in; all of them for an administrator. Of one team there is nothing to choose."""
    user = person(request)
    rows = Team.objects.visible_to(user)
    found = listing(rows.for_list(), request.GET, sorts={"name": ("name",), "created": ("created_at",)})
    if not user.is_superuser and not found.q and found.page.paginator.count == 1:
        return redirect("teams:detail", found.page.object_list[0].slug)
    roles = dict(user.memberships.values_list("team_id", "role"))
    return page_or_panel(request, "team/index.html", "team/_list.html", {"listing": found, "roles": roles})


@view("GET")
def detail(request: HttpRequest, slug: str) -> HttpResponse:
    return render(request, "team/detail.html", _facts(person(request), slug))


def _facts(user: User, slug: str) -> dict[str, Any]:
    team = get_object_or_404(Team.objects.visible_to(user).distinct(), slug=slug)
    may_govern = may(user, team, Role.ADMIN)
    facts: dict[str, Any] = {
        "team": team,
        "members": team.memberships.all().for_list(),
        "may_govern": may_govern,
        "roles": Role.values,
    }
    if may_govern:
        facts["invitations"] = OneTimeLink.objects.invitations().filter(team=team).for_list()[:SHOWN_INVITATIONS]
        facts["keys"] = ApiKey.objects.filter(team=team, revoked_at=None).for_list()[:SHOWN_KEYS]
    return facts


@view("GET", "POST")
def new(request: HttpRequest) -> HttpResponse:
    user = _installation_admin(request)
    form = TeamForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            team = teams.create_team(user, typed["name"], typed["slug"], first_admin=user)
        except ServiceError as refusal:
            _show(form, refusal)
        else:
            return redirect("teams:detail", team.slug)
    return render(request, "team/new.html", {"form": form}, status=422 if form.errors else 200)


@view("GET", "POST")
def rename(request: HttpRequest, slug: str) -> HttpResponse:
    user = _installation_admin(request)
    team = get_object_or_404(Team, slug=slug)
    typed = request.POST if request.method == "POST" else None
    form = TeamForm(typed, initial={"name": team.name, "slug": team.slug})
    if request.method == "POST" and form.is_valid():
        try:
            team = teams.rename_team(user, team, form.cleaned_data["name"], form.cleaned_data["slug"])
        except ServiceError as refusal:
            _show(form, refusal)
        else:
            return redirect("teams:detail", team.slug)
    shown = get_object_or_404(Team, slug=slug)
    return render(request, "team/rename.html", {"form": form, "team": shown}, status=422 if form.errors else 200)


@view("GET", "POST")
def delete(request: HttpRequest, slug: str) -> HttpResponse:
    user = _installation_admin(request)
    team = get_object_or_404(Team, slug=slug)
    if request.method == "POST":
        name = team.name
        if carry_out(request, lambda: teams.delete_team(user, team), f"The team {name} was deleted."):
            return redirect("teams:index")
        return redirect("teams:detail", slug)
    return render(request, "team/delete.html", {"team": team})


@view("POST")
def add_member(request: HttpRequest, slug: str) -> HttpResponse:
    """Put somebody who has an account into the team, by an administrator; others are invited."""
    user = _installation_admin(request)
    team = get_object_or_404(Team, slug=slug)
    form = MemberForm(request.POST)
    if not form.is_valid():
        messages.error(request, "A username and a role are required.")
        return redirect("teams:detail", slug)
    name, role = form.cleaned_data["username"], Role(form.cleaned_data["role"])
    carry_out(request, lambda: teams.add_by_name(user, team, name, role), f"{name} is in {team.name} now, as {role}.")
    return redirect("teams:detail", slug)


@view("POST")
def change_role(request: HttpRequest, slug: str, person_id: int) -> HttpResponse:
    user = person(request)
    membership = _membership(user, slug, person_id)
    form = RoleForm(request.POST)
    if form.is_valid():
        role = Role(form.cleaned_data["role"])
        carry_out(request, lambda: teams.change_role(user, membership, role), f"{membership.user} is {role} now.")
    return redirect("teams:detail", slug)


@view("GET", "POST")
def remove(request: HttpRequest, slug: str, person_id: int) -> HttpResponse:
    """Take somebody out of the team, or leave it."""
    user = person(request)
    membership = _membership(user, slug, person_id)
    if request.method == "POST":
        said = f"{membership.user} is not in {membership.team.name} any more."
        carry_out(request, lambda: teams.remove_member(user, membership), said)
        is_in = Team.objects.visible_to(user).filter(slug=slug).exists()
        return redirect("teams:detail", slug) if is_in else redirect("teams:index")
    live = ApiKey.objects.filter(user=membership.user, team=membership.team, revoked_at=None).count()
    return render(request, "team/remove.html", {"membership": membership, "team": membership.team, "key_count": live})


@never_cache
@sensitive_variables("address")
@view("GET", "POST")
def invite(request: HttpRequest, slug: str) -> HttpResponse:
    """The answer to the form shows the link, this once."""
    user = person(request)
    team = _governed(user, slug)
    form = InvitationForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            link, address = links.invite(user, team, Role(form.cleaned_data["role"]), form.cleaned_data["note"])
        except ServiceError as refusal:
            _show(form, refusal)
        else:
            return render(request, "team/invited.html", {"team": team, "link": link, "address": address})
    return render(request, "team/invite.html", {"form": form, "team": team}, status=422 if form.errors else 200)


@view("POST")
def revoke_invitation(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    user = person(request)
    team = _governed(user, slug)
    link = get_object_or_404(OneTimeLink.objects.invitations().select_related("team"), team=team, pk=pk)
    carry_out(request, lambda: links.revoke_invitation(user, link), "Invitation revoked.")
    return redirect("teams:detail", slug)


@never_cache
@view("GET", "POST")
def new_service_key(request: HttpRequest, slug: str) -> HttpResponse:
    user = person(request)
    team = _governed(user, slug)
    typed = request.POST.copy() if request.method == "POST" else None
    if typed is not None:
        typed["team"] = str(team.pk)
    form = KeyForm(typed, teams=[team])
    if typed is not None and form.is_valid():
        data = form.cleaned_data
        try:
            key, text = keys.create_service_key(user, team, data["name"], data["scopes"], form.expires_at())
        except ServiceError as refusal:
            _show(form, refusal)
        else:
            return shown_once(request, key, text)
    del form.fields["team"]
    return render(request, "team/new_key.html", {"form": form, "team": team}, status=422 if form.errors else 200)


def _installation_admin(request: HttpRequest) -> User:
    """To anybody else these pages do not exist."""
    return get_object_or_404(User, pk=person(request).pk, is_superuser=True)


def _governed(user: User, slug: str) -> Team:
    """A team that one administers. To a mere member the page does not exist: nothing on it is theirs to see."""
    return get_object_or_404(Team.objects.governed_by(user).distinct(), slug=slug)


def _membership(user: User, slug: str, person_id: int) -> Membership:
    team = get_object_or_404(Team.objects.visible_to(user).distinct(), slug=slug)
    return get_object_or_404(Membership.objects.for_list(), team=team, user_id=person_id)


def _show(form: Any, refusal: ServiceError) -> None:
    """Errors beside their fields where the form has the field."""
    placed = {name: text for name, text in refusal.fields.items() if name in form.fields}
    for name, text in placed.items():
        form.add_error(name, text)
    if not placed:
        form.add_error(None, str(refusal))
