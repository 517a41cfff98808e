"""What wants a person, worst first: each with since when, why, what to do, and where. Home, API and CLI tell the same.

A row whose state is not the desired one is listed once that has lasted longer than usual, whatever it is called: a list
of bad states would miss the one that nobody thought of. Every kind costs one query, however many rows there are.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db.models import F, OuterRef, Q, Subquery
from django.urls import reverse
from django.utils import timezone

from webapp.accounts.models import ApiKey, User
from webapp.catalog.models import Artifact
from webapp.deployments.models import Deployment, Replica, Rollout
from webapp.deployments.states import Desired, ReplicaState, RolloutState
from webapp.interfaces.kit import attention_upkeep
from webapp.interfaces.kit.concerns import MOST, NEWS, Concern
from webapp.inventory.models import Host
from webapp.inventory.services import is_on_hold
from webapp.inventory.states import HostState
from webapp.jobs import services as jobs
from webapp.jobs.models import Job
from webapp.jobs.states import JobState
from webapp.schedules.models import Notification, Schedule, ScheduleRun
from webapp.schedules.states import NotificationState, RunState
from webapp.usage import services as usage

# Below a tenth of the disk, or 5 GiB, the next download may fail.
DISK_LOW_BYTES = 5 * 1024**3
S = ReplicaState
# How long a replica is usually in a state on its way to what is wanted of it. States that are not here are none to be
# in at all while something else is wanted.
USUAL: dict[ReplicaState, timedelta] = {
    S.PENDING: timedelta(minutes=1),
    S.PLACING: timedelta(minutes=1),
    S.PULLING: timedelta(minutes=15),
    S.STARTING: timedelta(minutes=2),
    S.LOADING: timedelta(minutes=5),
    S.READY: timedelta(minutes=1),
    S.DRAINING: timedelta(minutes=6),
    S.STOPPING: timedelta(minutes=2),
    S.STOPPED: timedelta(minutes=1),
}
ADVICE: dict[ReplicaState, str] = {
    S.PENDING: "Check that a worker is running (/readyz), or stop the deployment.",
    S.PLACING: "Check the free memory of the hosts, or stop the deployment.",
    S.PULLING: "Check that the host can reach the image's registry, or choose an image that is on the host.",
    S.STARTING: "Check the replica's log, and Docker on its host.",
    S.LOADING: "Check the replica's log: it says what it is doing. Without progress it is stopped after 30 minutes.",
    S.DRAINING: "It is waiting for in-flight requests.",
}
# In these a replica may have been for days when the desired state changes: what counts is that nobody has taken it up.
AT_REST = (S.READY, S.STOPPED)
# States that are on no way to anything: wanted up, they are told of at once.
BAD = (S.FAILED, S.LOST, S.PAUSED)
NOT_DOWN = timedelta(minutes=2)
ROLLOUT_USUAL = timedelta(minutes=30)
# Jobs of one host take turns behind long ones; one that waits for an hour may wait for something that never comes.
QUEUED_USUAL = timedelta(hours=1)
CANCEL_USUAL = timedelta(minutes=5)
# A schedule's fetching, quantising and measuring together.
RUN_USUAL = timedelta(days=1)
HUB_ADVICE = "Check its URL and token under Settings > Hubs."
FIRING_USUAL = timedelta(minutes=15)
# Of the requests of the last hour: fewer are noise.
FAILED_LEAST, FAILED_SHARE = 3, 0.02


def concerns(user: User) -> list[Concern]:
    """Everything that wants this person, in a constant number of queries."""
    found = [concern for watch in WATCHES for concern in watch(user)]
    return [*found, *_first_things(user)]


def _hosts(user: User) -> list[Concern]:
    rows = Host.objects.visible_to(user).order_by("name")
    bad = Q(state=HostState.UNREACHABLE) | Q(state=HostState.NEW, created_at__lt=timezone.now() - timedelta(minutes=5))
    found = [_host(host) for host in rows.filter(bad | (Q(state=HostState.ONLINE) & ~Q(reason="")))[:MOST]]
    low = Q(disk_free_bytes__lt=DISK_LOW_BYTES) | Q(disk_free_bytes__lt=F("disk_total_bytes") / 10)
    found += [
        Concern(
            "disk",
            "disk nearly full",
            f"Disk of {host.name}",
            _page_of(host),
            f"The disk is nearly full: {host.disk_free_bytes / 1024**3:.1f} GiB free.",
            "Free up disk space: Models > Disk lists model files that nothing uses.",
        )
        for host in rows.filter(low, disk_total_bytes__gt=0)[:MOST]
    ]
    first = rows.first() if user.is_superuser and is_on_hold() else None
    if first is not None:
        kept = "Containers that belong to no deployment are kept, because they are older than this database."
        advice = "Review what runs on the hosts, then release the hold on a host's page."
        found.append(Concern("hold", "on hold", "Unmanaged containers", _page_of(first), kept, advice))
    return found


def _host(host: Host) -> Concern:
    """One that answers is told of with what it could not do."""
    answers = host.state == HostState.ONLINE
    return Concern(
        "host", "degraded" if answers else host.state, host.name, _page_of(host),
        host.reason or "It was never reached.", "Check its Docker engine.",
        since=None if answers else host.lost_at or host.created_at,
    )  # fmt: skip


def _page_of(host: Host) -> str:
    return reverse("inventory:detail", args=[host.pk])


def _replicas(user: User) -> list[Concern]:
    """Replicas that are not what is wanted of them: at once where a state says so, else after what is usual."""
    now = timezone.now()
    late = Q()
    for state, usual in USUAL.items():
        since = now - usual
        is_late = _overdue(since) if state in AT_REST else Q(state_at__lt=since)
        late |= Q(state=state) & is_late
    wanted = Q(deployment__desired_state=Desired.RUNNING, retired_at=None)
    is_bad = Q(state__in=BAD) | (Q(state=S.PENDING) & ~Q(reason=""))
    not_up = wanted & (is_bad | (late & ~Q(state=S.READY)))
    # What is to end: there is no state to be in but stopped.
    since = now - NOT_DOWN
    stays = Q(state=S.LOST, state_at__lt=since) | (Q(state__in=[S.FAILED, S.PAUSED]) & _overdue(since))
    not_down = ~wanted & ~Q(state=S.STOPPED) & (late | stays)
    rows = Replica.objects.visible_to(user).filter(not_up | not_down).select_related("deployment")
    return [_replica(row) for row in rows.order_by("deployment__name", "number").distinct()[:MOST]]


def _overdue(since: datetime) -> Q:
    """Nobody has looked since then, though the row was due."""
    return Q(next_due_at__lt=since) | Q(next_due_at=None, state_at__lt=since)


def _replica(row: Replica) -> Concern:
    word, reason = row.state, row.reason
    if row.desired != Desired.RUNNING:
        reason = f"It should be {row.desired}, and has not ended yet. {reason}"
    elif row.state == S.FAILED and row.next_due_at:
        word = "restarting"
        # A start that never became a process is no crash.
        if row.failed_starts > 1:
            reason = f"Failed to start {row.failed_starts} times. {reason}"
        elif row.crash_count > 1:
            reason = f"Crashed {row.crash_count} times. {reason}"
    url = reverse("deployments:detail", args=[row.deployment_id])
    advice = row.advice or ADVICE.get(S(row.state), "Check the replica's log, or restart the deployment.")
    title = f"{row.deployment.name} #{row.number}"
    return Concern("replica", word, title, url, reason.strip(), advice, since=row.state_at)


def _rollouts(user: User) -> list[Concern]:
    since = timezone.now() - ROLLOUT_USUAL
    rows = Rollout.objects.filter(
        state=RolloutState.RUNNING, started_at__lt=since, deployment__desired_state=Desired.RUNNING,
        deployment__in=Deployment.objects.belonging_to(user),
    )  # fmt: skip
    return [
        Concern(
            "rollout", "rolling out", row.deployment.name, reverse("deployments:detail", args=[row.deployment_id]),
            row.reason or "A rollout has not finished yet.",
            "Check its replicas, or roll back to an earlier revision on the page History.", since=row.started_at,
        )
        for row in rows.select_related("deployment").order_by("started_at")[:MOST]
    ]  # fmt: skip


def _requests(user: User) -> list[Concern]:
    """Deployments whose requests failed in the last hour more often than by chance."""
    rates = usage.last_hour(user)
    bad = {pk: rate for pk, rate in rates.items() if _fails(rate)}
    if not bad:
        return []
    # Whoever was only granted one can do nothing about it, and sees none of the others' requests.
    rows = Deployment.objects.belonging_to(user).filter(pk__in=bad).order_by("name")[:MOST]
    return [
        Concern(
            "requests", "requests fail", row.name, reverse("usage:requests") + f"?deployment={row.pk}&outcome=failed",
            f"{bad[row.pk].failed} of {round(bad[row.pk].requests_per_min * 60)} requests failed in the last hour.",
            "The list of requests shows what failed, and why.", "Requests",
        )
        for row in rows
    ]  # fmt: skip


def _fails(rate: usage.Rates) -> bool:
    requests = rate.requests_per_min * 60
    return rate.failed >= FAILED_LEAST and rate.failed >= requests * FAILED_SHARE


def _jobs(user: User) -> list[Concern]:
    now = timezone.now()
    failed = Q(state=JobState.FAILED) & (Q(ended_at__gte=now - NEWS) | Q(ended_at=None))
    waits = Q(state=JobState.QUEUED, is_cancel_wanted=False, created_at__lt=now - QUEUED_USUAL, started_at=None)
    going = [JobState.QUEUED, JobState.RUNNING]
    stays = Q(is_cancel_wanted=True, state__in=going, cancel_asked_at__lt=now - CANCEL_USUAL)
    paused = Q(state=JobState.RUNNING, message__startswith=jobs.PAUSED)
    rows = Job.objects.visible_to(user).for_list().filter(failed | waits | stays | paused).distinct()[:MOST]
    return [_job(row) for row in rows]


def _job(row: Job) -> Concern:
    title, url = str(row).capitalize(), reverse("jobs:detail", args=[row.pk])
    if row.state == JobState.FAILED:
        return Concern("job", "failed", title, url, row.reason, row.advice, "Try again", since=row.ended_at)
    if row.is_cancel_wanted:
        reason = f"It was cancelled and is still {row.state}."
        advice = "Check its host. If that never returns, an administrator can give the job up."
        return Concern("job", row.state, title, url, reason, advice, since=row.cancel_asked_at)
    if row.state == JobState.RUNNING:
        return Concern("job", "paused", title, url, f"It is {row.message}.", "Unpause it, or cancel the job.")
    reason = row.reason or f"It is still queued on {row.host.name}."
    return Concern("job", row.state, title, url, reason, "Cancel it, or what runs before it.", since=row.created_at)


def _runs(user: User) -> list[Concern]:
    """The newest run of a schedule that failed, was refused by its gate, or does not come to its end."""
    now = timezone.now()
    newest = ScheduleRun.objects.filter(schedule=OuterRef("schedule")).order_by("-pk").values("pk")[:1]
    ended = Q(state__in=[RunState.FAILED, RunState.REJECTED], ended_at__gte=now - NEWS)
    stays = Q(state__in=[RunState.WAITING, RunState.RUNNING], created_at__lt=now - RUN_USUAL)
    rows = ScheduleRun.objects.visible_to(user).filter(ended | stays, pk=Subquery(newest)).select_related("schedule")
    found = []
    for row in rows.distinct().order_by("-pk")[:MOST]:
        usual = {
            RunState.REJECTED: "Nothing was changed. Compare the results, then mend the gate or the recipes.",
            RunState.FAILED: "Check its jobs, then run the schedule now.",
        }
        advice = row.advice or usual.get(RunState(row.state), "Check what it is waiting for, or cancel the run.")
        found.append(
            Concern(
                "schedule", row.state, f"Schedule {row.schedule.name}", _page_of_schedule(row.schedule_id),
                row.reason or "It has not finished.", advice, since=row.ended_at or row.created_at,
            )
        )  # fmt: skip
    return found


def _schedules(user: User) -> list[Concern]:
    """Schedules that are due and do not fire, or cannot see what they are made from."""
    late = Q(next_due_at__lt=timezone.now() - FIRING_USUAL)
    busy = Q(runs__state__in=[RunState.WAITING, RunState.RUNNING])
    rows = Schedule.objects.visible_to(user).filter(is_paused=False).exclude(busy).filter(late | ~Q(note=""))
    return [
        Concern(
            "schedule", "late", f"Schedule {row.name}", _page_of_schedule(row.pk),
            row.note or "It is due and has not started.",
            HUB_ADVICE if row.note else "Check that beat is running (/readyz).",
            since=None if row.note else row.next_due_at,
        )
        for row in rows.distinct().order_by("name")[:MOST]
    ]  # fmt: skip


def _page_of_schedule(pk: int) -> str:
    return reverse("schedules:detail", args=[pk])


def _notifications(user: User) -> list[Concern]:
    """Targets whose newest message did not arrive."""
    newest = Notification.objects.filter(target=OuterRef("target")).order_by("-pk").values("pk")[:1]
    rows = Notification.objects.filter(
        state=NotificationState.FAILED, created_at__gte=timezone.now() - NEWS, pk=Subquery(newest)
    )
    if not user.is_superuser:
        rows = rows.filter(target__team__members=user)
    return [
        Concern(
            "notification", "not told", row.target.address, reverse("schedules:targets", args=[row.target.team.slug]),
            row.answer or "The message was not taken.", "Correct the target, then send it a test.", "Targets",
            since=row.created_at,
        )
        for row in rows.select_related("target__team").distinct()[:MOST]
    ]  # fmt: skip


def _first_things(user: User) -> list[Concern]:
    """What a new installation still lacks: one step at a time, so that the list says what comes next."""
    if not Host.objects.exists():
        return [
            Concern(
                "first", "to do", "No host", reverse("inventory:index"), "There is no machine to run models on.",
                "Start a Docker engine; `make run` registers it.", "Hosts",
            )
        ]  # fmt: skip
    if not Artifact.objects.deployable().visible_to(user).exists():
        return [
            Concern(
                "first", "to do", "No model", reverse("catalog:index"), "No model is on a host yet.", "Add a model.",
                "Models",
            )
        ]  # fmt: skip
    if not Deployment.objects.visible_to(user).exists():
        return [
            Concern(
                "first", "to do", "No deployment", reverse("deployments:new"),
                "There is a model, but nothing serves it.", "Deploy it.", "New deployment",
            )
        ]  # fmt: skip
    # The first admin only: people who use the playground alone need none.
    if user.is_superuser and not ApiKey.objects.visible_to(user).filter(revoked_at=None).exists():
        return [
            Concern(
                "first", "to do", "No API key", reverse("accounts:new"), "Clients need a key to call your models.",
                "Create one.", "New key",
            )
        ]  # fmt: skip
    return []


# One look per kind of row, in the order of the list.
WATCHES: tuple[Callable[[User], list[Concern]], ...] = (
    attention_upkeep.processes,
    _hosts,
    attention_upkeep.disk,
    attention_upkeep.certificate,
    attention_upkeep.backups,
    _replicas,
    _rollouts,
    _requests,
    _jobs,
    _runs,
    _schedules,
    _notifications,
    attention_upkeep.keys,
)
