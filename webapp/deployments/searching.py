"""Find deployments: search, sort, narrow by team, engine, host and the word that sums up their replicas."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Case, CharField, Count, F, Q, QuerySet, Value, When

from webapp.deployments.models import Deployment
from webapp.deployments.states import Desired, ReplicaState
from webapp.foundation.text import clean_text
from webapp.inventory.models import Host

S = ReplicaState

# The words of states.summary, in the order of what wants attention.
WORDS = (
    "failed", "restarting", "degraded", "lost", "paused", "pending", "placing", "pulling", "starting", "loading",
    "draining", "stopping", "deleting", "ready", "stopped",
)  # fmt: skip
FILTERS = ("state", "engine", "host", "team")


def filters_of(asked: Mapping[str, Any]) -> dict[str, str]:
    """The filters in what was asked for, cleaned."""
    return {name: word for name in FILTERS if (word := clean_text(asked.get(name)))}


def narrow_while_typing(rows: "QuerySet[Deployment]", filters: Mapping[str, str]) -> "QuerySet[Deployment]":
    """As `narrow`, but a part of a host's name is enough while it is no host's whole name."""
    host = filters.get("host", "")
    # Among many hosts people type, and see what they mean before the name is whole.
    is_part = bool(host) and not Host.objects.filter(name=host).exists()
    if is_part:
        # Of one's own teams only: what another team lets mine use keeps its hosts to itself.
        on_host = Deployment.objects.filter(replicas__host__name__icontains=host)
        rows = rows.filter(Q(is_own=True), pk__in=on_host.values("pk"))
    return narrow(rows, {**filters, "host": ""} if is_part else filters)


def narrow(rows: "QuerySet[Deployment]", asked: Mapping[str, Any]) -> "QuerySet[Deployment]":
    """Those that match every filter that is given; a filter that matches nothing leaves nothing.

    Of rows out of `visible_to`: where another team's deployment runs is not found out by guessing.
    """
    if asked.get("team"):
        rows = rows.filter(team__slug=asked["team"])
    if asked.get("engine"):
        rows = rows.filter(engine=asked["engine"])
    if asked.get("host"):
        on_host = Q(replicas__host__name=asked["host"])
        rows = rows.filter(Q(is_own=True), pk__in=Deployment.objects.filter(on_host).values("pk"))
    if asked.get("state"):
        summed_up = with_word(Deployment.objects.all()).filter(Q(word=asked["state"]))
        rows = rows.filter(pk__in=summed_up.values("pk"))
    return rows


def with_word(rows: "QuerySet[Deployment]") -> "QuerySet[Deployment]":
    """`word` is what Deployment.state says of each, so that lists can be filtered by it in the database."""
    present = ~Q(replicas__state=S.STOPPED) | Q(replicas__retired_at=None)
    kept = Q(replicas__retired_at=None)

    def number(condition: Q) -> Count:
        return Count("replicas", filter=kept & condition)

    def state(*states: S) -> Q:
        return Q(replicas__state__in=[state.value for state in states])

    is_running = Q(desired_state=Desired.RUNNING)
    counted = rows.annotate(
        n=number(Q()),
        n_up=Count("replicas", filter=present & ~Q(replicas__state=S.STOPPED)),
        n_kept_up=number(~Q(replicas__state=S.STOPPED)),
        n_ready=number(state(S.READY)),
        n_failed=number(state(S.FAILED)),
        n_final=number(state(S.FAILED) & Q(replicas__next_due_at=None)),
        **{f"n_{word}": number(state(word)) for word in _ORDER},
    )
    return counted.annotate(
        word=Case(
            When(desired_state=Desired.DELETED, then=Value("deleting")),
            When(~is_running & Q(n_up=0), then=Value("stopped")),
            When(~is_running, then=Value("stopping")),
            When(Q(desired_replicas=0, n_kept_up=0), then=Value("stopped")),
            When(Q(desired_replicas=0), then=Value("stopping")),
            When(Q(n__gt=0, n_ready__gte=F("desired_replicas")), then=Value("ready")),
            When(n_ready__gt=0, then=Value("degraded")),
            When(n_final__gt=0, then=Value("failed")),
            When(n_failed__gt=0, then=Value("restarting")),
            *(When(**{f"n_{word}__gt": 0}, then=Value(word.value)) for word in _ORDER),
            default=Value("pending"),
            output_field=CharField(),
        )
    )


_ORDER = (S.LOST, S.PAUSED, S.LOADING, S.STARTING, S.PULLING, S.PLACING, S.DRAINING, S.STOPPING)
