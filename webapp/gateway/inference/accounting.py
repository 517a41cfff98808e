"""What is kept of a finished exchange: numbers for operators, a record for the bill, a line for the search."""

from collections.abc import Callable
from functools import partial

from webapp.gateway.inference import metering
from webapp.gateway.inference.finished import Finished
from webapp.gateway.inference.metering import Meter
from webapp.gateway.ledger.access_log import LoggedRequest
from webapp.gateway.ledger.ledger import Ledger
from webapp.gateway.ledger.records import AccessLine, UsageRecord
from webapp.gateway.routing.credentials import Principal
from webapp.gateway.routing.directory import Deployment

_MS = 1000.0


def write_down(exchange: Finished, ledger: Ledger, meter: Meter, outcome: str, status: int, error: str | None) -> None:
    """Usage is recorded only for a known deployment: a wrong key or a wrong name costs nobody anything."""
    deployment, principal = exchange.deployment, exchange.principal
    duration_s = exchange.duration_s()
    if deployment is None or principal is None:
        ledger.metrics.refused[error or outcome] += 1
        ledger.access_log.add(_access_line(exchange, outcome, status, error, duration_s))
        return
    record = _usage_record(exchange, principal, deployment, outcome, status, duration_s)
    if metering.is_plain(exchange, record, deployment.entry.context_length):
        _file(exchange, ledger, deployment, record, error, duration_s)
    else:
        file = partial(_file, exchange, ledger, deployment, record, error, duration_s)
        _count(exchange, meter, record, file)


def _count(exchange: Finished, meter: Meter, record: UsageRecord, file: Callable[[], None]) -> None:
    """Have what the engine did not tell counted before the record is filed."""
    question = metering.question_about(exchange, record)
    if question is None:
        file()
    else:
        meter.count(question, record, exchange.replica, file)


def _file(
    exchange: Finished,
    ledger: Ledger,
    deployment: Deployment,
    record: UsageRecord,
    error: str | None,
    duration_s: float,
) -> None:
    """The record is complete: count it and pass it on."""
    reply, tally = exchange.reply, ledger.metrics.tallies[deployment.label]
    tally.requests[record.endpoint, record.status, record.outcome] += 1
    tally.duration.observe(duration_s)
    if reply is not None and reply.first_byte_at:
        tally.count_answer(reply.first_byte_at - exchange.started_at)
    tally.count_tokens(record.prompt_tokens, record.completion_tokens)
    ledger.journal.add(record)
    ledger.access_log.add_request(LoggedRequest(exchange.front.client_json, exchange.target.path_json, error, record))


def _usage_record(
    exchange: Finished, principal: Principal, deployment: Deployment, outcome: str, status: int, duration_s: float
) -> UsageRecord:
    """Positional, in the record's order: keywords would cost a microsecond."""
    reply, parsed, replica = exchange.reply, exchange.parsed, exchange.replica
    ttft_ms = max_gap_ms = None
    if reply is None:
        prompt_tokens = completion_tokens = None
    else:
        prompt_tokens, completion_tokens = reply.prompt_tokens, reply.completion_tokens
        if reply.first_byte_at:
            ttft_ms = _rounded(reply.first_byte_at - exchange.started_at)
        if reply.max_gap_s:
            max_gap_ms = _rounded(reply.max_gap_s)
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
        parsed is not None and parsed.stream,
        prompt_tokens,
        completion_tokens,
        "none" if reply is None else reply.counted_by,
        ttft_ms,
        _rounded(duration_s),
        max_gap_ms,
        0 if reply is None else reply.bytes_out,
    )


def _access_line(exchange: Finished, outcome: str, status: int, error: str | None, duration_s: float) -> AccessLine:
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
