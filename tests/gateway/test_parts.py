"""The pure pieces, in tables."""

import asyncio
from pathlib import Path

import pytest

from webapp.gateway.http.errors import Problem
from webapp.gateway.inference import multipart
from webapp.gateway.inference.reply_head import ReplyHead
from webapp.gateway.inference.stream_reply import StreamReply
from webapp.gateway.ledger.records import new_id
from webapp.gateway.routing.load_table import LoadTable
from webapp.gateway.routing.targets import Kind, classify


@pytest.mark.parametrize(
    ("raw", "kind", "endpoint"),
    [
        (b"/v1/chat/completions", Kind.INFERENCE, "chat/completions"),
        (b"/v1/chat/completions?x=1", Kind.INFERENCE, "chat/completions"),
        (b"/d/a/b/v1/embeddings", Kind.INFERENCE, "embeddings"),
        (b"/v1/models", Kind.MODELS, "models"),
        (b"/v1/models/org/name", Kind.MODELS, "models/org/name"),
        (b"/d/a/b/v1/models", Kind.MODELS, "models"),
        (b"/v1/models/", Kind.MODELS, "models"),
        (b"/v1/%63hat/completions", Kind.UNKNOWN_ENDPOINT, ""),
        (b"/v1", Kind.UNKNOWN_ENDPOINT, ""),
        (b"/d/a/b/v1", Kind.UNKNOWN_ENDPOINT, ""),
        (b"/d/a/b/c/v1/embeddings", Kind.UNKNOWN_ENDPOINT, ""),
        (b"/d/a/b", Kind.UNKNOWN_ENDPOINT, ""),
        (b"/v11/chat", Kind.UNKNOWN_ENDPOINT, ""),
        (b"/v1x/chat", Kind.WEB, ""),
        (b"/internals", Kind.WEB, ""),
        (b"/a/internal", Kind.WEB, ""),
        (b"/", Kind.WEB, ""),
        (b"internal", Kind.MALFORMED, ""),
        (b"*", Kind.MALFORMED, ""),
        (b"http://x/internal", Kind.MALFORMED, ""),
    ],
)
def test_a_target_means_one_thing(raw: bytes, kind: Kind, endpoint: str) -> None:
    target = classify(raw)
    assert (target.kind, target.endpoint) == (kind, endpoint)


def test_the_load_table_adds_up_over_processes_and_forgets_only_its_own(tmp_path: Path) -> None:
    path = tmp_path / "table"
    first, second = LoadTable(path, 0, 2), LoadTable(path, 1, 2)
    first.cells[first.cell(7)] += 3
    second.cells[second.cell(7)] += 2
    assert first.outstanding(first.cell(7)) == second.outstanding(second.cell(7)) == 5
    assert first.outstanding(first.cell(8)) == 0
    reborn = LoadTable(path, 0, 2)
    assert reborn.outstanding(reborn.cell(7)) == 2


FORM = (
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="a;name=\\"model\\".wav"\r\n'
    b"Content-Type: audio/wav\r\n\r\n\x00\r\n--Bx\r\n\x01\r\n"
    b'--B\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper\r\n'
    b"--B\r\nContent-Disposition: form-data; name=language\r\n\r\n\r\n--B--\r\n"
)
TYPE = b'multipart/form-data; boundary="B"'


def test_a_form_field_is_read_and_replaced() -> None:
    assert multipart.read_field(TYPE, FORM, "model") == "whisper"
    assert multipart.read_field(TYPE, FORM, "language") == ""
    assert multipart.read_field(TYPE, FORM, "prompt") is None
    assert multipart.replace_field(TYPE, FORM, "model", "inner") == FORM.replace(b"whisper", b"inner")
    assert multipart.read_field(TYPE, multipart.replace_field(TYPE, FORM, "prompt", "p"), "prompt") == "p"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (b"application/json", FORM),
        (b"multipart/form-data", FORM),
        (TYPE, b"nothing"),
        (TYPE, b""),
        (TYPE, b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nunclosed'),
        (TYPE, b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + b"x" * 2000 + b"\r\n--B--"),
        (TYPE, b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\n\xff\r\n--B--'),
    ],
)
def test_what_is_not_a_form_is_a_400(content_type: bytes, body: bytes) -> None:
    with pytest.raises(Problem) as caught:
        multipart.read_field(content_type, body, "model")
    assert caught.value.status == 400


EVENTS = b'data: {"a":1}\n\ndata: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
EVENTS += b": note\n\ndata: [DONE]\n\n"


@pytest.mark.parametrize("size", range(1, 60, 7))
@pytest.mark.parametrize("crlf", [False, True])
def test_events_are_the_same_however_they_are_cut(size: int, crlf: bool) -> None:
    """Every way of cutting the stream gives the same bytes, without the usage that nobody asked for."""
    stream = EVENTS.replace(b"\n", b"\r\n") if crlf else EVENTS
    written: list[bytes] = []
    reply = StreamReply(200, ReplyHead(b"", True, False, True), written.append, hides_usage=True)
    for at in range(0, len(stream), size):
        reply.data(stream[at : at + size])
    reply.finish(b"")
    reply.count(4)
    end = b"\r\n\r\n" if crlf else b"\n\n"
    assert b"".join(written) == end.join([b'data: {"a":1}', b": note", b"data: [DONE]", b""])
    assert (reply.prompt_tokens, reply.completion_tokens, reply.counted_by) == (1, 2, "engine")


def test_usage_beside_content_stays(tmp_path: Path) -> None:
    event = b'data: {"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'
    written: list[bytes] = []
    reply = StreamReply(200, ReplyHead(b"", True, False, True), written.append, hides_usage=True)
    reply.data(event)
    assert written == [event]


def test_ids_are_version_4_uuids_and_differ() -> None:
    import uuid

    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {uuid.UUID(hex=one).version for one in ids} == {4}


def test_a_broken_request_for_the_metrics_door_is_dropped(tmp_path: Path) -> None:
    from webapp.gateway.process import metrics_endpoint

    async def ask() -> bytes:
        server = await metrics_endpoint.listen(tmp_path / "m.sock", lambda: b"x 1\n")
        async with server:
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "m.sock"))
            writer.write(b"a" * 10_000)
            answer = await reader.read()
            writer.close()
            return answer

    assert asyncio.run(ask()) == b""
