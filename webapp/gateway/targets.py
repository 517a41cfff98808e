"""What a request target means: inference, the list of models, a path nobody may reach, or web's."""

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from urllib.parse import parse_qsl, unquote_to_bytes

from webapp.gateway.records import json_text

ENDPOINTS = frozenset(
    (
        "chat/completions",
        "completions",
        "embeddings",
        "rerank",
        "score",
        "responses",
        "audio/transcriptions",
        "audio/translations",
        "messages",
        "messages/count_tokens",
        "tokenize",
        "detokenize",
    )
)
# Engines serve these two outside /v1 (vLLM, SGLang and llama.cpp alike).
_OUTSIDE_V1 = frozenset(("tokenize", "detokenize"))
_KEYS_IN_QUERY = frozenset(
    ("api_key", "api-key", "apikey", "key", "x-api-key", "access_token", "token", "authorization")
)


class Kind(Enum):
    INFERENCE = "inference"
    MODELS = "models"
    UNKNOWN_ENDPOINT = "unknown endpoint"
    HIDDEN = "hidden"
    WEB = "web"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Target:
    """`endpoint` is the path below /v1/; `team` and `deployment` are set for /d/<team>/<deployment>/v1/."""

    kind: Kind
    path: str
    endpoint: str = ""
    team: str | None = None
    deployment: str | None = None
    carries_key: bool = False
    engine_path: bytes = b""
    path_json: bytes = b""


@lru_cache(maxsize=1024)
def classify(raw: bytes) -> Target:
    """Decide by the request target alone. Pure, and remembered: clients use few targets."""
    raw_path, _, query = raw.partition(b"?")
    if not raw_path.startswith(b"/"):
        return Target(Kind.MALFORMED, "")
    path = raw_path.decode("latin-1")
    team, deployment, below = _split(path)
    if below is None:
        return Target(Kind.HIDDEN if _is_internal(raw_path) else Kind.WEB, path)
    kind = _inference_kind(below)
    endpoint = below if kind is not Kind.UNKNOWN_ENDPOINT else ""
    engine_path = ("/" if endpoint in _OUTSIDE_V1 else "/v1/") + endpoint
    path_json = json_text(path[:500])
    return Target(kind, path, endpoint, team, deployment, _carries_key(query), engine_path.encode("latin-1"), path_json)


def _split(path: str) -> tuple[str | None, str | None, str | None]:
    """(team, deployment, what is below /v1/); the last is None when the path is not the gateway's own."""
    if path == "/v1" or path.startswith("/v1/"):
        return None, None, path[4:]
    parts = path.split("/", 5)
    if len(parts) >= 5 and parts[1] == "d" and parts[4] == "v1":
        return parts[2], parts[3], parts[5] if len(parts) == 6 else ""
    return None, None, None


def _inference_kind(below: str) -> Kind:
    if below in ENDPOINTS:
        return Kind.INFERENCE
    if below == "models" or (below.startswith("models/") and len(below) > len("models/")):
        return Kind.MODELS
    return Kind.UNKNOWN_ENDPOINT


def _carries_key(query: bytes) -> bool:
    names = (name.lower() for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    return any(name in _KEYS_IN_QUERY for name in names)


def _is_internal(raw_path: bytes) -> bool:
    """Whether web could read this path as /internal/...: it decodes escapes, so they are decoded here first."""
    decoded = raw_path
    for _ in range(3):
        decoded = unquote_to_bytes(decoded)
    segments: list[bytes] = []
    for segment in decoded.replace(b"\\", b"/").split(b"/"):
        if segment == b"..":
            del segments[-1:]
        elif segment not in (b"", b"."):
            segments.append(segment)
    literal_first = next((part for part in decoded.split(b"/") if part not in (b"", b".")), b"")
    return b"internal" in (literal_first.strip().lower(), segments[0].strip().lower() if segments else b"")
