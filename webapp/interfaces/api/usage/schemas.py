"""The API's words for usage."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from ninja import Field, Schema

GroupName = Literal["team", "person", "key", "deployment", "endpoint", "day"]
RangeName = Literal["today", "7d", "30d", "month", "last_month", "custom"]


class DaysQuery(Schema):
    """Which days. Days are UTC."""

    range: RangeName | None = Field(None, description="7d unless `from` or `to` is given")
    from_: date | None = Field(None, alias="from", description="the first day of a range of its own")
    to: date | None = Field(None, description="the last day; default: today")


class UsageQuery(DaysQuery):
    """Which days, grouped how."""

    group: GroupName = Field("deployment", description="what a row stands for")
    team: str | None = Field(None, max_length=40, description="only this team: its slug or number")
    person: int | None = Field(None, ge=0, lt=2**63, description="only this person's number")
    key: int | None = Field(None, ge=0, lt=2**63, description="only this API key's number")
    deployment: int | None = Field(None, ge=0, lt=2**63, description="only this deployment's number")
    q: str = Field("", max_length=100, description="only rows whose name has these words")
    sort: str = Field("", max_length=20, description="name, requests, failed, prompt, completion, tokens; - for down")


class UsageRow(Schema):
    name: str = Field(description="of the team, person, key ...; deleted ones keep their number")
    detail: str
    number: int | None = Field(description="the id of what the row stands for; none for days and endpoints")
    requests: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    tokens: int


class UsageOut(Schema):
    first: date
    last: date
    group: GroupName
    items: list[UsageRow]
    total: UsageRow


class RequestQuery(Schema):
    team: str | None = Field(None, max_length=40, description="a team's slug or number")
    person: int | None = Field(None, ge=0, lt=2**63)
    key: int | None = Field(None, ge=0, lt=2**63)
    deployment: int | None = Field(None, ge=0, lt=2**63)
    outcome: Literal["ok", "failed", "client_error"] | None = None
    status: int | None = Field(None, ge=100, le=599, description="the HTTP status")
    limit: int = Field(50, ge=1, le=500, description="how many requests at most")
    behind: str = Field("", max_length=100, description="`older` of the answer before: continue from there")
    request_id: str | None = Field(None, max_length=80, description="exactly this id, as the answer's header named it")


class RequestOut(Schema):
    id: UUID
    at: datetime
    request_id: str
    key: int | None = Field(alias="key_id")
    key_prefix: str | None
    person: int | None = Field(alias="user_id")
    username: str | None
    team: int | None = Field(alias="team_id")
    deployment: int | None = Field(alias="deployment_id")
    deployment_name: str | None
    replica_id: int | None = Field(description="the replica's id, as the deployment's `replicas` tell it")
    endpoint: str
    status: int
    outcome: str
    is_stream: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    ttft_ms: float | None = Field(description="time to first token")
    duration_ms: float | None
    max_gap_ms: float | None
    bytes_out: int

    @staticmethod
    def resolve_key_prefix(record):  # type: ignore[no-untyped-def]
        return record.key.prefix if record.key else None

    @staticmethod
    def resolve_username(record):  # type: ignore[no-untyped-def]
        return record.user.username if record.user else None

    @staticmethod
    def resolve_deployment_name(record):  # type: ignore[no-untyped-def]
        return record.deployment.name if record.deployment else None


class RequestsOut(Schema):
    """Not counted: there may be millions."""

    items: list[RequestOut]
    older: str | None = Field(description="where the next ones begin, for `behind`; null at the end")


class RefusalQuery(DaysQuery):
    """Which days, and whose."""

    team: str | None = Field(None, max_length=40, description="only this team: its slug or number")
    person: int | None = Field(None, ge=0, lt=2**63, description="only this person's number")
    key: int | None = Field(None, ge=0, lt=2**63, description="only this API key's number")
    limit: int = Field(50, ge=1, le=500, description="how many rows at most, the most frequent first")


class CountedRefusalOut(Schema):
    """All requests of one key that were refused for one reason."""

    code: str = Field(description="as the answer's error named it, like model_not_found or too_many_requests")
    status: int = Field(description="the HTTP status")
    message: str = Field(description="what the latest one was told")
    endpoint: str = Field(description="empty where the address was none of the API")
    team: int | None = Field(description="none where the key was not known; only admins see those")
    team_name: str | None
    person: int | None
    username: str | None
    key: int | None = Field(description="none for the playground, and where the key was not known")
    key_name: str | None
    count: int
    last_at: datetime
    request_id: str = Field(description="the latest one's")


class CountedRefusalsOut(Schema):
    items: list[CountedRefusalOut]
    total: int = Field(description="refusals in these days, all rows together")
