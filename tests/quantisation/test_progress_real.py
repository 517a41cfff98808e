"""Progress of a job that real processes carry out, as an open page hears of it."""

import contextlib
import json
import re
import threading
import time
from datetime import datetime
from typing import Any

import docker
import pytest
from django.test import Client
from websockets import Origin
from websockets.sync.client import unix_connect

from tests.parts import figures
from tests.parts.stack import Stack
from tests.workers.acting import reload

pytestmark = [pytest.mark.docker, pytest.mark.quant]
LIMIT_S = 1200


@pytest.fixture(autouse=True)
def sent_tasks() -> None:
    """Messages go to the real broker here."""


@pytest.fixture
def job(gguf_source: Any, plant: Stack, machine: Any, ada: Any, team: Any) -> Any:
    """A job with a long step: both files read a text."""
    from webapp.quantisation import services
    from webapp.quantisation.recipes import Measure, Recipe

    plant.start("web")
    recipe = Recipe(options={"type": "Q8_0", "requantise": True, "imatrix": False})
    return services.queue(ada, team, gguf_source, recipe, machine, None, Measure(context=128, chunks=60, speed=False))


class Page:
    """A browser's socket on the page of the job: what it was sent anew, and when, in seconds since 1970. It answers
    signs of life as pages do, which else are taken for dead."""

    def __init__(self, stack: Stack, user: Any, job: Any) -> None:
        client = Client()
        client.force_login(user)
        cookie = f"modelyard_session={client.cookies['modelyard_session'].value}"
        self.told_at: list[float] = []
        self.shown: list[str] = []
        self._is_over = threading.Event()
        self._failure: Exception | None = None
        where = str(stack.web), f"ws://127.0.0.1:8000/ws/live/?topics=job:{job.pk}&last=0"
        self._thread = threading.Thread(target=self._listen, args=(*where, {"Cookie": cookie}))
        self._thread.start()

    def _listen(self, path: str, url: str, headers: dict[str, str]) -> None:
        origin = Origin("http://127.0.0.1:8000")
        try:
            with unix_connect(path, url, origin=origin, additional_headers=headers, max_size=None) as socket:
                while not self._is_over.is_set():
                    with contextlib.suppress(TimeoutError):
                        said = json.loads(socket.recv(timeout=0.5))
                        if said.get("beat"):
                            socket.send("{}")
                        if "content" in said:
                            self.told_at.append(time.time())
                            self.shown.append(said["content"])
        except Exception as failure:
            self._failure = failure

    def close(self) -> Exception | None:
        """Leave the page; what ended it before, if anything did."""
        self._is_over.set()
        self._thread.join()
        return self._failure


class Reports:
    """When the tools said how far they were, by Docker's own clock; step by step."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.said_at = engine, dict[str, list[float]]()
        self.followed: set[str] = set()

    def follow(self, name: str) -> None:
        if name in self.followed:
            return
        self.followed.add(name)
        threading.Thread(target=self._read, args=(name,), daemon=True).start()

    def _read(self, name: str) -> None:
        with contextlib.closing(self.engine.client()) as client, contextlib.suppress(docker.errors.APIError):
            for chunk in client.logs(name, stream=True, follow=True, timestamps=True):
                for line in chunk.decode().splitlines():
                    stamp, _, words = line.partition(" ")
                    if words.startswith('{"step"') and '"done":' in words:
                        at = datetime.fromisoformat(stamp[:26] + "+00:00").timestamp()
                        self.said_at.setdefault(json.loads(words)["step"], []).append(at)


def test_an_open_page_is_told_of_reports_while_the_tool_is_at_work(
    plant: Stack, job: Any, quantisers: Any, ada: Any
) -> None:
    page, reports = Page(plant, ada, job), Reports(quantisers)
    deadline = time.monotonic() + LIMIT_S
    while reload(job).state in ("queued", "running"):
        assert time.monotonic() < deadline, job.state
        if job.container_id:
            with contextlib.closing(quantisers.client()) as client, contextlib.suppress(docker.errors.NotFound):
                reports.follow(client.inspect_container(job.container_name)["Id"])
        time.sleep(0.05)
    failure = page.close()
    assert failure is None, (failure, plant.log("web")[-3000:])
    assert job.state == "succeeded", (job.reason, job.advice)
    late = {
        step: max(min((told - at for told in page.told_at if told >= at), default=LIMIT_S) for at in times)
        for step, times in reports.said_at.items()
    }
    counts = {step: len(times) for step, times in reports.said_at.items()}
    print(f"reports {counts}, page told {len(page.told_at)} times, at most late by {late}")
    figures.tell("an open page is told of what a quantising tool reports", max(late.values()), 2, "s")
    # The first count and the last are always said, however fast the machine.
    assert counts["judge"] >= 2
    shares = [re.search(r"judge [^·]*· (\d+) %[^0-9]", text) for text in page.shown]
    shown = [int(share[1]) for share in shares if share]
    assert any(share < 100 for share in shown), page.shown
