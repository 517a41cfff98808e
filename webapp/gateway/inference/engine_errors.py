"""Engines' error bodies, five shapes of them, made into one (reference: the engines' own sources)."""

import re
from typing import Any

import msgspec

from webapp.gateway.http.errors import CLIENT, ENGINE, Problem, blamed, retry_after
from webapp.gateway.inference import engine_advice

_MAX_MESSAGE = 2000
_MAX_BODY_BYTES = 64 * 1024

# llama.cpp, tools/server/server-context.cpp and server-common.cpp; some of it comes as a 500.
_BATCH_TOO_SMALL = re.compile(r"input \((\d+) tokens\) is too large to process.*current batch size: (\d+)", re.DOTALL)
_NO_SUCH_INPUT = re.compile(r"(image|audio|video) input is not supported")
_TOO_MANY_CHOICES = re.compile(r"Field 'n': Value must be between 1 <= value <= (\d+), but got (-?[\d.]+)")
_UNREADABLE = re.compile(r"(Failed to parse (?:tools|messages): |Unknown reasoning format: )")
# vLLM: renderers/params.py, entrypoints/serve/utils/api_utils.py, multimodal/processing/context.py and registry.py.
_CONTEXT_LENGTH = re.compile(r"maximum context length (?:is \d+|\(\d+\))|exceeds the max_model_len \d+")
_NO_PICTURES = re.compile(r"is not a multimodal model|At most 0 (\w+)\(s\) may be provided")


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
    known = _known_mistake(status, message, document)
    if known is not None:
        return known
    headers = retry_after(5) if status in (429, 503) else b""
    message = engine_advice.followable(message)
    source = CLIENT if blamed(status) == CLIENT else ENGINE
    return Problem(status, code or "engine_error", message, type=kind, param=param, source=source, headers=headers)


def _known_mistake(status: int, message: str, document: Any) -> Problem | None:
    """A client's mistake that engines tell in words of their own, in those of OpenAI's API; None for all else."""
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        limit, tokens = error.get("n_ctx"), error.get("n_prompt_tokens")
        if isinstance(limit, int) and isinstance(tokens, int):
            return _too_long(f"This model's maximum context length is {limit} tokens", tokens)
    if found := _BATCH_TOO_SMALL.search(message):
        return _too_long(f"This model takes {found[2]} tokens of input in one pass", int(found[1]))
    if status == 400 and _CONTEXT_LENGTH.search(message):
        return Problem(400, "context_length_exceeded", message)
    if found := _TOO_MANY_CHOICES.search(message):
        text = f"'n' has to be from 1 to {found[1]}, not {found[2]}: every choice takes one of the engine's slots"
        return Problem(400, "invalid_value", text, param="n")
    if found := _NO_SUCH_INPUT.search(message):
        return _cannot_take(found[1])
    if found := _NO_PICTURES.search(message):
        return _cannot_take(found[1] or "image")
    if status == 501:
        return Problem(
            404, "endpoint_not_offered", f"The engine does not serve this: {engine_advice.followable(message)}"
        )
    if status == 500 and _UNREADABLE.match(message):
        return Problem(400, "invalid_value", message)
    return None


def _too_long(limit: str, tokens: int) -> Problem:
    text = f"{limit}. However, your request resulted in {tokens} tokens. Please reduce its length."
    return Problem(400, "context_length_exceeded", text)


def _cannot_take(kind: str) -> Problem:
    text = f"this model takes no {kind} input. Send text; /v1/models says what each model takes"
    return Problem(400, "input_not_supported", text)


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
