"""How the containers of each kind of job are made. What a job's end means to the data is webapp.jobs.kinds."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Protocol

from webapp.catalog import hubs, outbound
from webapp.catalog import services as catalog
from webapp.catalog.models import Hub
from webapp.catalog.outbound import Policy
from webapp.foundation.errors import ServiceError
from webapp.jobs import fetching
from webapp.jobs.models import Job, JobKind
from workers.controllers.job.beginning import CannotBegin
from workers.controllers.job.quantising import Quantise
from workers.runtime import specs
from workers.runtime.base import MODELS_PATH, ContainerSpec, Runtime

RUN_THERE = "Run `make run` there once: it builds it."
LITTLE = "Report this: it should need little."


class Kind(Protocol):
    """One kind of job: steps, and for each a container that prints lines of JSON and ends."""

    # What to do when the host lacks the image, and when the memory was not enough.
    image_advice: str
    memory_advice: str

    def steps(self, job: Job) -> tuple[str, ...]:
        """Each is a container; the next begins when one has succeeded, and none is repeated after that."""
        ...

    def memory_bytes(self, job: Job) -> int:
        """What is reserved on the host while the job runs; 0 for little work that every host has room for."""
        ...

    def container(self, runtime: Runtime, job: Job, step: str, who: Mapping[str, str]) -> ContainerSpec:
        """The container of a step. Raises CannotBegin."""
        ...

    def secrets(self, job: Job, step: str) -> Mapping[str, Any] | None:
        """What its program reads from its standard input, if its spec says so: never stored, never in an inspect."""
        ...

    def known(self, job: Job, step: str) -> dict[str, Any] | None:
        """What is kept of a step whose result is known without it: it is not run then."""
        ...

    def result(self, job: Job, said: Mapping[str, Any]) -> dict[str, Any] | None:
        """What is kept of a step's last line; None when it does not say what it must."""
        ...

    def instead(self, job: Job, step: str, why: str) -> dict[str, Any] | None:
        """What is kept of a step that failed for this reason, where the job can do without it; else None."""
        ...

    def keeps(self, code: str) -> bool:
        """Whether what was done is worth going on with after a failure of this code."""
        ...

    def clean_up(self, job: Job, who: Mapping[str, str]) -> ContainerSpec | None:
        """A short container that takes away what a failed or cancelled job left half done."""
        ...


class Fetch:
    """Bring an artifact's files to a host: from a folder of the host, a hub or an address."""

    image_advice = RUN_THERE
    memory_advice = LITTLE

    def steps(self, job: Job) -> tuple[str, ...]:
        return ("fetch",)

    def memory_bytes(self, job: Job) -> int:
        return 0

    def known(self, job: Job, step: str) -> dict[str, Any] | None:
        return None

    def instead(self, job: Job, step: str, why: str) -> dict[str, Any] | None:
        return None

    def keeps(self, code: str) -> bool:
        return False

    def container(self, runtime: Runtime, job: Job, step: str, who: Mapping[str, str]) -> ContainerSpec:
        path = job.params.get("source_path")
        return specs.fetch_container(
            name=job.container_name,
            who=who,
            order=order(job),
            import_folder=str(PurePosixPath(path).parent) if path else None,
        )

    def secrets(self, job: Job, step: str) -> Mapping[str, Any] | None:
        source = job.params.get("source")
        if source is None:
            return None
        said: dict[str, Any] = {"proxies": outbound.environment_proxies()}
        try:
            if job.team is not None and job.artifact is not None:
                # What it is fetched with may have been withdrawn while the job waited.
                fetching.check_source(job.team, job.artifact)
            if source["kind"] == "hub":
                said["headers"] = hubs.secret_headers(_hub(source))
            elif job.artifact is not None:
                said["urls"] = {job.params["files"][0]["name"]: catalog.whole_url(job.artifact)}
        except ServiceError as refusal:
            raise CannotBegin(refusal) from refusal
        return said

    def result(self, job: Job, said: Mapping[str, Any]) -> dict[str, Any] | None:
        return {"files": said["files"]} if isinstance(said.get("files"), list) else None

    def clean_up(self, job: Job, who: Mapping[str, str]) -> ContainerSpec | None:
        return specs.clean_up_container(f"{job.container_name}-clean", who, _folder(job))


class DeleteCopy:
    """Remove an artifact's folder from a host's models volume."""

    image_advice = RUN_THERE
    memory_advice = LITTLE

    def steps(self, job: Job) -> tuple[str, ...]:
        return ("delete",)

    def memory_bytes(self, job: Job) -> int:
        return 0

    def known(self, job: Job, step: str) -> dict[str, Any] | None:
        return None

    def instead(self, job: Job, step: str, why: str) -> dict[str, Any] | None:
        return None

    def keeps(self, code: str) -> bool:
        return False

    def container(self, runtime: Runtime, job: Job, step: str, who: Mapping[str, str]) -> ContainerSpec:
        return specs.remove_container(name=job.container_name, who=who, folder=_folder(job))

    def secrets(self, job: Job, step: str) -> Mapping[str, Any] | None:
        return None

    def result(self, job: Job, said: Mapping[str, Any]) -> dict[str, Any] | None:
        return {"freed_bytes": said.get("freed_bytes", 0)}

    def clean_up(self, job: Job, who: Mapping[str, str]) -> ContainerSpec | None:
        return None


KINDS: dict[str, Kind] = {
    JobKind.FETCH.value: Fetch(),
    JobKind.DELETE_COPY.value: DeleteCopy(),
    JobKind.QUANTISE.value: Quantise(),
}


def of(job: Job) -> Kind:
    return KINDS[job.kind]


def order(job: Job) -> dict[str, Any]:
    """What the fetch program is told; see compose/tools/fetch.py."""
    path, source = job.params.get("source_path"), job.params.get("source")
    if path:
        inside = f"/import/{PurePosixPath(path).name}"
        said: dict[str, Any] = {"kind": "path", "path": inside, "shown": path, "member": job.params.get("member")}
        return {"source": said, "target_dir": _folder(job), "files": job.params["files"], "lets_code": False}
    if source["kind"] == "hub":
        hub = _hub(source)
        policy = hubs.policy(hub)
        files = [
            {**file, "url": hubs.file_url(hub, source["repo"], source["commit"], file["path"])}
            for file in job.params["files"]
        ]
    else:
        policy = outbound.environment_policy()
        files = [{**file, "url": source["url"]} for file in job.params["files"]]
    lets_code = catalog.lets_code(source)
    return {"source": _web(policy), "target_dir": _folder(job), "files": files, "lets_code": lets_code}


def _web(policy: Policy) -> dict[str, Any]:
    return {"kind": "web", "policy": policy.as_json()}


def _hub(source: Mapping[str, Any]) -> Hub:
    hub = Hub.objects.filter(pk=source["hub"]).first()
    if hub is None:
        name = source.get("hub_name", "it comes from")
        raise CannotBegin(ServiceError(f"The hub {name} is no longer known.", "Fetch it again from a hub that is."))
    return hub


def _folder(job: Job) -> str:
    """A deleted artifact's job has nothing left to do in any folder."""
    if job.artifact_id is None:
        raise CannotBegin(ServiceError("The artifact was deleted meanwhile.", "Fetch it again."))
    return f"{MODELS_PATH}/{job.artifact_id}"
