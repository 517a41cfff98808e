"""Addresses that programs for other servers use: what each would be called here. Nothing below them is ever served."""

import re
from urllib.parse import quote, unquote_to_bytes

# Endpoints whose last two words no page's address could end with, whatever stands before them.
_TELLING = frozenset(("chat/completions", "audio/transcriptions", "audio/translations", "messages/count_tokens"))
_WORDS = frozenset(
    ("completions", "embeddings", "rerank", "score", "responses", "messages", "tokenize", "detokenize", "models")
)
# Ollama's API, below /api/.
_OLLAMA = {
    "chat": "chat/completions",
    "generate": "completions",
    "embed": "embeddings",
    "embeddings": "embeddings",
    "tags": "models",
    "show": "models",
    "ps": "models",
}
_API = re.compile(r"(?:v\d+(?:beta\d*|alpha\d*)?|openai|engines|inference|d)\Z")
_LIST = "models"


def right_address(raw_path: bytes) -> str:
    """Where a request for inference should have gone; "" for a path that does not look like one."""
    parts = [part for part in unquote_to_bytes(raw_path).decode("latin-1").split("/") if part not in ("", ".")]
    words = [part.lower() for part in parts]
    endpoint = _endpoint(words)
    if not endpoint and not (words and _API.match(words[0])):
        return ""
    base = "/v1/"
    if words[0] == "d":
        base = f"/d/{'/'.join(_deployment(parts))}/v1/"
    return base + (endpoint or _LIST)


def _deployment(parts: list[str]) -> tuple[str, str]:
    """Team and deployment of /d/<team>/<deployment>/... as an address spells them: an alias's slash is %2F there."""
    if len(parts) < 3:
        return "<team>", "<deployment>"
    end = parts.index("v1", 3) if "v1" in parts[3:] else 3
    team, name = parts[1], "/".join(parts[2:end])
    return quote(team[:63].encode("latin-1"), safe=""), quote(name[:200].encode("latin-1"), safe=":")


def _endpoint(words: list[str]) -> str:
    """The endpoint that the words ask for, or ""."""
    tail = "/".join(words[-2:])
    if tail in _TELLING:
        return tail
    if words[:1] == ["api"] and len(words) == 2:
        return _OLLAMA.get(words[1], "")
    if not words or words[-1] not in _WORDS:
        return ""
    if words == [_LIST]:
        return ""  # the page of models
    return words[-1] if len(words) == 1 or _API.match(words[0]) else ""
