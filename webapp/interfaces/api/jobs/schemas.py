"""The API's words for jobs."""

from datetime import datetime
from typing import Any

from ninja import Field, Schema


class ImportIn(Schema):
    source_path: str = Field(
        min_length=1, max_length=1000, description="a GGUF file, or a zip with one, in an allowed folder"
    )
    member: str | None = Field(None, max_length=500, description="the file inside the zip")
    model_name: str | None = Field(
        None, max_length=120, description="name in the catalogue; default: from the file's metadata"
    )
    host: int | None = Field(None, description="target host; default: the first host")
    team: str | None = Field(None, description="the team's slug; default: your first team")


class FetchIn(Schema):
    """Either a hub's repository and variant, or an address."""

    hub: int | None = Field(None, ge=1, le=2**62, description="the hub's id")
    repo: str = Field("", max_length=200, description="owner/name")
    revision: str = Field("", max_length=200, description="branch, tag or commit; the main branch when empty")
    variant: str = Field("", max_length=300, description="a variant's key, as GET /hubs/{id}/repo lists them")
    url: str = Field("", max_length=2000, description="https address of a GGUF file")
    model_name: str = Field("", max_length=120, description="the catalogue's name; the source's when empty")
    host: int | None = Field(None, ge=1, le=2**62, description="target host; default: the first host")
    team: str | None = Field(None, max_length=80, description="the team's slug; default: your first team")


class CopyIn(Schema):
    host: int = Field(ge=1, le=2**62)
    team: str | None = Field(None, max_length=80, description="the team's slug; default: your first team")


class EndedIn(Schema):
    team: str | None = Field(None, max_length=80, description="the team's slug; default: your first team")


class DeletedOut(Schema):
    deleted: int = Field(description="how many records go")


class StepOut(Schema):
    name: str
    state: str = Field(description="waiting, running, done, skipped, failed or cancelled")
    seconds: float | None = Field(description="the program's own time, when it is done")
    why: str = Field(description="why it was skipped")


class JobLogOut(Schema):
    text: str = Field(description="plain text, each step under its name")
    next_place: str = Field(description="send it as `place` to read on")
    is_fresh: bool = Field(description="it does not continue at `place`: what lay between is no longer kept")
    has_more: bool = Field(description="there is more to read right now")


class JobOut(Schema):
    id: int
    kind: str
    state: str
    team: str | None = None
    requested_by: str | None = None
    host: str = Field(alias="host.name")
    artifact_id: int | None
    artifact: str | None = None
    step: str
    steps: list[StepOut] = Field(alias="plan", description="all its steps; empty for work of one step")
    done: int | None
    total: int | None
    unit: str
    speed: float | None = Field(description="units per second over the last seconds")
    left_s: float | None = Field(description="seconds it will still take; absent while nobody can know")
    message: str
    reason: str
    advice: str
    result: dict[str, Any]
    is_leaving: bool = Field(description="somebody asked for its record to be deleted")
    attempt: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @staticmethod
    def resolve_team(job):  # type: ignore[no-untyped-def]
        return job.team.slug if job.team else None

    @staticmethod
    def resolve_requested_by(job):  # type: ignore[no-untyped-def]
        return job.requested_by.username if job.requested_by else None

    @staticmethod
    def resolve_artifact(job):  # type: ignore[no-untyped-def]
        return job.about or None
