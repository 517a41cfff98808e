"""What a deployment allows and can do, held against one request: refused, changed, or passed on with a warning."""

from typing import Any

import msgspec

from webapp.gateway.http.errors import Problem
from webapp.gateway.inference.request_body import Known, members_of
from webapp.gateway.routing.snapshot import DeploymentEntry

_CONVERSATIONS = {"chat/completions": "messages", "messages": "messages", "responses": "input"}
# By endpoint: how a request limits its answer. Engines heed other spellings, too, each engine and version its own.
_MAX_TOKENS = {
    "chat/completions": "max_tokens",
    "completions": "max_tokens",
    "messages": "max_tokens",
    "responses": "max_output_tokens",
}
# Where `n` asks for several answers.
_CHOOSING = frozenset(("chat/completions", "completions"))
_SPELLINGS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict")
_MAX_CHOICES = 4096
_UNSET = msgspec.UNSET
_BRACE = b"{"

_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode = msgspec.json.Decoder().decode


class Ruled(msgspec.Struct, gc=False):
    """The body to go on with, how many answers to how many prompts it asks for, and header lines for the client."""

    body: bytes
    choices: int = 1
    prompts: int = 1
    warnings: bytes = b""


def is_plain(known: Known, entry: DeploymentEntry) -> bool:
    """Whether no rule has anything to say: asked once for every request, and true for nearly all."""
    return (
        known.messages is not _UNSET
        and memoryview(known.messages)[1:2] == _BRACE
        and known.tools is _UNSET
        and known.functions is _UNSET
        and known.n is _UNSET
        and known.prompt is _UNSET
        and known.input is _UNSET
        and entry.max_tokens_limit is None
        and entry.max_tokens_default is None
    )


def apply(endpoint: str, known: Known, entry: DeploymentEntry, body: bytes) -> Ruled:
    """Raises Problem 400 for what this deployment cannot do."""
    _check_conversation(endpoint, known)
    has_tools = _has_members(known.tools) or _has_members(known.functions)
    if has_tools and entry.tools is False and not _wants_no_tools(known.tool_choice):
        message = f"this model cannot call tools: the chat template of '{entry.name}' has no place for them"
        raise Problem(400, "tools_not_supported", message, param="tools")
    ruled = Ruled(body)
    if known.n is not msgspec.UNSET and endpoint in _CHOOSING:
        ruled.choices = max(1, min(_whole(known.n) or 1, _MAX_CHOICES))
    if endpoint == "completions" and known.prompt is not msgspec.UNSET:
        ruled.prompts = _count_prompts(known.prompt)
    if entry.max_tokens_default is not None or entry.max_tokens_limit is not None:
        _limit_answer(endpoint, entry, ruled)
    if ignored := entry.ignored_members.get(endpoint):
        _warn_of_ignored(ignored, known, entry, ruled, has_tools)
    return ruled


def _check_conversation(endpoint: str, known: Known) -> None:
    name = _CONVERSATIONS.get(endpoint)
    if name is None:
        return
    raw = known.input if name == "input" else known.messages
    if raw is not msgspec.UNSET and not _has_members(raw) and _bytes(raw).startswith(b"["):
        # An engine would go on from nothing until its context is full.
        message = f"Invalid '{name}': empty array. Expected an array with minimum length 1."
        raise Problem(400, "empty_array", message, param=name)


def _limit_answer(endpoint: str, entry: DeploymentEntry, ruled: Ruled) -> None:
    """Put in the deployment's own number where none is asked for, and lower what is above its limit."""
    usual = _MAX_TOKENS.get(endpoint)
    if usual is None:
        return
    members, limit = members_of(ruled.body), entry.max_tokens_limit
    asked = {name: raw for name in _SPELLINGS if (raw := members.get(name)) is not None and _bytes(raw) != b"null"}
    lowered, least = [], limit
    if limit is not None:
        for name, raw in asked.items():
            number = _whole(raw)
            if number is None:
                raise Problem(400, "invalid_type", f"'{name}' has to be a whole number of tokens", param=name)
            # Below zero is without end to llama.cpp.
            if not 0 <= number <= limit:
                members[name] = _number(limit)
                lowered.append(name)
            elif least is not None:
                least = min(least, number)
    added = least
    if not asked:
        added = min(n for n in (entry.max_tokens_default, limit) if n is not None)
    # An engine that overlooks the spelling that was taken would answer without a limit.
    if added is not None and usual not in asked:
        members[usual] = _number(added)
        ruled.body = msgspec.json.encode(members)
    elif lowered:
        ruled.body = msgspec.json.encode(members)
    if lowered:
        ruled.warnings += _warning(f"{', '.join(lowered)} lowered to {limit}, the most that this deployment allows")


def _warn_of_ignored(ignored: list[str], known: Known, entry: DeploymentEntry, ruled: Ruled, has_tools: bool) -> None:
    for name in ignored:
        if name == "tool_choice":
            if has_tools and _forces_a_tool(known.tool_choice):
                ruled.warnings += _warning(f"tool_choice is not enforced by {entry.engine}: the answer may be text")
        elif b'"%b"' % name.encode() in ruled.body and _bytes(members_of(ruled.body).get(name, b"null")) != b"null":
            ruled.warnings += _warning(f"{name} is ignored by {entry.engine}")


def _wants_no_tools(raw: msgspec.Raw | msgspec.UnsetType) -> bool:
    """OpenAI: "none"; Anthropic: {"type": "none"}."""
    value = None if raw is msgspec.UNSET else _read(raw)
    return (value.get("type") if isinstance(value, dict) else value) == "none"


def _forces_a_tool(raw: msgspec.Raw | msgspec.UnsetType) -> bool:
    """OpenAI: "required" or a named function; Anthropic: {"type": "any"} or {"type": "tool", ...}."""
    if raw is msgspec.UNSET:
        return False
    value = _read(raw)
    if isinstance(value, dict):
        return value.get("type") not in ("auto", "none")
    return isinstance(value, str) and value == "required"


def _warning(text: str) -> bytes:
    return b"x-modelyard-warning: %b\r\n" % text.encode()


def _count_prompts(raw: msgspec.Raw | msgspec.UnsetType) -> int:
    """A text or a list of token numbers is one prompt, a list of those is as many."""
    data = _bytes(raw)
    if not data.startswith(b"[") or data[1:].lstrip()[:1] not in (b'"', b"["):
        return 1
    try:
        return min(max(1, len(_decode_list(data))), _MAX_CHOICES)
    except (msgspec.MsgspecError, RecursionError):
        return 1


def _has_members(raw: msgspec.Raw | msgspec.UnsetType) -> bool:
    """Whether it is a list or an object with something in it."""
    if raw is msgspec.UNSET:
        return False
    data = _bytes(raw)
    return data[:1] in (b"[", b"{") and bool(data[1:-1].strip())


def _whole(raw: msgspec.Raw | msgspec.UnsetType) -> int | None:
    value = _read(raw)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) > 2**53:
        return None
    return int(value)


def _number(value: int) -> msgspec.Raw:
    return msgspec.Raw(b"%d" % value)


def _read(raw: Any) -> Any:
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _bytes(raw: Any) -> bytes:
    return bytes(raw).strip()
