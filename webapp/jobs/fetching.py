"""Bring model files to a host: the look into the file, the catalogue's row and the job, as one verb."""

from pathlib import Path
from typing import Any

from django.db import transaction

from webapp.accounts.models import Role, Team, User
from webapp.accounts.services import require
from webapp.catalog import services as catalog
from webapp.catalog.models import CopyState
from webapp.errors import Conflict, Invalid
from webapp.inventory.models import Host
from webapp.jobs import services as jobs
from webapp.jobs.models import Job


def import_file(
    user: User | None,
    team: Team,
    host: Host,
    source_path: str,
    member: str | None = None,
    model_name: str | None = None,
) -> Job:
    """Import a GGUF file that lies on this machine under an allowed folder, as a job on the host.

    The header is read first: a broken file is refused before anything is queued. Raises Invalid, Conflict, NotAllowed.
    """
    require(user, team, Role.OPERATOR)
    inspected = catalog.inspect_file(Path(source_path), member or "")
    if host.disk_total_bytes and host.disk_free_bytes < inspected.size_bytes:
        raise Invalid(
            f"{inspected.file_name} has {inspected.size_bytes:,} bytes; {host.name} has {host.disk_free_bytes:,} free.",
            "Free disk space on the host, or choose another host.",
            fields={"host": "not enough disk space"},
        )
    with transaction.atomic():
        artifact = catalog.add_artifact(inspected, model_name or "")
        copy = catalog.begin_copy(artifact, host)
        if copy.state == CopyState.PRESENT:
            raise Conflict(f"{artifact} is on {host.name} already.", "Deploy it from the model's page.")
        return jobs.queue_fetch(user, team, artifact, host, _params(inspected))


def finish(job: Job, files: list[dict[str, Any]]) -> None:
    """The job's container has brought the files and checked them."""
    if job.artifact is not None:
        catalog.finish_copy(job.artifact, job.host, files)


def fail(job: Job) -> None:
    """The job ended without the files; nothing of them is visible."""
    if job.artifact is not None:
        catalog.fail_copy(job.artifact, job.host)


def _params(inspected: catalog.Inspected) -> dict[str, Any]:
    return {
        "source_path": str(inspected.path),
        "member": inspected.member or None,
        "files": [{"name": inspected.file_name, "size": inspected.size_bytes, "sha256": None}],
    }
