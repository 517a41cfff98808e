"""Bring model files to a host: the look into the files, the catalogue's row and the job, as one verb per source."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from django.db import transaction

from webapp.accounts.models import Role, Team, User
from webapp.accounts.ownership import check_usable
from webapp.accounts.services import require
from webapp.catalog import hubs, inspecting, reading
from webapp.catalog import services as catalog
from webapp.catalog.inspecting import Inspected
from webapp.catalog.models import Artifact, ArtifactCopy, CopyState, Hub
from webapp.foundation.errors import Conflict, Invalid, ServiceError
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
    """Import a GGUF file or a model's folder that lies on this machine under an allowed folder, as a job on the host.

    The headers are read first: a broken file is refused before anything is queued. Raises ServiceError.
    """
    require(user, team, Role.OPERATOR)
    inspected = inspecting.inspect_path(Path(source_path), member or "")
    _check_open(host, inspected.source, inspected.files, Invalid)
    return _queue(user, team, host, inspected, model_name or "")


def from_hub(
    user: User | None,
    team: Team,
    host: Host,
    hub: Hub,
    repo: str,
    variant: str,
    revision: str = "",
    model_name: str = "",
) -> Job:
    """Fetch one variant of a hub's repository at the commit that `revision` is now. Raises ServiceError."""
    require(user, team, Role.OPERATOR)
    inspected = inspecting.inspect_repo(hub, hubs.repo(hub, repo, revision), variant)
    return _queue(user, team, host, inspected, model_name)


def from_url(user: User | None, team: Team, host: Host, url: str, model_name: str = "") -> Job:
    """Fetch one GGUF file by its address. Raises ServiceError."""
    require(user, team, Role.OPERATOR)
    return _queue(user, team, host, inspecting.inspect_url(url.strip()), model_name, url.strip())


def to_host(user: User | None, team: Team, artifact: Artifact, host: Host) -> Job:
    """Fetch an artifact of the catalogue to one more host, from where it came from. Raises ServiceError."""
    require(user, team, Role.OPERATOR)
    check_source(team, artifact)
    if artifact.source.get("kind") == "made":
        raise Conflict(f"{artifact} was made here, not fetched.", "Fetch what it was made from, and quantise it there.")
    if artifact.source.get("kind") not in ("path", "hub", "url"):
        raise Conflict(f"Nobody knows where {artifact} came from.", "Import it again.")
    _check_open(host, artifact.source, artifact.files, Conflict)
    _check_disk(host, artifact.size_bytes, str(artifact))
    with transaction.atomic():
        catalog.come_back(artifact, team)
        return _queue_copy(user, team, artifact, host)


def begin_again(job: Job) -> None:
    """The copy is on its way once more."""
    if job.artifact is None:
        raise Conflict("The artifact was deleted.", "Fetch it again.")
    if job.team is not None:
        check_source(job.team, job.artifact)
    _check_open(job.host, job.artifact.source, job.artifact.files, Conflict)
    catalog.begin_copy(job.artifact, job.host)


def finish(job: Job, result: dict[str, Any]) -> None:
    """The job's container has brought the files and checked them."""
    if job.artifact is not None:
        catalog.finish_copy(job.artifact, job.host, result["files"])


def fail(job: Job) -> None:
    """The job ended without the files; nothing of them is visible."""
    if job.artifact is not None:
        catalog.fail_copy(job.artifact, job.host)


give_up = fail


def _queue(
    user: User | None, team: Team, host: Host, inspected: Inspected, model_name: str, url: str | None = None
) -> Job:
    _check_disk(host, inspected.size_bytes, inspected.main_file)
    with transaction.atomic():
        artifact = catalog.add_artifact(team, inspected, model_name)
        if url is not None and artifact.team_id == team.pk:
            catalog.keep_whole_url(artifact, url)
        check_source(team, artifact)
        return _queue_copy(user, team, artifact, host)


def check_source(team: Team, artifact: Artifact) -> None:
    """The team may use the artifact, and may have it fetched again: by no secret that it was not given."""
    check_usable(artifact, team)
    source = artifact.source
    if source.get("kind") == "hub":
        hub, name = Hub.objects.filter(pk=source.get("hub")), source.get("hub_name", "it came from")
        if not hub.exists():
            raise Conflict(
                f"The hub {name} is no longer known.", "Add it again in Settings > Hubs, and fetch from its page."
            )
        if not hub.open_to([team]).exists():
            raise Conflict(
                f"{artifact} is fetched from a hub that team {team.name} may not use.",
                "Ask the team that owns it to fetch it to that host.",
            )
    if "sealed_url" in source and artifact.team_id != team.pk:
        raise Conflict(
            f"{artifact} is fetched from an address that only its owner knows.",
            "Ask the team that owns it to fetch it to that host.",
        )


def _check_open(
    host: Host, source: Mapping[str, Any], files: Iterable[Mapping[str, Any]], kind: type[ServiceError]
) -> None:
    """Refuse files of this machine that the job could not read; of other sources nothing is asked."""
    # Where the engine gives containers other users (userns-remap, rootless), only the job finds out.
    if source.get("kind") != "path" or _has_other_users(host):
        return
    path = Path(source["path"])
    stops = reading.closed(path, (file.get("from") or file["name"] for file in files), reading.may_jobs())
    if stops:
        said = reading.command(path, stops, is_whole=reading.is_folder(path))
        what, advice = reading.told(stops, said)
        raise kind(what, advice, fields={"source_path": what} if kind is Invalid else None)


def _has_other_users(host: Host) -> bool:
    options = host.facts.get("SecurityOptions") or []
    return any("userns" in str(option) or "rootless" in str(option) for option in options)


def _check_disk(host: Host, size_bytes: int, what: str) -> None:
    if host.disk_total_bytes and host.disk_free_bytes < size_bytes:
        raise Invalid(
            f"{what} has {size_bytes:,} bytes; {host.name} has {host.disk_free_bytes:,} free.",
            "Free disk space on the host, or choose another host.",
            fields={"host": "not enough disk space"},
        )


def _queue_copy(user: User | None, team: Team, artifact: Artifact, host: Host) -> Job:
    copy: ArtifactCopy = catalog.begin_copy(artifact, host)
    if copy.state == CopyState.PRESENT:
        raise Conflict(f"{artifact} is on {host.name} already.", "Deploy it from the model's page.")
    return jobs.queue_fetch(user, team, artifact, host, _params(artifact))


def _params(artifact: Artifact) -> dict[str, Any]:
    source = artifact.source
    files = [
        {key: file.get(key) for key in ("name", "path", "from", "sha256", "git_sha1") if file.get(key)}
        | {"size": file.get("size_bytes"), "sha256": file.get("sha256")}
        for file in artifact.files
    ]
    if source["kind"] == "path":
        return {"source_path": source["path"], "member": source.get("member") or None, "files": files}
    kept = ("kind", "hub", "hub_name", "repo", "commit", "revision", "url")
    return {"source": {key: source[key] for key in kept if key in source}, "files": files}
