"""Pages that span apps: home, search, playground, help."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from webapp.accounts import services as accounts
from webapp.accounts.models import User
from webapp.accounts.teams import teams_of
from webapp.catalog.models import Artifact
from webapp.deployments import asking, sharing
from webapp.deployments.models import Deployment
from webapp.deployments.states import Desired
from webapp.foundation.text import clean_text, parse_id
from webapp.interfaces.kit.attention import concerns
from webapp.interfaces.kit.following import follow
from webapp.interfaces.kit.views import page_or_panel, person, view
from webapp.interfaces.pages.dashboard import help_pages
from webapp.interfaces.pages.dashboard.search import find
from webapp.interfaces.pages.jobs import views as jobs
from webapp.inventory.models import Host
from webapp.jobs.models import Job
from webapp.jobs.states import JobState
from webapp.usage import services as usage

HOME_ROWS = 12
HOST_STRIP = 24
# More would be a list to scroll through twice; a deployment's page leads here with itself chosen.
CHOICES = 200
CODES = (("curl", "curl"), ("python", "Python"), ("javascript", "JavaScript"))


@view("GET")
def home(request: HttpRequest) -> HttpResponse:
    user = person(request)
    topics = ["hosts", *(f"deployments:{team.pk}" for team in teams_of(user)), *jobs.topics(user)]
    following = follow(topics, page="home")
    panel, context = home_panel(user, request.GET)
    return page_or_panel(request, "dashboard/home.html", panel, {**context, "following": following})


def home_panel(user: User, asked: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    hosts = Host.objects.visible_to(user).for_list()
    rows = Deployment.objects.visible_to(user).for_list()
    rates = usage.last_hour(user)
    return "dashboard/_home.html", {
        "concerns": concerns(user),
        "hosts": hosts[:HOST_STRIP],
        "host_count": hosts.count(),
        "deployments": [(row, rates.get(row.pk)) for row in rows[:HOME_ROWS]],
        "deployment_count": rows.count(),
        "has_rates": bool(rates),
        "jobs": Job.objects.visible_to(user)
        .for_list()
        .filter(state__in=[JobState.QUEUED, JobState.RUNNING])[:HOME_ROWS],
        "has_artifacts": Artifact.objects.deployable().visible_to(user).exists(),
    }


@view("GET")
def search(request: HttpRequest) -> HttpResponse:
    """What is called like this, in every app."""
    text = clean_text(request.GET.get("q"))
    return render(request, "dashboard/search.html", {"q": text, "groups": find(person(request), text)})


@view("GET")
def playground(request: HttpRequest) -> HttpResponse:
    user = person(request)
    following = follow((f"deployments:{team.pk}" for team in teams_of(user)), page="playground")
    _panel, context = playground_panel(user, request.GET)
    page = {"following": following, "base_url": settings.MODELYARD_URL, "codes": CODES}
    return render(request, "dashboard/playground.html", {**context, **page})


def playground_panel(user: User, asked: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The choice of deployments, with why some cannot be chosen; the conversation lives in the browser.

    Each side begins with the one that was asked for, else with a model that people can chat with now.
    """
    rows = Deployment.objects.visible_to(user).filter(desired_state=Desired.RUNNING).for_list().ready_first()
    chosen = {side: parse_id(asked.get(name, "")) for side, name in (("a", "deployment"), ("b", "with"))}
    named = rows.filter(pk__in=[pk for pk in chosen.values() if pk is not None])
    offered = {row.pk: row for row in [*named, *rows[:CHOICES]]}
    # By name again: which are ready changes while somebody reads the list.
    choices = sorted(offered.values(), key=lambda row: (row.name, row.pk))
    one = offered.get(chosen["a"] or 0) or asking.first_for_chat(choices)
    other = offered.get(chosen["b"] or 0) or asking.first_for_chat(choices, [one.pk] if one else []) or one
    return "dashboard/_choices.html", {
        "deployments": [(row, asking.why_no_chat(row)) for row in choices],
        "wanted": {"a": one, "b": other},
    }


@never_cache
@view("POST")
def playground_token(request: HttpRequest) -> JsonResponse:
    """A five-minute token for one deployment and where to send it; the gateway checks it without asking anybody."""
    user = person(request)
    rows = Deployment.objects.visible_to(user).select_related("team")
    deployment = rows.filter(pk=parse_id(request.POST.get("deployment", "")) or 0).first()
    if deployment is None:
        return JsonResponse({"error": "There is no such deployment."}, status=404)
    token = accounts.inference_token(user, sharing.asking_team(user, deployment), [deployment.pk])
    # By its path: a name may mean another deployment to the team that asks.
    url = f"{deployment.path}/chat/completions"
    return JsonResponse({"token": token, "url": url, "expires_in_s": accounts.INFERENCE_TOKEN_S})


@view("GET")
def help_index(request: HttpRequest) -> HttpResponse:
    """All help pages, or those that hold every word of `q`."""
    q = clean_text(request.GET.get("q"))
    pages = help_pages.find(q.split()) if q else list(help_pages.pages().values())
    return render(request, "dashboard/help.html", {"pages": pages, "q": q})


@view("GET")
def help_page(request: HttpRequest, slug: str) -> HttpResponse:
    page = help_pages.pages().get(slug)
    if page is None:
        raise Http404
    return render(request, "dashboard/help_page.html", {"page": page, "pages": help_pages.pages().values()})
