"""What wants a person, worst first: each with why, what to do, and where."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone

from webapp.accounts.models import ApiKey, User
from webapp.catalog.models import Artifact
from webapp.deployments.models import Deployment, Replica
from webapp.deployments.states import Desired, ReplicaState
from webapp.inventory.models import Host
from webapp.inventory.services import is_on_hold
from webapp.inventory.states import HostState
from webapp.jobs.models import Job
from webapp.jobs.states import JobState

# Of each kind; the apps' own lists have the rest.
MOST = 12
# Below a tenth of the disk, or 5 GiB, the next download may fail.
DISK_LOW_BYTES = 5 * 1024**3
# A failed job is news for a day.
NEWS = timedelta(days=1)


@dataclass(frozen=True)
class Concern:
    """Something that wants a person: what, why, what to do (`action` is the link's word), and where."""

    word: str
    title: str
    url: str
    reason: str
    advice: str = ""
    action: str = "Look"


def concerns(user: User) -> list[Concern]:
    """Everything that wants this person, in a constant number of queries."""
    return [
        *_hosts(user),
        *_deployments(user),
        *_jobs(user),
        *[concern for watch in WATCHES for concern in watch(user)],
        *_first_things(user),
    ]


# Rooms above this one, or without a page of their own, add what they watch here: a backup that failed, say.
WATCHES: list[Callable[[User], list[Concern]]] = []


def _hosts(user: User) -> list[Concern]:
    rows = Host.objects.visible_to(user).order_by("name")
    found = [
        Concern("unreachable", host.name, _page_of(host), host.reason, "Check its Docker engine.")
        for host in rows.filter(state=HostState.UNREACHABLE)[:MOST]
    ]
    low = Q(disk_free_bytes__lt=DISK_LOW_BYTES) | Q(disk_free_bytes__lt=F("disk_total_bytes") / 10)
    found += [
        Concern(
            "disk nearly full",
            f"Disk of {host.name}",
            _page_of(host),
            f"The disk is nearly full: {host.disk_free_bytes / 1024**3:.1f} GiB free.",
            "Free some space.",
        )
        for host in rows.filter(low, disk_total_bytes__gt=0)[:MOST]
    ]
    first = rows.first() if user.is_superuser and is_on_hold() else None
    if first is not None:
        kept = "Containers that no deployment knows are kept, because they are older than this database."
        found.append(Concern("on hold", "Unknown containers", _page_of(first), kept, "Look, then let go."))
    return found


def _page_of(host: Host) -> str:
    return reverse("inventory:detail", args=[host.pk])


def _deployments(user: User) -> list[Concern]:
    """Replicas that failed, crash again and again, were lost, or wait for a place."""
    broken = Q(state__in=[ReplicaState.FAILED, ReplicaState.LOST])
    waiting = Q(state=ReplicaState.PENDING) & ~Q(reason="")
    rows = Replica.objects.visible_to(user).filter(broken | waiting, deployment__desired_state=Desired.RUNNING)
    found = []
    for replica in rows.select_related("deployment").order_by("deployment__name", "number").distinct()[:MOST]:
        word, reason = replica.state, replica.reason
        if replica.state == ReplicaState.FAILED and replica.next_due_at:
            word = "restarting"
            if replica.crash_count > 1:
                reason = f"Crashed {replica.crash_count} times. {reason}"
        title = f"{replica.deployment.name} #{replica.number}"
        url = reverse("deployments:detail", args=[replica.deployment_id])
        found.append(Concern(word, title, url, reason, replica.advice))
    return found


def _jobs(user: User) -> list[Concern]:
    rows = Job.objects.visible_to(user).for_list().filter(state=JobState.FAILED)
    recent = rows.filter(Q(ended_at__gte=timezone.now() - NEWS) | Q(ended_at=None))[:MOST]
    return [
        Concern(
            "failed", str(job).capitalize(), reverse("jobs:detail", args=[job.pk]), job.reason, job.advice, "Try again"
        )
        for job in recent
    ]


def _first_things(user: User) -> list[Concern]:
    """What a new installation still lacks: one step at a time, so that the list says what comes next."""
    if not Host.objects.exists():
        return [
            Concern(
                "to do", "No host", reverse("inventory:index"), "There is no machine to run models on.",
                "Start a Docker engine; `make run` registers it.", "Hosts",
            )
        ]  # fmt: skip
    if not Artifact.objects.deployable().visible_to(user).exists():
        return [
            Concern(
                "to do", "No model", reverse("catalog:index"), "No model is on a host yet.", "Get one.", "Models",
            )
        ]  # fmt: skip
    if not Deployment.objects.visible_to(user).exists():
        return [
            Concern(
                "to do", "No deployment", reverse("deployments:new"), "There is a model, but nothing serves it.",
                "Deploy it.", "New deployment",
            )
        ]  # fmt: skip
    # The first admin only: people who use the playground alone need none.
    if user.is_superuser and not ApiKey.objects.visible_to(user).filter(revoked_at=None).exists():
        return [
            Concern(
                "to do", "No API key", reverse("accounts:new"), "Programs need a key to ask your models.",
                "Create one.", "New key",
            )
        ]  # fmt: skip
    return []
