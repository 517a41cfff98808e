"""The gateways' half of what may be asked: teams, deployments and where their replicas answer."""

from typing import Any

from django.db.models import Prefetch

from webapp import engines
from webapp.accounts.models import Team
from webapp.deployments import serving
from webapp.deployments.models import Deployment, Replica
from webapp.deployments.states import Desired, ReplicaState
from webapp.foundation.reach import Reach

CONNECT_TIMEOUT_S = 5
FIRST_BYTE_TIMEOUT_S = 600
GAP_TIMEOUT_S = 120

# States that gateways know: new requests go to ready ones; a draining one finishes what it has, a paused one cannot.
TOLD = (ReplicaState.READY, ReplicaState.DRAINING, ReplicaState.PAUSED)


def build(number: int) -> dict[str, Any]:
    """All teams and deployments, in five queries whatever their number. `number` is the topic's, read before: a change
    that comes in between is then delivered twice rather than never."""
    deployments = (
        Deployment.objects.exclude(desired_state=Desired.DELETED)
        .select_related("artifact")
        .prefetch_related(Prefetch("replicas", queryset=Replica.objects.present()), "alias_set", "grants")
        .order_by("id")
    )
    return {
        "version": str(number),
        "teams": list(Team.objects.order_by("id").values("id", "slug")),
        "deployments": [_deployment(deployment) for deployment in deployments],
    }


def _deployment(deployment: Deployment) -> dict[str, Any]:
    engine = engines.get(deployment.engine)
    replicas = list(deployment.replicas.all())
    offered = serving.of(deployment)
    wants_any = deployment.desired_state == Desired.RUNNING and deployment.desired_replicas > 0
    return {
        "id": deployment.pk,
        "team": deployment.team_id,
        "name": deployment.name,
        "aliases": deployment.aliases,
        "granted_teams": sorted(grant.team_id for grant in deployment.grants.all()),
        "engine": deployment.engine,
        "endpoints": list(offered.endpoints),
        "desired": "running" if wants_any else "stopped",
        "status": deployment.state,
        "upstream_model": next((r.upstream_model for r in replicas if r.upstream_model), deployment.name),
        "closes_after_stream": engine.closes_after_stream,
        "usage_per_choice": engine.usage_per_choice,
        "token_counters": dict(engine.token_counters),
        "ignored_members": {endpoint: list(names) for endpoint, names in engine.ignored_members.items()},
        "created_at": deployment.created_at.timestamp(),
        "context_length": offered.context_length,
        "tools": offered.tools,
        "vision": offered.vision,
        "audio": offered.audio,
        "max_tokens_default": deployment.max_tokens_default or None,
        "max_tokens_limit": deployment.max_tokens_limit or None,
        "connect_timeout_s": CONNECT_TIMEOUT_S,
        "first_byte_timeout_s": FIRST_BYTE_TIMEOUT_S,
        "gap_timeout_s": GAP_TIMEOUT_S,
        "replicas": [
            {**_place(reach), "id": r.pk, "state": r.state}
            for r in replicas
            if r.state in TOLD and (reach := r.reach) is not None
        ],
    }


def _place(reach: Reach) -> dict[str, Any]:
    return {"host": reach.host_id, "url": str(reach.address)}
