"""Pages that span rooms: home, playground, help."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from webapp.accounts import services as accounts
from webapp.accounts.models import User
from webapp.catalog.models import Artifact
from webapp.deployments.models import Deployment, Replica
from webapp.deployments.states import Desired, ReplicaState
from webapp.doors import door, page_or_panel, person, teams_of
from webapp.following import follow
from webapp.inventory.models import Host, HostState
from webapp.inventory.services import is_on_hold
from webapp.jobs import views as jobs
from webapp.jobs.models import Job
from webapp.jobs.states import JobState

HOME_ROWS = 12
# Below a tenth of the disk, or 5 GiB, the next download may fail.
DISK_LOW_BYTES = 5 * 1024**3


@dataclass(frozen=True)
class Concern:
    """Something that wants a person: what, why, what to do, and where."""

    word: str
    title: str
    url: tuple[str, int]
    reason: str
    advice: str = ""


@door("GET")
def home(request: HttpRequest) -> HttpResponse:
    user = person(request)
    topics = ["hosts", *(f"deployments:{team.pk}" for team in teams_of(user)), *jobs.topics(user)]
    following = follow(topics, page="home")
    panel, context = home_panel(user, request.GET)
    return page_or_panel(request, "dashboard/home.html", panel, {**context, "following": following})


def home_panel(user: User, asked: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    hosts = list(Host.objects.for_list())
    deployments = Deployment.objects.visible_to(user).for_list()
    return "dashboard/_home.html", {
        "concerns": _concerns(user, hosts),
        "hosts": hosts,
        "deployments": deployments[:HOME_ROWS],
        "deployment_count": deployments.count(),
        "jobs": Job.objects.visible_to(user)
        .for_list()
        .filter(state__in=[JobState.QUEUED, JobState.RUNNING])[:HOME_ROWS],
        "has_artifacts": Artifact.objects.deployable().exists(),
    }


def _concerns(user: User, hosts: list[Host]) -> list[Concern]:
    found = [
        Concern("unreachable", host.name, ("inventory:detail", host.pk), host.reason, "Check its Docker engine.")
        for host in hosts
        if host.state == HostState.UNREACHABLE
    ]
    found += [
        Concern(
            "degraded",
            f"Disk of {host.name}",
            ("inventory:detail", host.pk),
            "The disk is nearly full.",
            "Free some space.",
        )
        for host in hosts
        if host.disk_total_bytes and host.disk_free_bytes < max(DISK_LOW_BYTES, host.disk_total_bytes // 10)
    ]
    if hosts and is_on_hold():
        kept = "Containers that no deployment knows are kept, because they are older than this database."
        found.append(
            Concern("degraded", "Unknown containers", ("inventory:detail", hosts[0].pk), kept, "Look, then let go.")
        )
    broken = Q(state__in=[ReplicaState.FAILED, ReplicaState.LOST])
    waiting = Q(state=ReplicaState.PENDING) & ~Q(reason="")
    replicas = Replica.objects.visible_to(user).filter(broken | waiting, deployment__desired_state=Desired.RUNNING)
    for replica in replicas.select_related("deployment").order_by("deployment__name", "number")[:HOME_ROWS]:
        word = "restarting" if replica.next_due_at and replica.state == ReplicaState.FAILED else replica.state
        title = f"{replica.deployment.name} #{replica.number}"
        found.append(
            Concern(word, title, ("deployments:detail", replica.deployment_id), replica.reason, replica.advice)
        )
    failed = Job.objects.visible_to(user).for_list().filter(state=JobState.FAILED)[:3]
    found += [
        Concern("failed", str(job).capitalize(), ("jobs:detail", job.pk), job.reason, job.advice) for job in failed
    ]
    return found


@door("GET")
def playground(request: HttpRequest) -> HttpResponse:
    user = person(request)
    following = follow((f"deployments:{team.pk}" for team in teams_of(user)), page="playground")
    _panel, context = playground_panel(user, request.GET)
    context = {**context, "following": following, "wanted": request.GET.get("deployment", "")}
    return render(request, "dashboard/playground.html", {**context, "base_url": settings.MODELYARD_URL})


def playground_panel(user: User, asked: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The choice of deployments; the conversation lives in the browser."""
    rows = Deployment.objects.visible_to(user).filter(desired_state=Desired.RUNNING).for_list()
    return "dashboard/_choices.html", {"deployments": rows}


@never_cache
@door("POST")
def playground_token(request: HttpRequest) -> JsonResponse:
    """A five-minute token for one deployment; the gateway checks it without asking anybody."""
    user = person(request)
    wanted = request.POST.get("deployment", "")
    rows = Deployment.objects.visible_to(user).select_related("team")
    deployment = rows.filter(pk=int(wanted)).first() if wanted.isascii() and wanted.isdigit() else None
    if deployment is None:
        return JsonResponse({"error": "There is no such deployment."}, status=404)
    token = accounts.inference_token(user, deployment.team, [deployment.pk])
    return JsonResponse({"token": token, "expires_in_s": accounts.INFERENCE_TOKEN_S})


@door("GET")
def help_page(request: HttpRequest) -> HttpResponse:
    return render(request, "dashboard/help.html", {"base_url": settings.MODELYARD_URL})
