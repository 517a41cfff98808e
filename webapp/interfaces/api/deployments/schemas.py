"""The API's words for deployments. Sizes are bytes."""

from datetime import datetime
from typing import Any

from ninja import Field, Schema

from webapp import engines
from webapp.deployments import serving, sharing
from webapp.deployments.states import ReplicaState
from webapp.planner.placement import When

ALIASES = "other names that clients may send, like gpt-4o, meta-llama/Llama-3.1-8B or qwen2.5:7b"


class DeploymentIn(Schema):
    name: str = Field(max_length=63, min_length=1, description="unique in the team; clients send it as `model`")
    artifact: int = Field(description="id of the artifact to serve")
    team: str | None = Field(None, description="the team's slug; default: your first team")
    engine: str = Field("", max_length=20, description="default: the engine that loads the artifact's files")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the engine; see /api/v1/engines")
    replicas: int = Field(1, ge=1, le=64)
    host: int | None = Field(None, description="pin to this host; default: chosen by the planner")
    image: str = Field(
        "", max_length=200, description="custom container image, one that /images allows; empty: engine default"
    )
    placement_labels: list[str] = Field(
        default_factory=list, max_length=16, description="only on hosts that carry all of these labels; empty: anywhere"
    )
    aliases: list[str] = Field(default_factory=list, max_length=16, description=ALIASES)
    max_tokens_default: int = Field(
        0, ge=0, le=10_000_000, description="max tokens of requests that set none; 0: engine default"
    )
    max_tokens_limit: int = Field(
        0, ge=0, le=10_000_000, description="max tokens of any request; larger values are capped to it. 0: no limit"
    )


class EditIn(Schema):
    """Fields that are left out stay as they are."""

    artifact: int | None = Field(None, description="id of the artifact to serve")
    engine: str | None = Field(None, max_length=20, description="another one begins with its default options")
    options: dict[str, Any] | None = Field(None, description="all options; those left out go back to their defaults")
    host: int | None = Field(None, description="pin to this host; null: wherever it fits")
    image: str | None = Field(None, max_length=200, description="empty: engine default")
    placement_labels: list[str] | None = Field(
        None, max_length=16, description="only on hosts that carry all of these labels; empty: anywhere"
    )
    replicas: int | None = Field(None, ge=0, le=64)
    aliases: list[str] | None = Field(None, max_length=16, description=ALIASES)
    max_tokens_default: int | None = Field(
        None, ge=0, le=10_000_000, description="max tokens of requests that set none; 0: engine default"
    )
    max_tokens_limit: int | None = Field(
        None, ge=0, le=10_000_000, description="max tokens of any request; larger values are capped to it. 0: no limit"
    )
    note: str = Field("", max_length=200, description="why, for the list of revisions")
    allow_downtime: bool = Field(
        False, description="allow downtime where memory cannot hold old and new replicas together"
    )
    base_revision: int | None = Field(
        None, ge=0, description="refuse when the deployment is at another revision by now"
    )


class ScaleIn(Schema):
    replicas: int = Field(ge=0, le=64)


class RestartIn(Schema):
    allow_downtime: bool = Field(
        False, description="allow downtime where memory cannot hold old and new replicas together"
    )


class RollBackIn(RestartIn):
    revision: int = Field(ge=1, le=2_147_483_647, description="number of the revision to run again")


class ReplicaOut(Schema):
    id: int
    number: int
    state: str
    reason_code: str
    reason: str
    advice: str
    host: str | None = None
    image: str
    revision: int | None = Field(None, alias="revision.number")
    generation: int
    is_leaving: bool = Field(description="it was replaced, or is one too many: it finishes its requests and stops")
    attempt: int
    container: str = Field(description="its name on the host, as `docker ps` shows it; empty without one")
    crash_count: int = Field(description="how often in a row its engine ended by itself")
    failed_starts: int = Field(description="how often in a row nothing could be started: no image, a refused container")
    progress: float | None
    retry_at: datetime | None = Field(None, description="when a failed replica is tried again")
    ready_at: datetime | None
    estimate: list[dict[str, Any]] = Field(description="memory terms estimated at placement")
    observed: dict[str, int] = Field(description="buffer sizes that the engine reported")

    @staticmethod
    def resolve_host(replica):  # type: ignore[no-untyped-def]
        return replica.host.name if replica.host else None

    @staticmethod
    def resolve_is_leaving(replica):  # type: ignore[no-untyped-def]
        return replica.retired_at is not None

    @staticmethod
    def resolve_retry_at(replica):  # type: ignore[no-untyped-def]
        return replica.next_due_at if replica.state == ReplicaState.FAILED else None


class SpecOut(Schema):
    """What is to run, as every answer tells it."""

    engine: str
    options: dict[str, Any]
    image: str
    placement_labels: list[str]


class ServesOut(Schema):
    """What it answers and what its model can do. null: nobody knows while no replica has been ready."""

    endpoints: list[str] = Field(description="below /v1/")
    context_length: int | None = Field(description="tokens of one request, prompt and answer together")
    tools: bool | None
    vision: bool | None
    audio: bool | None


class DeploymentOut(SpecOut):
    id: int
    name: str
    team: str = Field(alias="team.slug")
    state: str
    desired_state: str
    artifact_id: int
    artifact: str
    host: str | None = Field(None, description="the host it is pinned to")
    desired_replicas: int
    aliases: list[str]
    max_tokens_default: int = Field(description="max tokens of requests that set none; 0: engine default")
    max_tokens_limit: int = Field(description="max tokens of any request; 0: no limit")
    serves: ServesOut
    revision: int | None = Field(None, alias="revision.number", description="what is wanted to run")
    is_rolling: bool = Field(description="replicas are being replaced, or wait for it")
    is_own: bool = Field(description="false: another team lets mine use it; settings and reasons are not shown then")
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
    def resolve_host(deployment):  # type: ignore[no-untyped-def]
        return deployment.host.name if deployment.host and deployment.is_own else None

    @staticmethod
    def resolve_options(deployment):  # type: ignore[no-untyped-def]
        return deployment.options if deployment.is_own else {}

    @staticmethod
    def resolve_image(deployment):  # type: ignore[no-untyped-def]
        return deployment.image if deployment.is_own else ""

    @staticmethod
    def resolve_placement_labels(deployment):  # type: ignore[no-untyped-def]
        return deployment.placement_labels if deployment.is_own else []

    @staticmethod
    def resolve_serves(deployment):  # type: ignore[no-untyped-def]
        return serving.of(deployment)

    @staticmethod
    def resolve_is_rolling(deployment):  # type: ignore[no-untyped-def]
        return deployment.next_due_at is not None

    @staticmethod
    def resolve_replicas(deployment):  # type: ignore[no-untyped-def]
        return sharing.shown_replicas(deployment)


class EventOut(Schema):
    id: int
    at: datetime
    replica_ordinal: int | None = Field(description="the replica's number in its deployment")
    revision: int | None = Field(alias="revision_number")
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
    engine: str = Field("", max_length=20, description="default: the engine that loads the artifact's files")
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
    when: When = Field(description="when_empty: the host could take it, and why says what forbids it now")
    where: str = Field(description="GPU, 2 GPUs, memory; empty when it can never fit")
    why: str = Field(description="why not now; empty when it fits")
    instead: str = Field(description="the nearest change that would fit, when there is one")


class WarningOut(Schema):
    option: str
    text: str
    value: int = Field(description="the value to take instead")


class EstimateOut(Schema):
    terms: list[TermOut]
    total_bytes: int = Field(description="the sum of the terms")
    reserved_bytes: int = Field(description="reserved per replica: the terms and a safety margin")
    places: list[PlaceOut] = Field(description="what every host says to one replica")
    advice: str = Field(description="what would help where a placement label is on no host; empty otherwise")
    warnings: list[WarningOut] = Field(description="options that are allowed and probably not meant")


class ChangeOut(Schema):
    name: str
    label: str
    old: str
    new: str


class PlanOut(Schema):
    """What an edit would do; nothing has been changed."""

    changes: list[ChangeOut] = Field(description="what would run differently")
    limits: list[ChangeOut] = Field(
        description="limits of the gateways that would change; no replica is replaced for them"
    )
    rolls: bool = Field(description="replicas would be replaced")
    needs_downtime: bool = Field(
        description="memory cannot hold old and new replicas together: there would be downtime"
    )
    downtime_s: float | None = Field(description="estimated downtime of one replica, from the last start")
    refusal: str = Field(description="why it fits on no host; empty when it fits")
    refused: str = Field(description="what stands in the way now, given allow_downtime; empty: it would be carried out")
    fit: EstimateOut | None = Field(description="null when nothing could be calculated")


class RevisionOut(SpecOut):
    number: int
    artifact_id: int | None
    artifact: str = Field(alias="artifact_name")
    host: str | None = Field(alias="host_name")
    note: str
    actor: str
    created_at: datetime


class RolloutOut(Schema):
    number: int
    revision: int = Field(alias="revision.number")
    kind: str = Field(description="create, edit, rollback or restart")
    state: str = Field(description="running, done, failed (gone back by itself) or superseded (another change came)")
    reason: str = Field(description="why it failed")
    actor: str
    started_at: datetime
    ended_at: datetime | None


class StartOut(Schema):
    """One way of a replica from its place to its first answer."""

    replica_ordinal: int = Field(alias="replica", description="the replica's number in its deployment")
    revision: int | None
    began_at: datetime
    phases: list[tuple[str, float]] = Field(description="state and seconds in it")
    total_s: float
    ended: str = Field(description="ready, or what came instead; empty while it is in progress")


class GrantIn(Schema):
    team: str = Field(max_length=40, description="the other team's slug")


class GrantOut(Schema):
    team: str = Field(alias="team.slug")
    actor: str
    created_at: datetime


class PresetIn(Schema):
    name: str = Field(min_length=1, max_length=60)
    engine: str = Field(engines.names()[0], max_length=20)
    options: dict[str, Any]
    team: str | None = Field(None, description="the team's slug; default: your first team")


class PresetOut(Schema):
    key: str
    engine: str
    name: str
    about: str
    options: dict[str, Any]
    team: str = Field(description="empty: one of Modelyard's own")
