"""What a job's end means to the rest of the data, by its kind; each app registers its own kinds when it is ready.

How a kind's containers are made is the workers' side of it.
"""

from typing import Any, Protocol

from webapp.jobs.models import Job, JobKind


class Kind(Protocol):
    """Called in the transaction that moves the job."""

    def begin_again(self, job: Job) -> None:
        """Somebody asked for another try. Raises ServiceError when that makes no sense any more."""
        ...

    def finish(self, job: Job, result: dict[str, Any]) -> None:
        """All steps are done; `result` is what they said."""
        ...

    def fail(self, job: Job) -> None:
        """It failed or was cancelled."""
        ...

    def give_up(self, job: Job) -> None:
        """Nobody will ever know how it ended on its host."""
        ...


_kinds: dict[str, Kind] = {}


def register(kind: JobKind, meaning: Kind) -> None:
    """`meaning` is what the end of jobs of this kind means; called when the app that knows it is ready."""
    _kinds[kind] = meaning


def of(job: Job) -> Kind:
    """The kind of this job. Raises KeyError for one that no app has registered."""
    return _kinds[job.kind]


def registered() -> set[str]:
    """The kinds whose end means something here: all of them, once every app is ready."""
    return set(_kinds)
