"""The API's words for deployments. Sizes are bytes."""

from datetime import datetime
from typing import Any

from ninja import Field, Schema

from webapp.deployments.states import ReplicaState


class DeploymentIn(Schema):
    name: str = Field(max_length=63, min_length=1, description="unique in the team; clients send it as `model`")
    artifact: int = Field(description="id of the artifact to serve")
    team: str | None = Field(None, description="the team's slug; your first team when absent")
    engine: str = Field("llamacpp", max_length=20)
    options: dict[str, Any] = Field(default_factory=dict, description="options of the engine; see /api/v1/engines")
    replicas: int = Field(1, ge=1, le=64)
    host: int | None = Field(None, description="pin to this host; chosen by the planner when absent")
    image: str = Field("", max_length=200, description="another image than the engine's own")


class ReplicaOut(Schema):
    id: int
    number: int
    state: str
    reason_code: str
    reason: str
    advice: str
    host: str | None = None
    image: str
    attempt: int
    crash_count: int
    progress: float | None
    retry_at: datetime | None = Field(None, description="when a failed replica is tried again")
    ready_at: datetime | None
    estimate: list[dict[str, Any]] = Field(description="memory terms estimated at placement")
    observed: dict[str, int] = Field(description="buffer sizes that the engine reported")

    @staticmethod
    def resolve_host(replica):  # type: ignore[no-untyped-def]
        return replica.host.name if replica.host else None

    @staticmethod
    def resolve_retry_at(replica):  # type: ignore[no-untyped-def]
        return replica.next_due_at if replica.state == ReplicaState.FAILED else None


class DeploymentOut(Schema):
    id: int
    name: str
    team: str = Field(alias="team.slug")
    state: str
    desired_state: str
    artifact_id: int
    artifact: str
    engine: str
    options: dict[str, Any]
    desired_replicas: int
    endpoint: str
    replicas: list[ReplicaOut]
    created_at: datetime

    @staticmethod
    def resolve_artifact(deployment):  # type: ignore[no-untyped-def]
        return str(deployment.artifact)

    @staticmethod
    def resolve_endpoint(deployment):  # type: ignore[no-untyped-def]
        return deployment.endpoint

    @staticmethod
    def resolve_replicas(deployment):  # type: ignore[no-untyped-def]
        return list(deployment.replicas.all())


class EventOut(Schema):
    id: int
    at: datetime
    replica: int | None = Field(alias="replica_number")
    old_state: str
    new_state: str
    reason_code: str
    text: str
    actor: str


class LogOut(Schema):
    text: str
    next_offset: int = Field(description="send it as `offset` to read on")
    attempt: int
    has_more: bool = Field(description="there is more to read right now")


class EngineOut(Schema):
    name: str
    title: str
    formats: list[str]
    endpoints: list[str]
    options: dict[str, Any] = Field(description="JSON schema of the options")


class EstimateIn(Schema):
    artifact: int
    engine: str = Field("llamacpp", max_length=20)
    options: dict[str, Any] = Field(default_factory=dict)


class TermOut(Schema):
    name: str
    label: str
    bytes: int
    basis: str


class PlaceOut(Schema):
    host: str = Field(alias="host.name")
    host_id: int = Field(alias="host.id")
    fits: bool
    why: str = Field(description="why not; empty when it fits")
    instead: str = Field(description="the nearest change that would fit, when there is one")


class EstimateOut(Schema):
    terms: list[TermOut]
    total_bytes: int = Field(description="the sum of the terms")
    booked_bytes: int = Field(description="what is booked per replica: the terms and a reserve")
    places: list[PlaceOut] = Field(description="what every host says to one replica")
