"""REST endpoints of jobs."""

from typing import Annotated, Any, Literal

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Field, Router, Status
from ninja.pagination import paginate

from webapp.catalog.models import Artifact, ArtifactCopy, Hub
from webapp.foundation.errors import Conflict, Invalid
from webapp.foundation.log_text import Place
from webapp.interfaces.api.accounts.router import team_of
from webapp.interfaces.api.callers import caller
from webapp.interfaces.api.catalog.router import router as catalog_router
from webapp.interfaces.api.jobs.schemas import CopyIn, DeletedOut, EndedIn, FetchIn, ImportIn, JobLogOut, JobOut
from webapp.interfaces.api.pagination import Pages
from webapp.interfaces.kit.references import resolve_references
from webapp.inventory.models import Host
from webapp.jobs import deleting, ending, fetching, logs, services
from webapp.jobs.models import Job

# What a database holds as an id.
MOST = 2**63 - 1
router = Router(tags=["jobs"])
StateFilter = Literal["queued", "running", "succeeded", "failed", "cancelled"]
KindFilter = Literal["fetch", "delete_copy", "quantise"]


@router.get("/jobs", response=list[JobOut], summary="List jobs, newest first")
@paginate(Pages)
def list_jobs(  # type: ignore[no-untyped-def]
    request: HttpRequest,
    state: StateFilter | None = None,
    kind: KindFilter | None = None,
    host: Annotated[int | None, Field(ge=1, le=MOST)] = None,
):
    asked = {name: value for name, value in {"state": state, "kind": kind, "host": host}.items() if value}
    return Job.objects.visible_to(caller(request)).for_list().filter(**asked)


# Before the address of one job, which would take the word for an id.
@router.post("/jobs/delete-ended", response=DeletedOut, summary="Delete the records of a team's ended jobs")
def delete_ended_jobs(request: HttpRequest, data: EndedIn) -> dict[str, int]:
    return {"deleted": ending.delete_ended(caller(request), team_of(caller(request), data.team))}


@router.get("/jobs/{job_id}", response=JobOut, summary="Get a job")
def get_job(request: HttpRequest, job_id: int) -> Job:
    return get_object_or_404(Job.objects.visible_to(caller(request)).for_list(), pk=job_id)


@router.get("/jobs/{job_id}/log", response=JobLogOut, summary="Get the log of a job")
def read_job_log(request: HttpRequest, job_id: int, place: Annotated[str, Field(max_length=60)] = "") -> dict[str, Any]:
    job = get_job(request, job_id)
    piece = logs.since(job, Place.parse(place)) if place else logs.beginning(job)
    if piece is None:
        return {"text": "", "next_place": place, "is_fresh": False, "has_more": False}
    return {"text": piece.text, "next_place": str(piece.place), "is_fresh": piece.fresh, "has_more": piece.more}


@router.post("/imports", response={202: JobOut}, summary="Import a model file or folder of the server")
def import_file(request: HttpRequest, data: ImportIn) -> Status[Job]:
    team, host = team_of(caller(request), data.team), _host(request, data.host)
    job = fetching.import_file(caller(request), team, host, data.source_path, data.member, data.model_name)
    return Status(202, get_job(request, job.pk))


@router.post("/downloads", response={202: JobOut}, summary="Download a model from a hub or a URL")
def fetch(request: HttpRequest, data: FetchIn) -> Status[Job]:
    user = caller(request)
    if (data.hub is None) == (not data.url):
        raise Invalid("Name a hub with a repository, or an address.", fields={"hub": "or url", "url": "or hub"})
    hubs = Hub.objects.visible_to(user).filter(is_enabled=True)
    # Both are looked for together, so that a refusal names both.
    hub = resolve_references(hub=(hubs, data.hub), host=(Host.objects.visible_to(user), data.host))["hub"]
    team, host = team_of(user, data.team), _host(request, data.host)
    if hub is None:
        job = fetching.from_url(user, team, host, data.url, data.model_name)
    else:
        words = (data.repo, data.variant, data.revision, data.model_name)
        job = fetching.from_hub(user, team, host, hub, *words)
    return Status(202, get_job(request, job.pk))


@router.post("/artifacts/{artifact_id}/copies", response={202: JobOut}, summary="Copy an artifact to another host")
def add_copy(request: HttpRequest, artifact_id: int, data: CopyIn) -> Status[Job]:
    artifact = get_object_or_404(Artifact.objects.for_list(caller(request)), pk=artifact_id)
    job = fetching.to_host(caller(request), team_of(caller(request), data.team), artifact, _host(request, data.host))
    return Status(202, get_job(request, job.pk))


@router.delete(
    "/artifacts/{artifact_id}/copies/{host_id}", response={202: JobOut}, summary="Delete the copy on one host"
)
def delete_copy(request: HttpRequest, artifact_id: int, host_id: int, team: str | None = None) -> Status[Job]:
    copies = ArtifactCopy.objects.visible_to(caller(request)).select_related(
        "artifact__catalog_model", "artifact__team", "host"
    )
    copy = get_object_or_404(copies, artifact=artifact_id, host=host_id)
    job = deleting.delete_copy(caller(request), team_of(caller(request), team), copy)
    return Status(202, get_job(request, job.pk))


# One address has one router: reading an artifact is the catalogue's.
@catalog_router.delete(
    "/artifacts/{artifact_id}", response={202: list[JobOut]}, summary="Delete an artifact from all hosts"
)
def delete_artifact(request: HttpRequest, artifact_id: int, team: str | None = None) -> Status[list[Job]]:
    artifact = get_object_or_404(Artifact.objects.for_list(caller(request)), pk=artifact_id)
    jobs = deleting.delete_artifact(caller(request), team_of(caller(request), team), artifact)
    return Status(202, list(Job.objects.for_list().filter(pk__in=[job.pk for job in jobs])))


@router.post("/jobs/{job_id}/cancel", response={202: JobOut}, summary="Cancel a job")
def cancel_job(request: HttpRequest, job_id: int) -> Status[Job]:
    services.cancel(caller(request), get_job(request, job_id))
    return Status(202, get_job(request, job_id))


@router.post("/jobs/{job_id}/retry", response={202: JobOut}, summary="Retry a failed or cancelled job")
def retry_job(request: HttpRequest, job_id: int) -> Status[Job]:
    services.retry(caller(request), get_job(request, job_id))
    return Status(202, get_job(request, job_id))


@router.post("/jobs/{job_id}/give-up", response={204: None}, summary="Give up a job whose host does not answer")
def give_up_job(request: HttpRequest, job_id: int) -> Status[None]:
    ending.give_up(caller(request), get_job(request, job_id))
    return Status(204, None)


@router.delete("/jobs/{job_id}", response={204: None}, summary="Delete the record of a job that has ended")
def delete_job(request: HttpRequest, job_id: int) -> Status[None]:
    ending.delete(caller(request), get_job(request, job_id))
    return Status(204, None)


def _host(request: HttpRequest, host_id: int | None) -> Host:
    hosts = Host.objects.visible_to(caller(request)).order_by("id")
    host: Host | None = resolve_references(host=(hosts, host_id))["host"] or hosts.first()
    if host is None:
        raise Conflict("No hosts yet.", "Register one first.")
    return host
