"""A page of another origin asks for a stream with fetch: the browser lets it when its origin is named, else not."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.gateway.conftest import make_stack
from tests.gateway.stack import ADA, Stack

__all__ = ["make_stack"]

pytestmark = pytest.mark.browser

# As OpenAI's library does in a browser, with a header of its own beside the key.
ASK = """
async ([url, key, model]) => {
  const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json", "X-Stainless-OS": "Linux" };
  const body = JSON.stringify({ model, stream: true, messages: [{ role: "user", content: "hello" }] });
  try {
    const answer = await fetch(url, { method: "POST", headers, body });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) text += piece.value;
    return { status: answer.status, text, id: answer.headers.get("x-request-id") };
  } catch (error) {
    return { refused: error.name };
  }
}
"""


class Empty(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Nobody reads it."""


@contextmanager
def somebody_elses_site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Empty)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_page_of_a_named_origin_reads_the_stream_and_one_of_another_is_refused(
    chromium: Any, make_stack: Callable[..., Stack]
) -> None:
    with ExitStack() as exits:
        named, other = (exits.enter_context(somebody_elses_site()) for _ in range(2))
        stack = make_stack(MODELYARD_CORS_ORIGINS=f"https://app.example, {named}").start()

        def ask(origin: str, path: str = "/v1/chat/completions", key: str = ADA, model: str = "smol") -> Any:
            page = chromium.new_page()
            page.goto(origin)
            said = page.evaluate(ASK, [f"http://127.0.0.1:{stack.port}{path}", key, model])
            page.close()
            return said

        stream = ask(named)
        assert stream["status"] == 200 and stream["text"].endswith("data: [DONE]\n\n") and stream["id"]
        # What went wrong can be read, too.
        for failed, status, words in (
            (ask(named, key="my_wrong"), 401, "invalid_key"),
            (ask(named, model="nosuch"), 404, "model_not_found"),
            (ask(named, path="/chat/completions"), 404, "use /v1/chat/completions"),
        ):
            assert failed["status"] == status and words in failed["text"] and failed["id"]
        stack.engine.asked.clear()
        assert ask(other) == {"refused": "TypeError"}
        assert stack.engine.asked == []  # its preflight was refused, so the question was never sent
