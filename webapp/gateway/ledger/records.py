"""What is written down about a request: one usage record for billing and charts, one access line for operators."""

import itertools
import secrets as random_source
from collections.abc import Sequence

import msgspec

# Ids need to be unique, not unguessable: random digits per process, then a count from a random start. They have the
# form of a random UUID (the 4 and the 8) at a fraction of the cost of making one.
_PREFIX = f"{random_source.token_hex(6)}4{random_source.token_hex(2)[:3]}8{random_source.token_hex(2)[:3]}"
_numbers = itertools.count(random_source.randbits(47))


# How a request ended. Plain words: they are compared and written once per request.
OK = "ok"
CLIENT_GONE = "client_gone"
CLIENT_ERROR = "client_error"
ENGINE_FAILED = "engine_failed"
REFUSED = "refused"
GATEWAY_FAILED = "gateway_failed"


class UsageRecord(msgspec.Struct, gc=False):
    """One request to a known deployment. `at` is unix seconds at its start; web counts each id once."""

    id: str
    at: float
    key: int | None
    user: int
    team: int
    deployment: int
    replica_id: int | None
    endpoint: str
    request_id: str
    status: int
    outcome: str
    stream: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    # "engine", "gateway" (its own count, or the engine's tokenizer's), "estimate" (by size), "none"
    counted_by: str
    ttft_ms: float | None
    duration_ms: float
    max_gap_ms: float | None
    bytes_out: int


class AccessLine(msgspec.Struct, omit_defaults=True, kw_only=True):
    """For what has no usage record. Never a prompt, an answer, a query string or a credential."""

    client: str
    path: str
    error: str | None = None
    at: float
    method: str
    request_id: str
    status: int
    outcome: str | None = None
    duration_ms: float = 0.0
    bytes_out: int = 0
    user: int | None = None
    key: int | None = None


def new_id() -> str:
    """32 hex digits that web can read as a UUID (version 4)."""
    return _PREFIX + next(_numbers).to_bytes(6).hex()


_encoder = msgspec.json.Encoder()


def encode_lines(records: Sequence[msgspec.Struct]) -> bytes:
    """One JSON object a line, the last line ended too. Many at once cost a fraction of one by one."""
    return _encoder.encode_lines(records)
