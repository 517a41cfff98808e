"""A process dies between any two things that outlive it; the next one brings what was asked for to its end within a
minute. The engine is in memory here; tests/workers/test_dying_workers.py has Docker's."""

import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tests.parts import dying
from tests.parts.walks import WALKS, Scene, Walk, die_everywhere
from webapp.deployments import lifecycle
from webapp.deployments.lifecycle import Reason
from webapp.deployments.models import Replica
from webapp.deployments.states import ReplicaState
from workers.hosts import metrics

R = ReplicaState
SAID = '{"step": "done", "files": [{"name": "good.gguf", "size": 1024, "sha256": "%s"}]}' % ("ab" * 32)


class InMemory(Scene):
    """What was there before is written down once and put back for every death."""

    image = "engine:1"

    def __init__(self, cast: Any) -> None:
        super().__init__(cast.ada, cast.team, cast.host, cast.artifact)
        self.runtime = cast.runtime
        self.runtime.daemon = cast.host.daemon_id.partition("@")[0]
        self._before: tuple[dying.Tables, dict[str, Any]] | None = None

    def begin(self, walk: Walk, life: dying.Life) -> None:
        if self._before is None:
            walk.before(self)
            self._before = dying.Tables(), copy.deepcopy(vars(self.runtime))
        tables, world = self._before
        tables.put_back()
        vars(self.runtime).update(copy.deepcopy(world))
        self.clock = dying.Clock(life, self.pass_time)

    def pass_time(self, seconds: float) -> None:
        """Containers grow older; engines that run answer the watcher, and fetches that run come to their end."""
        then = timedelta(seconds=seconds)
        for one in list(self.runtime.containers.values()):
            dates = {name: getattr(one, name) for name in ("created_at", "started_at", "finished_at")}
            aged = {name: date - then for name, date in dates.items() if date is not None}
            self.runtime.containers[one.id] = replace(one, **aged)
        for one in self.runtime.running("job"):
            self.runtime.end(one.id, 0, SAID)
        running = {one.row_id for one in self.runtime.running("replica")}
        for row in Replica.objects.filter(state=R.LOADING, pk__in=running):
            now = timezone.now()
            lifecycle.move(row, R.LOADING, R.READY, Reason("", "answered"), ready_at=now, proven_at=now)

    def containers(self) -> list[tuple[str, str, str]]:
        there = self.runtime.containers.values()
        return [(one.id, one.name, one.kind) for one in there if one.kind in ("replica", "job", "probe")]


@pytest.fixture
def scene(transactional_db: None, cast: Any, monkeypatch: pytest.MonkeyPatch) -> InMemory:
    if connection.vendor == "sqlite":
        # No machine loses its power here.
        connection.cursor().execute("PRAGMA synchronous = OFF")
    # An engine in memory serves nobody whose requests a stop would wait for.
    monkeypatch.setattr(metrics, "running_requests", lambda *about: 0)
    return InMemory(cast)


def test_a_death_after_any_deed_of_a_deletion_is_made_good_within_a_minute(scene: InMemory) -> None:
    """The short form: everything that a stop does, and the end of the row."""
    die_everywhere(scene, "delete", counts_looks=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", WALKS)
def test_a_death_before_or_after_anything_is_made_good_within_a_minute(scene: InMemory, name: str) -> None:
    die_everywhere(scene, name, counts_looks=True)
