"""What a job's end means to the rest of the data, by its kind. How its containers are made is the workers' side of it:
workers.controllers.job.kinds. A new kind is one module here, one class there, and a line in each table."""

from importlib import import_module
from typing import Any, Protocol, cast

from webapp.jobs import deleting, fetching
from webapp.jobs.models import Job, JobKind


class Kind(Protocol):
    """Called in the transaction that moves the job."""

    def begin_again(self, job: Job) -> None:
        """Somebody asked for another try. Raises Refused when that makes no sense any more."""
        ...

    def finish(self, job: Job, result: dict[str, Any]) -> None:
        """All steps are done; `result` is what they said."""
        ...

    def fail(self, job: Job) -> None:
        """It failed or was cancelled."""
        ...


KINDS: dict[str, Kind] = {JobKind.FETCH: fetching, JobKind.DELETE_COPY: deleting}
# By name: these rooms stand above this one in the house.
ABOVE: dict[str, str] = {JobKind.QUANTISE: "webapp.quantisation.finishing"}


def of(job: Job) -> Kind:
    if job.kind in ABOVE:
        return cast(Kind, import_module(ABOVE[job.kind]))
    return KINDS[job.kind]
