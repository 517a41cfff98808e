"""The API's words for jobs."""

from datetime import datetime
from typing import Any

from ninja import Field, Schema


class ImportIn(Schema):
    source_path: str = Field(
        min_length=1, max_length=1000, description="a GGUF file, or a zip with one, in an allowed folder"
    )
    member: str | None = Field(None, max_length=500, description="the file inside the zip")
    model_name: str | None = Field(None, max_length=120, description="the catalogue's name; the header's when absent")
    host: int | None = Field(None, description="where to bring it; the first host when absent")
    team: str | None = Field(None, description="the team's slug; your first team when absent")


class StepOut(Schema):
    name: str
    state: str = Field(description="waiting, running, done, failed or cancelled")
    seconds: float | None = Field(description="the program's own time, when it is done")


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
    reason: str
    advice: str
    result: dict[str, Any]
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
        return str(job.artifact) if job.artifact else None
