"""People who go on asking a deployment through the gateway: mixed streams and plain answers, at a steady rate."""

import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Traffic:
    """`per_s` requests a second from `begin` to `end`; every answer is checked to its last token."""

    port: int
    key: str
    model: str
    per_s: float = 20.0
    tokens: int = 24
    # The tiny engine numbers its tokens, so that a missing one is seen.
    are_numbered: bool = True
    failures: list[str] = field(default_factory=list)
    # Ids of requests that were answered to the end, and of those that broke off behind their head.
    completed: list[str] = field(default_factory=list)
    broken_off: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> "Traffic":
        self._over = threading.Event()
        self._asking: list[threading.Thread] = []
        self._clock = threading.Thread(target=self._keep_asking)
        self._clock.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._clock.join()
        for thread in self._asking:
            thread.join()

    @property
    def begun(self) -> int:
        return len(self._asking)

    @property
    def asked(self) -> int:
        """Those that have ended, well or not."""
        return sum(self.outcomes.values())

    def _keep_asking(self) -> None:
        began, number = time.monotonic(), 0
        while not self._over.wait(max(0.0, began + number / self.per_s - time.monotonic())):
            thread = threading.Thread(target=self._ask, args=(number % 2 == 0,))
            thread.start()
            self._asking.append(thread)
            number += 1

    def _ask(self, streams: bool) -> None:
        kind = "stream" if streams else "json"
        try:
            problem = self._problem(streams)
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = f"{type(error).__name__}: {error}"
        self.outcomes[kind if not problem else "failed"] += 1
        if problem:
            self.failures.append(f"{kind} {problem}")

    def _problem(self, streams: bool) -> str:
        """What was wrong with one answer; empty when nothing was."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = {
            "model": self.model,
            "stream": streams,
            "max_tokens": self.tokens,
            "messages": [{"role": "user", "content": "x"}],
        }
        try:
            line.request(
                "POST", "/v1/chat/completions", json.dumps(body),
                {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
            )  # fmt: skip
            answer = line.getresponse()
            request_id = answer.headers["X-Request-Id"]
            try:
                text = answer.read().decode()
            except (OSError, http.client.HTTPException):
                self.broken_off.append(request_id)
                raise
            self.completed.append(request_id)
        finally:
            line.close()
        if answer.status != 200:
            return f"{answer.status} {text[:200]}"
        if not self.are_numbered:
            ended = '"finish_reason":"' in text.replace(" ", "")
            return "" if ended and (not streams or "data: [DONE]" in text) else f"cut short: {text[-200:]}"
        if streams:
            return "" if f"t{self.tokens - 1} " in text and "data: [DONE]" in text else f"cut short: {text[-200:]}"
        said = json.loads(text)["choices"][0]["message"]["content"].split()
        return "" if len(said) == self.tokens else f"{len(said)} tokens"
