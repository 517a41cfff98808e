"""What a request used where its engine did not say, or said what cannot be: counted, or estimated and marked as such.

An engine tells the usage of an answer at its end, so a request that was cut has none; some tell that of one choice of
several. Then the engine is asked to count, beside what it serves. Nothing here is on the way of an ordinary request.
"""

import asyncio
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

import msgspec

from webapp.gateway.http.whole_answer import NoAnswer, ask
from webapp.gateway.inference.document_reply import DocumentReply
from webapp.gateway.inference.finished import Finished
from webapp.gateway.inference.request_body import ParsedRequest
from webapp.gateway.inference.stream_reply import StreamReply
from webapp.gateway.ledger import records
from webapp.gateway.ledger.records import UsageRecord
from webapp.gateway.routing.replicas import Replica

GENERATING = frozenset(("chat/completions", "completions", "messages", "responses"))
_PROMPT_MEMBERS = {"completions": "prompt", "embeddings": "input"}
TOKENIZE = "/tokenize"
COUNT_WITHIN_S = 5.0
_AT_ONCE = 16
_MOST_WAITING = 256  # each keeps its request and its answer
_ALL_BUT = 0.9
_MOST_TEXTS = 64
_MOST_ANSWER_BYTES = 16 * 1024 * 1024
# A usual text has about as many bytes in a token.
BYTES_PER_TOKEN = 4
# What a chat template and pictures behind short addresses may add to what was sent.
_BEYOND_BODY = 65_536
# Answers of engines that count without a limit of their own.
_MOST_TOKENS = 100_000_000
_SILENT_EVENTS = 16
# Of an answer that was cut an engine may have told no more than what it began with.
_SILENT_EVENTS_OF_CUT = 4
_OK = records.OK

_decode = msgspec.json.Decoder().decode


class Unit(msgspec.Struct):
    """A text, or tokens already. `more`: tokens beside those of the text."""

    text: str = ""
    tokens: int = 0
    more: int = 0
    is_estimate: bool = False


class Question(msgspec.Struct):
    """What is to be counted of one request. `body` is what the engine got; empty when it was too large to be kept."""

    endpoint: str
    body: bytes
    body_bytes: int
    model: str
    counter: str
    counts_prompt: bool
    choices: list[Unit] = []
    most_prompt_tokens: int = _MOST_TOKENS


def is_plain(exchange: Finished, record: UsageRecord, most: int | None) -> bool:
    """Whether the engine's own count stands as it is, without a closer look: true for nearly all requests. `most`: what
    its context holds."""
    reply, parsed, prompt, completion = exchange.reply, exchange.parsed, record.prompt_tokens, record.completion_tokens
    return (
        reply is not None
        and parsed is not None
        and prompt is not None
        and completion is not None
        and record.outcome == _OK
        and parsed.choices == 1 == parsed.prompts
        # A token is hardly ever less than a byte.
        and 0 <= prompt <= parsed.sent_bytes
        and reply.events_seen <= 4 * completion + _SILENT_EVENTS
        and 0 <= completion <= reply.bytes_out
        and (most is None or completion <= most >= prompt)
    )


def question_about(exchange: Finished, record: UsageRecord) -> Question | None:
    """What is left to be counted; None nearly always. Numbers that cannot be are taken out of the record."""
    reply, deployment, parsed = exchange.reply, exchange.deployment, exchange.parsed
    assert deployment is not None
    if not exchange.was_sent or parsed is None:
        return None
    entry, endpoint = deployment.entry, record.endpoint
    if parsed.choices > 1 and entry.usage_per_choice and record.prompt_tokens and record.stream:
        # It was told once for each choice, and added up.
        record.prompt_tokens //= parsed.choices
    prompts, choices = parsed.prompts, parsed.prompts * parsed.choices
    _drop_nonsense(reply, parsed, record, (entry.context_length or _MOST_TOKENS) * choices)
    counts_prompt = record.prompt_tokens is None and (endpoint in GENERATING or endpoint in _PROMPT_MEMBERS)
    if record.outcome not in (records.OK, records.CLIENT_GONE):
        # Whoever leaves while the engine works is told nothing, and the engine has read the prompt all the same.
        counts_prompt = counts_prompt and reply is not None and reply.has_written
    units: list[Unit] = []
    if record.outcome == records.OK and isinstance(reply, DocumentReply) and endpoint in GENERATING:
        if record.completion_tokens is None:
            document = reply.document()
            whole = Unit(tokens=reply.bytes_out // BYTES_PER_TOKEN, is_estimate=True)
            units = _choices(document) if document else [whole]
        elif entry.usage_per_choice and choices > 1:
            units = _choices(reply.document())
            counts_prompt = counts_prompt or prompts > 1
    if not counts_prompt and not units:
        return None
    counter = entry.token_counters.get(endpoint, "")
    most = entry.context_length * prompts if entry.context_length and endpoint in GENERATING else _MOST_TOKENS
    return Question(
        endpoint, parsed.kept, parsed.sent_bytes, deployment.upstream_model, counter, counts_prompt, units, most
    )


def _drop_nonsense(
    reply: DocumentReply | StreamReply | None, parsed: ParsedRequest, record: UsageRecord, most: int
) -> None:
    """Take out what no engine can have counted: what was seen takes its place."""
    prompt, completion = record.prompt_tokens, record.completion_tokens
    most_prompt = parsed.sent_bytes + _BEYOND_BODY
    if record.endpoint in GENERATING:  # elsewhere one request holds any number of texts
        most_prompt = min(most, most_prompt)
    if prompt is not None and not 0 <= prompt <= most_prompt:
        record.prompt_tokens = None
    if completion is None or reply is None:
        return
    seen, silent = reply.events_seen, _SILENT_EVENTS if record.outcome == _OK else _SILENT_EVENTS_OF_CUT
    if not 0 <= completion <= most or seen > 4 * completion + silent:
        record.completion_tokens = seen if reply.is_stream else None
        record.counted_by = "gateway"


def _choices(document: bytes) -> list[Unit]:
    """The texts of an answer's choices. An end that the model chose was a token, too."""
    found = _read(document)
    if not isinstance(found, dict):
        return []
    choices = found.get("choices")
    if isinstance(choices, list):
        return [_choice(one) for one in choices if isinstance(one, dict)]
    texts = found.get("content") or found.get("output")
    return [Unit(text=_texts(texts))] if texts else []


def _choice(choice: dict[str, Any]) -> Unit:
    message = choice.get("message")
    text = _texts([message] if isinstance(message, dict) else choice.get("text"))
    return Unit(text=text, more=int(choice.get("finish_reason") == "stop"))


def _texts(found: Any) -> str:
    """All that a model wrote in there: text, thoughts, arguments of calls."""
    if isinstance(found, str):
        return found
    if isinstance(found, list):
        return "".join(map(_texts, found))
    if isinstance(found, dict):
        wanted = ("content", "reasoning_content", "text", "thinking", "name", "arguments", "input", "tool_calls")
        return "".join(_texts(found[name]) for name in (*wanted, "function") if name in found)
    return ""


class Meter:
    """Asks engines to count. A record waits for that, and is written with an estimate when no count comes."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()
        # Somebody who opens and leaves streams all the time shall not keep engines busy with counting.
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def count(self, question: Question, record: UsageRecord, replica: Replica | None, then: Callable[[], None]) -> None:
        """Complete the record, then call `then`: now, with an estimate, when very many wait already."""
        if len(self._running) >= _MOST_WAITING:
            _estimate(question, record)
            then()
            return
        task = asyncio.get_running_loop().create_task(self._count(question, record, replica, then))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Every record is complete."""
        if self._running:
            await asyncio.wait(self._running, timeout=2 * COUNT_WITHIN_S)

    async def _count(
        self, question: Question, record: UsageRecord, replica: Replica | None, then: Callable[[], None]
    ) -> None:
        is_counted = False
        try:
            async with asyncio.timeout(COUNT_WITHIN_S), self._turns:
                is_counted = True
                if question.counts_prompt:
                    record.prompt_tokens, is_counted = await _prompt(question, replica)
                if question.choices:
                    tokens, is_exact = await _answer(question, record.completion_tokens or 0, replica)
                    record.completion_tokens = tokens
                    is_counted = is_counted and is_exact
        except TimeoutError:
            is_counted = False
        finally:
            _estimate(question, record)
            if is_counted:
                record.counted_by = "gateway"
            then()


def _estimate(question: Question, record: UsageRecord) -> None:
    """Fill in what nobody has counted."""
    if question.counts_prompt and record.prompt_tokens is None:
        record.prompt_tokens = _estimated_prompt(question)
    if question.choices and record.completion_tokens is None:
        record.completion_tokens = sum(map(_estimated, question.choices))
    record.counted_by = "estimate"


async def _answer(question: Question, told: int, replica: Replica | None) -> tuple[int, bool]:
    """(tokens of all choices, whether counted). `told` is the engine's count of the first, or of all of them."""
    first, is_first_counted = await _sum(question.choices[:1], question.model, replica, has_start=False)
    others, is_counted = await _sum(question.choices[1:], question.model, replica, has_start=False)
    # Text cut into tokens anew can differ a little from the tokens that it was made of.
    if told and told >= _ALL_BUT * (first + others):
        return told, True
    return (told or first) + others, is_counted and is_first_counted


async def _prompt(question: Question, replica: Replica | None) -> tuple[int, bool]:
    """(tokens, whether they were counted)"""
    try:
        if not question.body or not question.counter or replica is None:
            raise NoAnswer
        member = _PROMPT_MEMBERS.get(question.endpoint)
        if member is None:
            return _count_in(await _post(replica, question.counter, question.body)), True
        units = _prompts(_read(question.body), member)
        tokens, is_counted = await _sum(units, question.model, replica, has_start=True)
        return tokens, is_counted
    except (NoAnswer, OSError):
        return _estimated_prompt(question), False


def _estimated_prompt(question: Question) -> int:
    return min(question.body_bytes // BYTES_PER_TOKEN, question.most_prompt_tokens)


def _estimated(unit: Unit) -> int:
    return unit.tokens + unit.more + len(unit.text.encode(errors="replace")) // BYTES_PER_TOKEN


def _prompts(body: Any, member: str) -> list[Unit]:
    """A text, tokens, or a list of either."""
    found = body.get(member) if isinstance(body, dict) else None
    if isinstance(found, str):
        return [Unit(text=found)]
    if not isinstance(found, list):
        raise NoAnswer
    if all(isinstance(one, int) for one in found):
        return [Unit(tokens=len(found))]
    return [Unit(text=one) if isinstance(one, str) else Unit(tokens=len(one)) for one in found if _is_prompt(one)]


def _is_prompt(one: Any) -> bool:
    return isinstance(one, str | list)


async def _sum(units: Iterable[Unit], model: str, replica: Replica | None, has_start: bool) -> tuple[int, bool]:
    """Tokens of all of them, and whether every text was counted. Beyond so many texts the rest is estimated."""
    total, is_counted = 0, True
    for number, unit in enumerate(units):
        total += unit.tokens + unit.more
        is_counted = is_counted and not unit.is_estimate
        if not unit.text:
            continue
        try:
            if number >= _MOST_TEXTS or replica is None:
                raise NoAnswer
            # llama.cpp calls the text content, vLLM prompt.
            asked: dict[str, Any] = {"model": model, "content": unit.text, "prompt": unit.text}
            asked |= {"add_special": has_start, "add_special_tokens": has_start}
            total += _count_in(await _post(replica, TOKENIZE, msgspec.json.encode(asked)))
        except (NoAnswer, OSError):
            total += _estimated(unit) - unit.tokens - unit.more
            is_counted = False
    return total, is_counted


async def _post(replica: Replica, path: str, body: bytes) -> bytes:
    """The engine's answer. Raises NoAnswer, OSError."""
    head = b"POST %b HTTP/1.1\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    request = head % (path.encode(), replica.host_header, len(body)) + body
    pooled = replica.pool.take(monotonic())
    try:
        if pooled is None:
            raise NoAnswer
        status, answer = await ask(pooled, request, _MOST_ANSWER_BYTES)
    except NoAnswer:
        # A kept connection may have been closed meanwhile; counting twice costs nothing.
        status, answer = await ask(await replica.pool.open(COUNT_WITHIN_S), request, _MOST_ANSWER_BYTES)
    if status != 200:
        raise NoAnswer(f"it answered {status}")
    return answer


def _count_in(answer: bytes) -> int:
    """llama.cpp: input_tokens, or the tokens themselves; vLLM: count."""
    found = _read(answer)
    if isinstance(found, dict):
        for name in ("input_tokens", "count"):
            value = found.get(name)
            if isinstance(value, int) and 0 <= value <= _MOST_TOKENS:
                return value
        if isinstance(found.get("tokens"), list):
            return len(found["tokens"])
    raise NoAnswer("it did not count")


def _read(document: bytes) -> Any:
    try:
        return _decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
