"""Engines' error bodies, five shapes of them, made into one (reference: the engines' own sources)."""

from typing import Any

import msgspec

from webapp.gateway import engine_advice
from webapp.gateway.errors import ENGINE, Problem, retry_after

_MAX_MESSAGE = 2000
_MAX_BODY_BYTES = 64 * 1024


class EngineRefusal:
    """An engine's answer that is not a success, kept until it is whole: nothing of it goes out as it came."""

    def __init__(self, status: int) -> None:
        self._status = status
        self._pieces: list[bytes] = []
        self._bytes = 0

    def add(self, data: bytes) -> bool:
        """More of its body. False when it is too much to be an explanation."""
        self._pieces.append(data)
        self._bytes += len(data)
        return self._bytes <= _MAX_BODY_BYTES

    def problem(self) -> Problem:
        """What it means to the client."""
        return normalise(self._status, b"".join(self._pieces) if self._bytes <= _MAX_BODY_BYTES else b"")


def normalise(status: int, body: bytes) -> Problem:
    """What an engine's refusal means to the client.

    | shape | engines |
    | {"error": {"message", "type", "param", "code"}} | vLLM, llama.cpp, Ollama, TabbyAPI |
    | {"error": "text"} and {"error": "text", "error_type": "..."} | vLLM's 401, mlx_lm, OVMS; TGI |
    | {"object": "error", "message", "type", ...} | SGLang |
    | {"detail": ...} | FastAPI's own |
    | anything else, or nothing | an engine that is crashing: 502 |
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        document = None
    message, kind, param, code = _read(document)
    if message is None:
        return crashed(f"the engine answered {status} without an error it could explain")
    if status in (401, 403, 407) or 300 <= status < 400:
        # The client's key was good; this is between the gateway and the engine.
        return crashed(f"the engine refused the gateway ({status}): {message}")
    headers = retry_after(5) if status in (429, 503) else b""
    message = engine_advice.followable(message)
    return Problem(status, code or "engine_error", message, type=kind, param=param, source=ENGINE, headers=headers)


def crashed(why: str) -> Problem:
    return Problem(502, "upstream_error", f"The engine failed: {why}"[:_MAX_MESSAGE], source=ENGINE)


def _read(document: Any) -> tuple[str | None, str | None, str | None, str | None]:
    """(message, type, param, code) as far as they are there."""
    if not isinstance(document, dict):
        return None, None, None, None
    error = document.get("error")
    if isinstance(error, dict):
        return _members(error)
    if isinstance(error, str):
        return _text(error), _text(document.get("error_type")), None, None
    if "detail" in document:
        return _detail(document["detail"]), None, None, None
    return _members(document)


def _members(error: dict[str, Any]) -> tuple[str | None, str | None, str | None, str | None]:
    code = error.get("code")
    # vLLM and llama.cpp repeat the status there, which says nothing new.
    code = None if isinstance(code, int) else _text(code)
    return _text(error.get("message")), _text(error.get("type")), _text(error.get("param")), code


def _detail(detail: Any) -> str | None:
    """FastAPI: a text, or a list of {"loc": [...], "msg": "..."}."""
    if isinstance(detail, list):
        parts = [f"{'.'.join(map(str, e.get('loc', [])))}: {e.get('msg')}" for e in detail if isinstance(e, dict)]
        return _text("; ".join(parts))
    return _text(detail)


def _text(value: Any) -> str | None:
    return value[:_MAX_MESSAGE] if isinstance(value, str) and value else None
