"""What is kept of a finished exchange: numbers for operators, a record for the bill, a line for the search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from webapp.gateway.records import AccessLine, UsageRecord, encode_line, json_text

if TYPE_CHECKING:
    from webapp.gateway.credentials import Principal
    from webapp.gateway.directory import Deployment
    from webapp.gateway.exchange import Exchange

_MS = 1000.0


def write_down(exchange: Exchange, outcome: str, status: int, error: str | None) -> None:
    """Usage is recorded only for a known deployment: a wrong key or a wrong name costs nobody anything."""
    state, deployment, principal = exchange.state, exchange.deployment, exchange.principal
    duration_s = exchange.duration_s()
    if deployment is None or principal is None:
        state.metrics.refused[error or outcome] += 1
        state.access_log.add(encode_line(_access_line(exchange, outcome, status, error, duration_s)))
        return
    ttft_s = _count(exchange, deployment, outcome, status, duration_s)
    line = encode_line(_usage_record(exchange, principal, deployment, outcome, status, ttft_s, duration_s))
    state.journal.add(line)
    # The access line is the same record with who asked and what went wrong in front, so it is encoded once.
    client, path = exchange.front.client_json, exchange.target.path_json
    state.access_log.add(b'{"client":%b,"path":%b,"error":%b,%b' % (client, path, json_text(error), line[1:]))


def _count(exchange: Exchange, deployment: Deployment, outcome: str, status: int, duration_s: float) -> float | None:
    """Returns the time to the first token in seconds, if there was one."""
    reply, tally = exchange.reply, exchange.state.metrics.tallies[deployment.label]
    tally.requests[exchange.target.endpoint, status, outcome] += 1
    tally.duration.observe(duration_s)
    if reply is None or not reply.first_byte_at:
        return None
    ttft_s = reply.first_byte_at - exchange.started_at
    tally.ttft.observe(ttft_s)
    tally.prompt_tokens += reply.prompt_tokens or 0
    tally.completion_tokens += reply.completion_tokens or 0
    return ttft_s


def _usage_record(
    exchange: Exchange,
    principal: Principal,
    deployment: Deployment,
    outcome: str,
    status: int,
    ttft_s: float | None,
    duration_s: float,
) -> UsageRecord:
    """Positional, in the record's order: keywords would cost a microsecond."""
    reply, wish, replica = exchange.reply, exchange.wish, exchange.replica
    return UsageRecord(
        exchange.record_id,
        exchange.wall_started_at,
        principal.key,
        principal.user,
        principal.team,
        deployment.id,
        None if replica is None else replica.id,
        exchange.target.endpoint,
        exchange.request_id,
        status,
        outcome,
        wish is not None and wish.stream,
        None if reply is None else reply.prompt_tokens,
        None if reply is None else reply.completion_tokens,
        "none" if reply is None else reply.counted_by,
        None if ttft_s is None else _rounded(ttft_s),
        _rounded(duration_s),
        None if reply is None or not reply.max_gap_s else _rounded(reply.max_gap_s),
        0 if reply is None else reply.bytes_out,
    )


def _access_line(exchange: Exchange, outcome: str, status: int, error: str | None, duration_s: float) -> AccessLine:
    """For a request that never got as far as a deployment."""
    principal = exchange.principal
    return AccessLine(
        client=exchange.front.client,
        path=exchange.target.path,
        error=error,
        at=exchange.wall_started_at,
        method=exchange.request.method.decode("latin-1"),
        request_id=exchange.request_id,
        status=status,
        outcome=outcome,
        duration_ms=_rounded(duration_s),
        user=None if principal is None else principal.user,
        key=None if principal is None else principal.key,
    )


def _rounded(seconds: float) -> float:
    """Milliseconds with three digits; `round` with digits takes several times as long."""
    return int(seconds * 1_000_000) / _MS
