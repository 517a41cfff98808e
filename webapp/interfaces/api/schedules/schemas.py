"""The API's words for schedules, runs and notification targets."""

from datetime import datetime, time
from decimal import Decimal
from typing import Any, Literal

from ninja import Field, Schema

from webapp.interfaces.api.fields import Name, RowId
from webapp.quantisation.recipes import Measure, Recipe
from webapp.schedules import targets
from webapp.schedules.gates import Gate

TriggerWord = Literal["cron", "interval", "new_commit"]
EventWord = Literal[
    "schedule.succeeded", "schedule.rejected", "schedule.failed", "job.succeeded", "job.failed", "deployment.failed"
]  # fmt: skip


class ScheduleFields(Schema):
    """What may be said of a schedule; what is left out has its default, or stays as it is."""

    artifact: RowId | None = Field(None, description="the source; or a hub's repository")
    hub: RowId | None = None
    repo: str = Field("", max_length=200, description="owner/name")
    revision: str = Field("", max_length=200, description="branch or tag; the main branch when empty")
    variant: str = Field("", max_length=300, description="a variant's key, as GET /hubs/{id}/repo lists them")
    measure: Measure | None = Field(
        Measure(speed=False), description="how results are compared with the source; null: not, and then without a gate"
    )
    calibration: RowId | None = Field(None, description="the calibration dataset; default: the built-in one")
    judging: RowId | None = Field(None, description="the evaluation dataset; default: the built-in one")
    prompts: RowId | None = Field(None, description="golden prompts that every result is asked")
    trigger: TriggerWord = "cron"
    cron: str = Field("", max_length=120, description="minute, hour, day of month, month, day of week")
    interval_minutes: int = Field(0, ge=0, le=10**7, description="minutes between runs")
    zone: str = Field("UTC", max_length=60, description="the crontab's and the window's time zone: Europe/Berlin")
    window_start: time | None = Field(None, description="local time from which runs may begin; with window_end")
    window_end: time | None = None
    idle_minutes: int | None = Field(None, ge=1, le=1440, description="begin only when the host was quiet for so long")
    gate: Gate = Field(Gate(), description="limits; all must be kept, else nothing is served")
    deployment: RowId | None = Field(None, description="rolled to the first result that keeps every limit")
    allow_downtime: bool = Field(False, description="allow downtime where old and new do not fit side by side")
    keep_last: int | None = Field(None, ge=1, le=1000, description="results of each recipe that are kept; null: all")


class ScheduleIn(ScheduleFields):
    name: Name
    team: str | None = Field(None, max_length=40, description="the team's slug; default: your first team")
    host: RowId = Field(description="where the work is done")
    recipes: list[Recipe] = Field(min_length=1, max_length=12, description="in order of preference")


class ScheduleEdit(ScheduleFields):
    """Only what is sent is changed."""

    name: Name | None = None
    host: RowId | None = None
    recipes: list[Recipe] | None = Field(None, min_length=1, max_length=12)


class ScheduleOut(Schema):
    id: int
    name: str
    team: str = Field(alias="team.slug")
    state: str = Field(description="active or paused")
    is_paused: bool
    source: str = Field(description="in words")
    artifact_id: int | None
    hub_id: int | None
    repo: str
    revision: str
    variant: str
    seen_commit: str
    note: str = Field(description="why the hub could not be asked; empty when it could")
    recipes: list[dict[str, Any]]
    measure: dict[str, Any] | None
    calibration_id: int | None
    judging_id: int | None
    prompts_id: int | None
    host: str = Field(alias="host.name")
    trigger: str
    cron: str
    interval_minutes: int
    zone: str
    window_start: time | None
    window_end: time | None
    idle_minutes: int | None
    gate: dict[str, Any]
    deployment_id: int | None
    deployment: str | None = None
    allow_downtime: bool
    keep_last: int | None
    next_due_at: datetime | None
    created_at: datetime

    @staticmethod
    def resolve_deployment(row):  # type: ignore[no-untyped-def]
        return row.deployment.name if row.deployment else None


class CheckedOut(Schema):
    warnings: list[str]


class RunOut(Schema):
    id: int
    schedule_id: int
    state: str
    reason: str
    advice: str
    due_at: datetime
    asked_by: str = Field(description="empty: the schedule itself")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    commit: str
    source_id: int | None
    jobs: list[int]
    results: list[dict[str, Any]] = Field(description="per recipe: job, artifact, values, checks, is_passed, refused")
    served: str
    cost_seconds: float = Field(description="how long its jobs ran")
    cost: Decimal | None = Field(description="by the host's price; null when it has none")

    @staticmethod
    def resolve_jobs(row):  # type: ignore[no-untyped-def]
        return [job.pk for job in row.jobs.all()]


class TargetIn(Schema):
    team: str | None = Field(None, max_length=40, description="the team's slug; default: your first team")
    kind: Literal["webhook", "mail"]
    address: str = Field(min_length=3, max_length=500)
    events: list[EventWord] = Field(min_length=1, max_length=20)


class TargetEdit(Schema):
    events: list[EventWord] = Field(min_length=1, max_length=20)


class TargetOut(Schema):
    id: int
    team: str = Field(alias="team.slug")
    kind: str
    address: str = Field(description="of a web address the place alone: the rest may be a secret")
    events: list[str]
    created_at: datetime

    @staticmethod
    def resolve_address(row):  # type: ignore[no-untyped-def]
        return targets.shown(row.address)


class TargetMade(TargetOut):
    secret: str = Field(description="signs what is sent, as Standard Webhooks says; shown this once. Empty for mail.")


class NotificationOut(Schema):
    id: int
    target_id: int
    event: str
    state: str
    attempts: int
    answer: str
    payload: dict[str, Any]
    created_at: datetime
    sent_at: datetime | None
    next_due_at: datetime | None
