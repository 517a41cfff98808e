"""What a request target means: inference, the list of models, a path nobody may reach, or web's."""

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

from webapp.gateway.http.json_text import json_text
from webapp.gateway.routing import wrong_paths

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
    """`endpoint` is the path below /v1/; `team` and `deployment` are set for /d/<team>/<deployment>/v1/. `model` is the
    one that /v1/models/<model> asks for; `right_path` is what an unknown endpoint should have been."""

    kind: Kind
    path: str
    endpoint: str = ""
    team: str | None = None
    deployment: str | None = None
    carries_key: bool = False
    engine_path: bytes = b""
    path_json: bytes = b""
    model: str = ""
    right_path: str = ""

    @property
    def is_own(self) -> bool:
        """Whether the gateway itself answers it, in the words of the API."""
        return self.kind in _OWN


_OWN = frozenset((Kind.INFERENCE, Kind.MODELS, Kind.UNKNOWN_ENDPOINT))


@lru_cache(maxsize=1024)
def classify(raw: bytes) -> Target:
    """Decide by the request target alone. Pure, and remembered: clients use few targets."""
    raw_path, _, query = raw.partition(b"?")
    if not raw_path.startswith(b"/"):
        return Target(Kind.MALFORMED, "")
    path = raw_path.decode("latin-1")
    team, deployment, below = _split(path)
    path_json = json_text(path[:500])
    if below is None:
        if _is_internal(raw_path):
            return Target(Kind.HIDDEN, path)
        right_path = wrong_paths.right_address(raw_path)
        kind = Kind.UNKNOWN_ENDPOINT if right_path else Kind.WEB
        return Target(kind, path, path_json=path_json, right_path=right_path)
    below = below.rstrip("/")
    kind = _inference_kind(below)
    carries_key = _carries_key(query)
    if kind is Kind.UNKNOWN_ENDPOINT:
        right_path = wrong_paths.right_address(raw_path)
        return Target(kind, path, "", team, deployment, carries_key, path_json=path_json, right_path=right_path)
    engine_path = ("/" if below in _OUTSIDE_V1 else "/v1/") + below
    model = _decoded(below.removeprefix("models/")) if kind is Kind.MODELS and below != "models" else ""
    return Target(
        kind, path, below, team, deployment, carries_key, engine_path.encode("latin-1"), path_json, model=model
    )


def _split(path: str) -> tuple[str | None, str | None, str | None]:
    """(team, deployment, what is below /v1/); the last is None when the path is not the gateway's own."""
    if path == "/v1" or path.startswith("/v1/"):
        return None, None, path[4:]
    parts = path.split("/", 5)
    if len(parts) >= 5 and parts[1] == "d" and parts[4] == "v1":
        return _decoded(parts[2]), _decoded(parts[3]), parts[5] if len(parts) == 6 else ""
    return None, None, None


def _decoded(segment: str) -> str:
    """A name in a path, its escapes read once; what is not UTF-8 is nobody's name."""
    return unquote(segment.encode("latin-1").decode(errors="replace"))


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
