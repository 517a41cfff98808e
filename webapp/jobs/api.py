"""REST doors of jobs."""

from typing import Literal

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Status
from ninja.pagination import paginate

from webapp.accounts.api import team_of
from webapp.accounts.callers import caller
from webapp.errors import Conflict
from webapp.inventory.models import Host
from webapp.jobs import fetching, services
from webapp.jobs.models import Job
from webapp.jobs.schemas import ImportIn, JobOut
from webapp.pagination import Pages

router = Router(tags=["jobs"])
StateFilter = Literal["queued", "running", "succeeded", "failed", "cancelled"]


@router.get("/jobs", response=list[JobOut], summary="Jobs, newest first")
@paginate(Pages)
def list_jobs(request: HttpRequest, state: StateFilter | None = None):  # type: ignore[no-untyped-def]
    jobs = Job.objects.visible_to(caller(request)).for_list()
    return jobs.filter(state=state) if state else jobs


@router.get("/jobs/{job_id}", response=JobOut, summary="One job")
def get_job(request: HttpRequest, job_id: int) -> Job:
    return get_object_or_404(Job.objects.visible_to(caller(request)).for_list(), pk=job_id)


@router.post("/imports", response={202: JobOut}, summary="Import a model file")
def import_file(request: HttpRequest, data: ImportIn) -> Status[Job]:
    hosts = Host.objects.visible_to(caller(request)).order_by("id")
    host = get_object_or_404(hosts, pk=data.host) if data.host else hosts.first()
    if host is None:
        raise Conflict("There is no host yet.", "Register one first.")
    team = team_of(caller(request), data.team)
    job = fetching.import_file(caller(request), team, host, data.source_path, data.member, data.model_name)
    return Status(202, get_job(request, job.pk))


@router.post("/jobs/{job_id}/cancel", response={202: JobOut}, summary="Cancel a job")
def cancel_job(request: HttpRequest, job_id: int) -> Status[Job]:
    services.cancel(caller(request), get_job(request, job_id))
    return Status(202, get_job(request, job_id))


@router.post("/jobs/{job_id}/retry", response={202: JobOut}, summary="Run a failed or cancelled job again")
def retry_job(request: HttpRequest, job_id: int) -> Status[Job]:
    services.retry(caller(request), get_job(request, job_id))
    return Status(202, get_job(request, job_id))
