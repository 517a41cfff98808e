"""An engine that streams an answer word by word, as slowly as it is told, and notices when nobody listens."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ["Hello", " there", ", <b>friend</b>", "!\n", "How", " are", " you", "?"]


class FakeEngine:
    """Listens on a free port of this machine until `stop`."""

    def __init__(self) -> None:
        self.pause_s = 0.01
        self.answers = 1  # how often the words are said
        self.asked: list[dict] = []
        self.left = threading.Event()
        engine = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                engine.asked.append(body)
                if not body.get("stream"):
                    self._answer_whole()
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                try:
                    words = WORDS * engine.answers
                    for word in words:
                        self._say({"choices": [{"index": 0, "delta": {"content": word}}]})
                        time.sleep(engine.pause_s)
                    usage = {"prompt_tokens": 5, "completion_tokens": len(words), "total_tokens": 5 + len(words)}
                    self._say({"choices": [], "usage": usage})
                    self._write(b"data: [DONE]\n\n")
                    self._write(b"")
                except OSError:
                    engine.left.set()
                    self.close_connection = True

            def _answer_whole(self) -> None:
                words = WORDS * engine.answers
                message = {"role": "assistant", "content": "".join(words)}
                usage = {"prompt_tokens": 5, "completion_tokens": len(words), "total_tokens": 5 + len(words)}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                reply = {"id": "chat-1", "object": "chat.completion", "created": 1, "model": "fake"}
                text = json.dumps({**reply, "choices": [choice], "usage": usage}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def _say(self, chunk: dict) -> None:
                self._write(b"data: " + json.dumps({"object": "chat.completion.chunk", **chunk}).encode() + b"\n\n")

            def _write(self, data: bytes) -> None:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                self.wfile.flush()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
