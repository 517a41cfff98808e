"""What is kept of a finished exchange: numbers for operators, a record for the bill, a line for the search."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from webapp.gateway.credentials import Principal
from webapp.gateway.directory import Deployment
from webapp.gateway.records import AccessLine, UsageRecord
from webapp.gateway.replicas import Replica
from webapp.gateway.reply import Reply
from webapp.gateway.targets import Target

if TYPE_CHECKING:
    from webapp.gateway.state import State


class Story(NamedTuple):
    """Everything that was known when an exchange ended. Times in seconds; `at` is wall time, the others monotonic."""

    record_id: str
    request_id: str
    at: float
    started_at: float
    duration_s: float
    client: str
    method: bytes
    target: Target
    principal: Principal | None
    deployment: Deployment | None
    replica: Replica | None
    reply: Reply | None
    is_stream: bool
    outcome: str
    status: int
    error: str | None


def write_down(story: Story, state: State) -> None:
    """Usage is recorded only for a known deployment: a wrong key or a wrong name costs nobody anything."""
    deployment = story.deployment
    if deployment is None or story.principal is None:
        state.metrics.refused[story.error or story.outcome] += 1
    else:
        ttft_s = _time_to_first_token(story)
        _count(story, deployment.label, ttft_s, state)
        state.journal.add(_usage_record(story, story.principal, deployment, ttft_s))
    state.access_log.add(_access_line(story))


def _time_to_first_token(story: Story) -> float | None:
    reply = story.reply
    return None if reply is None or not reply.first_byte_at else reply.first_byte_at - story.started_at


def _count(story: Story, label: str, ttft_s: float | None, state: State) -> None:
    metrics, reply = state.metrics, story.reply
    metrics.finished(label, story.target.endpoint, story.status, story.outcome, story.duration_s)
    if ttft_s is not None:
        metrics.ttft[label].observe(ttft_s)
    if reply is not None:
        metrics.prompt_tokens[label] += reply.prompt_tokens or 0
        metrics.completion_tokens[label] += reply.completion_tokens or 0


def _usage_record(story: Story, principal: Principal, deployment: Deployment, ttft_s: float | None) -> UsageRecord:
    reply = story.reply
    return UsageRecord(
        id=story.record_id,
        at=story.at,
        key=principal.key,
        user=principal.user,
        team=principal.team,
        deployment=deployment.id,
        replica=None if story.replica is None else story.replica.id,
        endpoint=story.target.endpoint,
        request_id=story.request_id,
        status=story.status,
        outcome=story.outcome,
        stream=story.is_stream,
        prompt_tokens=None if reply is None else reply.prompt_tokens,
        completion_tokens=None if reply is None else reply.completion_tokens,
        counted_by="none" if reply is None else reply.counted_by,
        ttft_ms=None if ttft_s is None else round(ttft_s * 1000, 3),
        duration_ms=round(story.duration_s * 1000, 3),
        max_gap_ms=None if reply is None or not reply.max_gap_s else round(reply.max_gap_s * 1000, 3),
        bytes_out=0 if reply is None else reply.bytes_out,
    )


def _access_line(story: Story) -> AccessLine:
    return AccessLine(
        at=story.at,
        request_id=story.request_id,
        client=story.client,
        method=story.method.decode("latin-1"),
        path=story.target.path,
        status=story.status,
        duration_ms=round(story.duration_s * 1000, 3),
        bytes_out=0 if story.reply is None else story.reply.bytes_out,
        user=None if story.principal is None else story.principal.user,
        key=None if story.principal is None else story.principal.key,
        deployment=None if story.deployment is None else story.deployment.label,
        replica=None if story.replica is None else story.replica.id,
        outcome=story.outcome,
        error=story.error,
    )
