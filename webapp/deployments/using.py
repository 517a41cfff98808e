"""Which deployments need an artifact's files, and what for: nobody deletes those."""

from django.db.models import Exists, F, OuterRef, Q

from webapp.catalog.models import ArtifactCopy, ArtifactGrant, CopyState
from webapp.catalog.uses import Use
from webapp.deployments import rolling
from webapp.deployments.models import Deployment, DeploymentQuerySet, Replica, Rollout
from webapp.deployments.states import Desired, ReplicaState, RolloutState


def uses(artifact_id: int) -> list[Use]:
    """Everything that would break without the files, on whatever host."""
    wanted = [_wanted(row) for row in _wanting(artifact_id)]
    return [*wanted, *_running(artifact_id), *_ways_back(artifact_id)]


def uses_on(artifact_id: int, host_id: int) -> list[Use]:
    """Everything that needs the copy on this host: what runs there, is pinned to it, or may go nowhere else."""
    pinned = [_wanted(row) for row in _wanting(artifact_id).filter(host=host_id)]
    pinned += [_wanted(row) for row in _held_by_labels(artifact_id, host_id)]
    there = Replica.objects.filter(deployment__artifact=artifact_id, host=host_id).exclude(state=ReplicaState.STOPPED)
    runs = [
        Use(row.deployment.name, row.deployment.team_id, "runs there") for row in there.select_related("deployment")
    ]
    return [*pinned, *runs, *_running(artifact_id, host_id)]


def _held_by_labels(artifact_id: int, host_id: int) -> list[Deployment]:
    """Those whose placement labels this host carries, and no other one that has the files."""
    labelled = _wanting(artifact_id).filter(host=None).exclude(placement_labels=[])
    copies = ArtifactCopy.objects.filter(artifact=artifact_id, state=CopyState.PRESENT).select_related("host")
    labels = {copy.host_id: set(copy.host.labels) for copy in copies}
    return [
        row
        for row in labelled
        if [host for host, carried in labels.items() if carried.issuperset(row.placement_labels)] == [host_id]
    ]


def _wanting(artifact_id: int) -> DeploymentQuerySet:
    """Those that serve it or can be started with it: what has stopped cannot while its team may not use the files."""
    granted = ArtifactGrant.objects.filter(item=artifact_id).values("team_id")
    may_use = Q(artifact__team=None) | Q(artifact__is_shared=True) | Q(team=F("artifact__team")) | Q(team__in=granted)
    runs = Exists(Replica.objects.filter(deployment=OuterRef("pk")).exclude(state=ReplicaState.STOPPED))
    rows = Deployment.objects.filter(artifact=artifact_id)
    return rows.filter(~Q(desired_state=Desired.STOPPED) | may_use | Q(runs)).annotate(runs=runs)


def _wanted(deployment: Deployment) -> Use:
    why = {
        Desired.RUNNING: "serves it",
        Desired.STOPPED: "would serve it when it is started",
        Desired.DELETED: "is being deleted and has not stopped yet",
    }[Desired(deployment.desired_state)]
    rests = deployment.desired_state == Desired.STOPPED and not deployment.runs  # type: ignore[attr-defined]
    return Use(deployment.name, deployment.team_id, why, rests)


def _running(artifact_id: int, host_id: int | None = None) -> list[Use]:
    """Replicas of earlier revisions that have not stopped."""
    rows = Replica.objects.filter(revision__artifact=artifact_id).exclude(deployment__artifact=artifact_id)
    if host_id is not None:
        rows = rows.filter(host=host_id)
    rows = rows.exclude(state=ReplicaState.STOPPED).select_related("deployment", "revision").order_by("pk")
    return [
        Use(row.deployment.name, row.deployment.team_id, f"still runs it in replica #{row.number}, which is replaced")
        for row in rows
    ]


def _ways_back(artifact_id: int) -> list[Use]:
    """Rollouts that are under way and would go back to these files if they failed."""
    is_good = Q(rollouts__state=RolloutState.DONE, rollouts__revision__artifact=artifact_id)
    rolling_now = Rollout.objects.filter(state=RolloutState.RUNNING).values("deployment")
    found = []
    for row in Deployment.objects.filter(is_good, pk__in=rolling_now).exclude(artifact=artifact_id).distinct():
        good = rolling.last_good(row)
        if good is not None and good.revision.artifact_id == artifact_id:
            why = f"goes back to it, as revision {good.revision.number}, if its change fails"
            found.append(Use(row.name, row.team_id, why))
    return found
